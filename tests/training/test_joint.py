"""Losses over candidates and over several adapters, against formulas worked by hand and against a PEFT pair."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn

from likra.data.tokens import TokenizedExample, TokenizedQuestion
from likra.engine.batch import Batch, Predictions
from likra.engine.packed import PackedReader
from likra.engine.padded import PaddedReader
from likra.errors import InputError
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig
from likra.training.gradients import Gradients
from likra.training.learner import Learner
from likra.training.losses import Choice, Likelihood
from likra.training.passes import Passes
from likra.training.prepared import prepared
from likra.training.trainer import Trainer
from tests.conftest import tiny_base
from tests.engine.test_memory import Short
from tests.training.test_training import distance, examples

PAIR = ("positive", "negative")
CONFIG = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4)
NO_ORDER = {"ratio": None}


def question(*completions: tuple[int, ...], right: int = 0, context: tuple[int, ...] = (5, 6, 7)) -> TokenizedQuestion:
    return TokenizedQuestion(tuple(TokenizedExample(context, completion) for completion in completions), right)


def drawn(tokenizer: Any, count: int, seed: int = 0) -> list[TokenizedQuestion]:
    """Questions of two to four candidates."""
    texts = examples(tokenizer, 5 * count, seed)
    return [
        question(
            *(pair.completion for pair in texts[5 * n + 1 : 5 * n + 3 + n % 3]),
            right=n % 2,
            context=texts[5 * n].context,
        )
        for n in range(count)
    ]


def pair_of(tokenizer: Any, architecture: str = "llama") -> HeadStack:
    return HeadStack(tiny_base(tokenizer, architecture), list(PAIR), lora=lora_config(r=4, lora_alpha=8), seeds=[0, 1])


def loglikelihood(model: nn.Module, pair: TokenizedExample) -> torch.Tensor:
    """By one plain forward pass."""
    logprobs = model(input_ids=torch.tensor([pair.inputs])).logits[0].log_softmax(-1)
    count = len(pair.completion)
    return logprobs[-count:][range(count), list(pair.completion)].sum()


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        # At first both adapters are the base, so the ratio at weight 1 is a tie.
        (Choice(*PAIR), lambda right, wrong: math.log(2)),
        (Choice(*PAIR, weight=0.25), lambda right, wrong: math.log(1 + math.exp(0.75 * (wrong - right)))),
        (Choice("positive"), lambda right, wrong: math.log(1 + math.exp(wrong - right))),
        (Choice(*PAIR, weight=0.0), lambda right, wrong: math.log(1 + math.exp(wrong - right))),
    ],
)
@pytest.mark.parametrize("read_by", [PackedReader, PaddedReader])
def test_a_choice_of_two_tokens_by_hand(
    loss: Choice, by_hand: Callable[[float, float], float], read_by: Callable[..., Any], tokenizer: Any
) -> None:
    """The right answer has two tokens and comes second, the wrong one has one."""
    stack = pair_of(tokenizer)
    asked = question((9,), (8, 11), right=1)
    with torch.no_grad():
        wrong, right = (loglikelihood(stack.base.model, pair).item() for pair in asked.candidates)
    config = TrainingConfig(lora=CONFIG.lora, per_device_train_batch_size=2)
    trainer = Trainer(stack, {"ratio": [asked]}, config, losses={"ratio": loss}, reader=read_by(stack.base, stack))
    [step] = trainer.run()
    assert step.losses["ratio"] == pytest.approx(by_hand(right, wrong), rel=1e-4)
    assert step.examples == {"ratio": 1}
    moved = [name for name in PAIR if not stack.same(name, None)]
    assert moved == ["positive"] if loss.negative is None or not loss.weight else moved == list(PAIR)


@pytest.mark.parametrize("read_by", [PackedReader, PaddedReader])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_joint_gradient_is_that_of_a_peft_pair(
    architecture: str, read_by: Callable[..., Any], tokenizer: Any
) -> None:
    """PEFT's own model with two adapters, switched between plain forward passes; in float64 (but for Llama's norms)."""
    weight, questions = 0.7, drawn(tokenizer, 5)
    stack = pair_of(tokenizer, architecture)
    stack.base.model.double()
    generator = torch.Generator().manual_seed(3)
    for layer in stack.layers.values():
        layer.b.data.normal_(0, 0.1, generator=generator)
        layer.double()
    learner = Learner("ratio", Choice(*PAIR, weight=weight))
    with prepared(stack, checkpointing=False):
        gradients = Gradients(stack, read_by(stack.base, stack), {"ratio": learner}, Passes(8, cut=False))
        loss = gradients.accumulate({"ratio": questions})()["ratio"]
        ours = {path: (layer.a.grad.clone(), layer.b.grad.clone()) for path, layer in stack.layers.items()}

    first = {name: {path: (a.clone(), b.clone()) for path, (a, b) in stack.weights(name).items()} for name in PAIR}
    shape = LoraConfig(r=4, lora_alpha=8, target_modules=sorted(first["positive"]), task_type="CAUSAL_LM")
    model = get_peft_model(tiny_base(tokenizer, architecture).model.double(), shape, adapter_name="positive").eval()
    model.add_adapter("negative", shape)
    for name in PAIR:
        for path, (a, b) in first[name].items():
            layer = model.base_model.model.get_submodule(path)
            layer.lora_A[name].to(torch.float64).weight.data.copy_(a)
            layer.lora_B[name].to(torch.float64).weight.data.copy_(b)
    total = torch.zeros((), dtype=torch.float64)
    for asked in questions:
        likely = {}
        for name in PAIR:
            model.set_adapter(name)
            for parameter_name, parameter in model.named_parameters():
                parameter.requires_grad_("lora_" in parameter_name)
            likely[name] = torch.stack([loglikelihood(model, pair) for pair in asked.candidates])
        scores = likely["positive"] - weight * likely["negative"]
        total = total - scores.log_softmax(-1)[asked.right] / len(questions)
    total.backward()
    assert loss == pytest.approx(total.item(), abs=1e-7)
    for path, (grad_a, grad_b) in ours.items():
        layer = model.base_model.model.get_submodule(path)
        for index, name in enumerate(PAIR):
            assert torch.allclose(grad_a[index], layer.lora_A[name].weight.grad, atol=1e-6)
            assert torch.allclose(grad_b[index], layer.lora_B[name].weight.grad, atol=1e-6)
            assert grad_b[index].abs().max() > 1e-3


def tokens_read(asked: TokenizedQuestion, packed: bool) -> int:
    """By one adapter: the common context once, or every candidate as a row of the longest one's length."""
    lengths = [len(pair.inputs) for pair in asked.candidates]
    own = len(asked.candidates[0].context)
    return own + sum(length - own for length in lengths) if packed else len(lengths) * max(lengths)


class Recorded:
    """A reader that notes which examples each pass reads."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.passes: list[list[Batch]] = []
        self._step: list[list[Batch]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    @contextmanager
    def predictions(self, batches: Sequence[Batch]) -> Iterator[list[Predictions]]:
        try:
            with self._reader.predictions(batches) as found:
                self._step.append(list(batches))
                yield found
        except torch.OutOfMemoryError:
            self._step.clear()  # the step begins anew
            raise

    def finish(self, step: Any) -> None:
        self.passes += self._step
        self._step.clear()


@pytest.mark.parametrize("read_by", [PackedReader, PaddedReader])
@pytest.mark.parametrize("limited", ["by a budget", "by running out"])
def test_candidates_are_never_divided(limited: str, read_by: Callable[..., Any], tokenizer: Any) -> None:
    questions = drawn(tokenizer, 8)
    whole, divided = pair_of(tokenizer), pair_of(tokenizer)
    how: dict[str, Any] = {"losses": {"ratio": Choice(*PAIR)}, "seeds": NO_ORDER}
    expected = Trainer(whole, {"ratio": questions}, CONFIG, reader=read_by(whole.base, whole), **how).run()
    reader = Recorded(read_by(divided.base, divided))
    memory = 10**5 if limited == "by a budget" else None
    trainer = Trainer(divided, {"ratio": questions}, CONFIG, reader=reader, memory=memory, on_step=reader.finish, **how)
    if memory is None:
        # Room for both adapters to read the candidates of any one question, and not of a batch.
        Short(divided.base.model, 2 * max(tokens_read(asked, read_by is PackedReader) for asked in questions))
    steps = trainer.run()
    assert len(reader.passes) > 2 * len(expected)
    asked = iter(questions)
    for batches in reader.passes:
        assert [batch.adapter for batch in batches] == list(PAIR)  # both adapters, in one pass
        read = list(batches[0].examples)
        assert read == list(batches[1].examples)
        while read:
            own = list(next(asked).candidates)
            assert read[: len(own)] == own
            del read[: len(own)]
    for name in PAIR:
        assert distance(whole, divided, name) < 1e-4
    for one, other in zip(expected, steps, strict=True):
        assert one.losses["ratio"] == pytest.approx(other.losses["ratio"], rel=1e-5)


@given(
    costs=st.lists(st.floats(0.1, 10), min_size=1, max_size=12),
    room=st.floats(0.1, 30),
    size=st.integers(1, 5),
    cut=st.booleans(),
)
def test_passes_keep_questions_whole_and_in_order(costs: list[float], room: float, size: int, cut: bool) -> None:
    items = [question((number,), (number, number)) for number in range(len(costs))]
    passes = Passes(size, cut, lambda name, item: costs[items.index(item)], room)  # type: ignore[arg-type]
    parts = [part["ratio"] for part in passes.of({"ratio": items})]
    assert [item for part in parts for item in part] == items
    assert all(0 < len(part) <= size for part in parts)


def test_a_killed_run_ends_with_the_same_weights(tokenizer: Any, tmp_path: Path) -> None:
    questions, how = drawn(tokenizer, 14), {"losses": {"ratio": Choice(*PAIR)}}
    whole, killed, resumed = (pair_of(tokenizer) for _ in range(3))
    expected = Trainer(whole, {"ratio": questions}, CONFIG, **how).run()
    state: dict[str, Any] = {"checkpoints": tmp_path / "state", "checkpoint_every": 1}

    def kill(step: Any) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(killed, {"ratio": questions}, CONFIG, on_step=kill, **state, **how).run()
    other = {"losses": {"ratio": Choice(*PAIR, weight=0.5)}}
    with pytest.raises(InputError, match="another loss"):
        Trainer(pair_of(tokenizer), {"ratio": questions}, CONFIG, **state, **other).run()
    steps = Trainer(resumed, {"ratio": questions}, CONFIG, **state, **how).run()
    assert steps == expected and len(steps) == 4
    for name in PAIR:
        assert distance(whole, resumed, name) == 0


def test_adapters_beside_a_joint_loss_end_as_alone(tokenizer: Any) -> None:
    """A third adapter in the same stack, with the usual loss and fewer steps; and an adapter of two losses."""
    stack = HeadStack(tiny_base(tokenizer), [*PAIR, "alone"], lora=CONFIG.lora, seeds=[0, 1, 2])
    data = {"ratio": drawn(tokenizer, 8), "alone": examples(tokenizer, 4)}
    steps = Trainer(stack, data, CONFIG, losses={"ratio": Choice(*PAIR)}).run()
    assert [set(step.losses) for step in steps] == [{"ratio", "alone"}, {"ratio"}]
    single = HeadStack(tiny_base(tokenizer), ["alone"], lora=CONFIG.lora, seeds=[2])
    Trainer(single, {"alone": data["alone"]}, CONFIG).run()
    both = HeadStack(tiny_base(tokenizer), list(PAIR), lora=CONFIG.lora, seeds=[0, 1])
    Trainer(both, {"ratio": data["ratio"]}, CONFIG, losses={"ratio": Choice(*PAIR)}).run()
    assert distance(stack, single, "alone") < 1e-4
    assert max(distance(stack, both, name) for name in PAIR) < 1e-4
    with pytest.raises(InputError, match="'positive' must be trained by one of them"):
        losses = {"ratio": Choice(*PAIR), "positive": Likelihood()}
        Trainer(both, {"ratio": data["ratio"], "positive": data["alone"]}, CONFIG, losses=losses)
