"""Training against a loop written plainly with PEFT and torch, and the invariants of the stack."""

import os
import random
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from likra.data import TokenizedExample, encode_pair
from likra.data.tokens import common_ending
from likra.engine.probe import can_share
from likra.errors import InputError
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.training import checkpoint as checkpoint_module
from likra.training.config import TrainingConfig
from likra.training.step import Step
from likra.training.trainer import Trainer
from likra.utils.runtime import QUIET
from tests.conftest import ARCHITECTURES, Run, tiny_base

#: What a head may differ by between a stack and alone, after all steps. Sums are taken in another order, and where a
#: gradient is nothing but rounding, Adam makes a step of it; so in float32 the bound is a tenth of one step (1e-3). In
#: float64 rounding is out of the way, and what is left shows that the computation is the same.
STACK_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def examples(tokenizer: Any, count: int, seed: int = 0) -> list[TokenizedExample]:
    rng = random.Random(seed)
    words = "goat heron parrot owl sea garden city four two".split()
    return [
        encode_pair(
            tokenizer,
            f"Question: {' '.join(rng.choices(words, k=rng.randint(1, 9)))}?\nAnswer:",
            " " + " ".join(rng.choices(words, k=rng.randint(1, 4))),
            128,
        )
        for _ in range(count)
    ]


def train(
    base: Base,
    data: dict[str, list[TokenizedExample]],
    config: TrainingConfig,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> HeadStack:
    base.model.to(dtype)
    stack = HeadStack(
        base,
        list(data),
        lora=lora_config(r=config.lora.r, lora_alpha=config.lora.lora_alpha),
        adapt=config.adapt,
        seeds=[sum(map(ord, name)) for name in data],
    )
    for layer in stack.layers.values():
        layer.to(dtype)
    Trainer(stack, data, config, **options).run()
    return stack


def distance(one: HeadStack, other: HeadStack, name: str) -> float:
    theirs = other.weights(name)
    return max(
        (x - y).abs().max().item()
        for path, pair in one.weights(name).items()
        for x, y in zip(pair, theirs[path], strict=True)
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize(
    ("loss", "activation"), [("completion", "everywhere"), ("text", "everywhere"), ("completion", "completion")]
)
def test_training_equals_a_plain_peft_loop(architecture: str, loss: Any, activation: str, tokenizer: Any) -> None:
    config = TrainingConfig(
        lora=lora_config(r=4, lora_alpha=8),
        learning_rate=1e-2,
        per_device_train_batch_size=4,
        loss=loss,
        adapt=activation,
    )
    data = examples(tokenizer, 18)
    base = tiny_base(tokenizer, architecture)
    ending = common_ending(tokenizer, [pair.context for pair in data])
    stack = HeadStack(
        base, ["one"], lora=lora_config(r=4, lora_alpha=8), seeds=[3], adapt=activation, invocation_tokens=ending
    )
    first = {path: a.clone() for path, (a, _) in stack.weights("one").items()}
    steps = Trainer(stack, {"one": data}, config).run()

    plain = tiny_base(tokenizer, architecture).model
    names = sorted({path.rsplit(".", 1)[-1] for path in first})
    config = LoraConfig(r=4, lora_alpha=8, target_modules=names, task_type="CAUSAL_LM")
    config.alora_invocation_tokens = list(ending) if activation == "completion" else None
    model = get_peft_model(plain, config).eval()
    for path, a in first.items():
        model.base_model.model.get_submodule(path).lora_A["default"].weight.data.copy_(a)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    order = list(data)
    random.Random("0 0").shuffle(order)
    losses = []
    for start in range(0, len(order), 4):
        total, count = torch.zeros(()), 0
        for pair in order[start : start + 4]:
            ids = torch.tensor([pair.context + pair.completion])
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
            picked = logprobs.gather(1, ids[0, 1:, None])[:, 0]
            wanted = picked if loss == "text" else picked[len(pair.context) - 1 :]
            total, count = total - wanted.sum(), count + len(wanted)
        losses.append((total / count).item())
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    assert [step.losses["one"] for step in steps] == pytest.approx(losses, abs=1e-4)
    for path, (a, b) in stack.weights("one").items():
        theirs = model.base_model.model.get_submodule(path)
        torch.testing.assert_close(a, theirs.lora_A["default"].weight, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(b, theirs.lora_B["default"].weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["everywhere", "completion"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_head_in_a_stack_ends_as_if_trained_alone(
    dtype: torch.dtype, activation: str, schedule: str, tokenizer: Any
) -> None:
    config = TrainingConfig(
        lora=lora_config(r=4),
        learning_rate=1e-3,
        per_device_train_batch_size=4,
        num_train_epochs=2,
        adapt=activation,
        lr_scheduler_type=schedule,
        warmup_ratio=0.2,
    )
    # Heads of different sizes: some finish earlier, and last batches are of different sizes.
    data = {"a": examples(tokenizer, 22, 1), "b": examples(tokenizer, 9, 2), "c": examples(tokenizer, 13, 3)}
    seeds = {"a": 1, "b": 2, "c": 3}
    together = train(tiny_base(tokenizer), data, config, dtype, seeds=seeds)
    for name in data:
        alone = train(tiny_base(tokenizer), {name: data[name]}, config, dtype, seeds=seeds)
        untrained = HeadStack(tiny_base(tokenizer), [name], lora=lora_config(r=4), seeds=[ord(name)])
        assert distance(together, alone, name) < STACK_TOLERANCE[dtype]
        assert distance(alone, untrained, name) > 10 * STACK_TOLERANCE[dtype]  # training moved it much further


def test_gradient_accumulation_equals_a_larger_batch(tokenizer: Any) -> None:
    data = {"one": examples(tokenizer, 20)}
    large = train(
        tiny_base(tokenizer),
        data,
        TrainingConfig(lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=8),
    )
    small = TrainingConfig(
        lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=2, gradient_accumulation_steps=4
    )
    assert distance(large, train(tiny_base(tokenizer), data, small), "one") < STACK_TOLERANCE[torch.float32]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_checkpointing_changes_nothing(architecture: str, tokenizer: Any) -> None:
    data = {"one": examples(tokenizer, 12), "two": examples(tokenizer, 8, 1)}
    plain = train(
        tiny_base(tokenizer, architecture),
        data,
        TrainingConfig(lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=4),
    )
    base = tiny_base(tokenizer, architecture)
    can_share(base.model, 100)
    calls = []
    norm = next(module for module in base.model.modules() if type(module).__name__.endswith("Norm"))
    if architecture == "opt":  # normalises after attention; its first norm is outside the layers
        norm = base.model.model.decoder.layers[0].self_attn_layer_norm
    norm.register_forward_hook(lambda *_: calls.append(1))
    config = TrainingConfig(
        lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=4, gradient_checkpointing=True
    )
    saved = train(base, data, config)
    assert len(calls) == 2 * 3  # forward, and once more in each of the three backward passes
    layers = [m for m in base.model.modules() if hasattr(m, "gradient_checkpointing")]
    assert [layer.training for layer in layers] == [False] * len(layers)
    assert not base.model.training and not base.model.is_gradient_checkpointing
    for name in data:
        assert distance(plain, saved, name) < STACK_TOLERANCE[torch.float32]


def test_layers_that_text_does_not_pass_through_do_no_harm(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    base.model.vision_tower = torch.nn.Linear(8, 8)
    base.model.model.spare = torch.nn.Linear(8, 8)
    stack = train(
        base,
        {"one": examples(tokenizer, 8)},
        TrainingConfig(lora=lora_config(r=2), learning_rate=1e-3, per_device_train_batch_size=4),
    )
    assert "model.spare" in stack.layers and "vision_tower" not in stack.layers
    assert not stack.weights("one")["model.spare"][1].any()


def test_float16_is_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="not trained in float16"):
        train(
            tiny_base(tokenizer), {"one": examples(tokenizer, 8)}, TrainingConfig(lora=lora_config(r=2)), torch.float16
        )


def test_bf16_trains(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    stack = HeadStack(base, ["one"], lora=lora_config(r=4))
    steps = Trainer(
        stack, {"one": examples(tokenizer, 40)}, TrainingConfig(learning_rate=1e-2, num_train_epochs=3, bf16=True)
    ).run()
    assert steps[-1].losses["one"] < steps[0].losses["one"] - 1
    assert all(parameter.dtype == torch.float32 for parameter in stack.parameters())


def test_only_the_heads_change(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    before = {name: p.clone() for name, p in base.model.named_parameters()}
    train(base, {"one": examples(tokenizer, 8)}, TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2)).remove()
    after = dict(base.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_log_counts_steps_and_examples(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    stack = HeadStack(base, ["a", "b"], lora=lora_config(r=2))
    seen: list[Step] = []
    data = {"a": examples(tokenizer, 10), "b": examples(tokenizer, 3)}
    steps = Trainer(
        stack,
        data,
        TrainingConfig(lora=lora_config(r=2), per_device_train_batch_size=4, num_train_epochs=2),
        on_step=seen.append,
    ).run()
    assert steps == seen
    assert [step.examples for step in steps] == [{"a": 4, "b": 3}, {"a": 8, "b": 6}] + [
        {"a": count} for count in (10, 14, 18, 20)
    ]
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]


def test_a_loss_that_is_not_finite_stops_the_run(tokenizer: Any) -> None:
    stack = HeadStack(tiny_base(tokenizer), ["one"], lora=lora_config(r=2))
    config = TrainingConfig(lora=lora_config(r=2), per_device_train_batch_size=2, learning_rate=1e30)
    with pytest.raises(InputError, match=r"loss of head 'one' became (nan|inf) at step 2; lower learning_rate"):
        Trainer(stack, {"one": examples(tokenizer, 4)}, config).run()


_KILLED = """
    import os, signal, sys
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from likra.models.adapters import write_adapter
    from likra.models.base import as_base
    from likra.models.lora_config import lora_config
    from likra.models.stack import HeadStack
    from likra.training.config import TrainingConfig
    from likra.training.trainer import Trainer
    from tests.training.test_training import examples

    model, state, out, kill_at = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(model)
    base = as_base(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), tokenizer)
    stack = HeadStack(base, ["a", "b"], lora=lora_config(r=4))
    data = {"a": examples(tokenizer, 50, 1), "b": examples(tokenizer, 30, 2)}

    def on_step(step):
        if step.step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    trainer = Trainer(stack, data, TrainingConfig(
                          learning_rate=1e-3, per_device_train_batch_size=4, lr_scheduler_type="cosine"),
                      checkpoints=Path(state), checkpoint_every=3, on_step=on_step)
    steps = trainer.run()
    for name in stack.names:
        write_adapter(stack, name, Path(out) / name)
    (Path(out) / "losses").write_text("".join(step.as_json() for step in steps))
"""


def test_a_killed_run_goes_on_to_bit_identical_weights(run: Run, model_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(_KILLED))
    root = Path(__file__).parents[2]

    def train(state: str, out: str, kill_at: int) -> int:
        command = [sys.executable, str(script), str(model_folder), str(tmp_path / state), str(tmp_path / out)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
        return run([*command, str(kill_at)], env=environment, cwd=root).returncode

    assert train("whole-state", "whole", 0) == 0
    assert train("state", "killed", 8) == -signal.SIGKILL  # between two states: steps 7 and 8 are lost
    assert not (tmp_path / "killed").exists()
    assert train("state", "killed", 0) == 0
    for name in ("a", "b"):
        file = f"{name}/adapter_model.safetensors"
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert (tmp_path / "killed" / "losses").read_text() == (tmp_path / "whole" / "losses").read_text()


def test_a_state_of_another_run_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    data = {"one": examples(tokenizer, 8)}
    config = TrainingConfig(lora=lora_config(r=2), per_device_train_batch_size=4)
    train(tiny_base(tokenizer), data, config, checkpoints=tmp_path / "state")
    other = TrainingConfig(lora=lora_config(r=2), per_device_train_batch_size=4, learning_rate=1e-3)
    with pytest.raises(InputError, match="holds an unfinished run with another training_config"):
        train(tiny_base(tokenizer), data, other, checkpoints=tmp_path / "state")
    with pytest.raises(InputError, match="holds an unfinished run with another data"):
        train(tiny_base(tokenizer), {"one": examples(tokenizer, 7)}, config, checkpoints=tmp_path / "state")
    [tensors], state = (tmp_path / "state").glob("*.safetensors"), tmp_path / "state" / "state.json"
    for path in (tensors, state):
        content = path.read_bytes()
        path.write_bytes(content[:-8])
        with pytest.raises(InputError, match="is damaged; remove the folder"):
            train(tiny_base(tokenizer), data, config, checkpoints=tmp_path / "state")
        path.write_bytes(content)


def test_a_kill_while_the_state_is_written_leaves_the_old_one(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = (
        {"one": examples(tokenizer, 24)},
        TrainingConfig(lora=lora_config(r=2), learning_rate=1e-3, per_device_train_batch_size=4),
    )
    whole = train(tiny_base(tokenizer), data, config)
    real, calls = checkpoint_module.write_json, []

    def killed(path: Path, value: Any) -> None:
        calls.append(path)
        if len(calls) == 2:  # the tensors of step 4 are written, the state still speaks of step 2
            raise KeyboardInterrupt
        real(path, value)

    monkeypatch.setattr(checkpoint_module, "write_json", killed)
    options: dict[str, Any] = {"checkpoints": tmp_path / "state", "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        train(tiny_base(tokenizer), data, config, **options)
    again = train(tiny_base(tokenizer), data, config, **options)
    assert distance(whole, again, "one") == 0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("learning_rate", 0.0, "learning_rate must be a positive number, got 0.0"),
        ("learning_rate", float("nan"), "learning_rate must be a positive number, got nan"),
        ("per_device_train_batch_size", 0, "per_device_train_batch_size must be 1 or more, got 0"),
        ("warmup_ratio", 1.0, "warmup_ratio is a share of the steps; .* got 1.0"),
        ("lr_scheduler_type", "wavy", "lr_scheduler_type must be one of constant, linear, cosine, got 'wavy'"),
        ("adapt", "prompt", "adapt must be one of everywhere, completion, got 'prompt'"),
        ("loss", "prompt", "loss must be one of completion, text, got 'prompt'"),
    ],
)
def test_recipes_out_of_range_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingConfig(**{field: value})


def test_learning_rates_follow_the_schedule() -> None:
    linear = TrainingConfig(learning_rate=1.0, lr_scheduler_type="linear", warmup_ratio=0.2)
    assert [round(linear.rate(step, 10), 3) for step in range(10)] == [
        0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125,
    ]  # fmt: skip
    cosine = TrainingConfig(learning_rate=1.0, lr_scheduler_type="cosine")
    assert [round(cosine.rate(step, 4), 3) for step in range(4)] == [1.0, 0.854, 0.5, 0.146]
    assert TrainingConfig(learning_rate=0.5).rate(7, 10) == 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("path", ["model.layers.0.mlp.up_proj", "lm_head", "model.norm"])
def test_a_base_with_broken_weights_is_named(path: str, value: float, tokenizer: Any) -> None:
    """The remedy is another copy of the model, not another learning rate."""
    from likra import Likra
    from likra.data import Question

    base = tiny_base(tokenizer)
    weight = base.model.get_submodule(path).weight
    weight.data.view(-1)[3] = value
    questions = [Question(f"q{n}", f"What is {n}?", (f"goat {n}", f"parrot {n}"), 0) for n in range(4)]
    with pytest.raises(InputError, match=r"before any training; .*holds NaN or infinity"):
        Likra.from_base(base, training_config=TrainingConfig()).fit(questions, runtime=QUIET)
