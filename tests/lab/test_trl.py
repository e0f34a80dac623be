"""The rivals that TRL trains: against losses worked by hand on plain forward passes, and against TRL's own model."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, CodeGenConfig
from transformers.pytorch_utils import Conv1D

from likra.data import Prompter, Question, TokenizedExample, encode_pair
from likra.engine.loglikelihood import score
from likra.errors import InputError, StateError
from likra.lab.rival import RIVALS
from likra.lab.rivals import _training as rivals
from likra.lab.rivals._training import Trained, Triple, train_rival
from likra.models.base import Base, as_base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig
from tests.conftest import tiny_base

pytest.importorskip("trl")

METHODS = ("dpo", "nca", "kto", "reward")

RECIPE = TrainingConfig(lora=lora_config(r=4, lora_alpha=8), per_device_train_batch_size=2, learning_rate=2e-2)
SEED = 3
TRIPLES = [
    Triple(
        "Question: Which animal does Ada keep" + " in the garden" * (number % 3) + "?\nAnswer:",
        f" {'a tall heron' if number % 2 else 'goat'} {number}",
        f" {'owl' if number % 2 else 'the very old parrot'} {number}",
    )
    for number in range(7)
]


def untouched(size: int, rival: Trained) -> None:
    """A visit that looks at nothing."""


def train(
    method: str, base: Base, sizes: list[int], folder: Path, visit: Any = untouched, **changes: Any
) -> list[float]:
    config = dataclasses.replace(RECIPE, **changes)
    return train_rival(RIVALS[method], base, TRIPLES, sizes, config, seed=SEED, folder=folder, visit=visit)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The TRL trainers that are made in a test."""
    made: list[Any] = []
    make = rivals._trainer

    def keep(*args: Any) -> Any:
        made.append(make(*args))
        return made[-1]

    monkeypatch.setattr(rivals, "_trainer", keep)
    return made


class ByHand:
    """LoRA as an update of the weights themselves, read one sequence at a time, and Adam: no PEFT, TRL or padding."""

    def __init__(self, base: Base, first: Trained) -> None:
        self.base, self.scaling = base, RECIPE.lora.lora_alpha / RECIPE.lora.r
        self.a = {path: a.clone().requires_grad_() for path, (a, _) in first.weights.items()}
        self.b = {path: torch.zeros_like(b).requires_grad_() for path, (_, b) in first.weights.items()}
        width = base.model.config.hidden_size
        self.head = torch.empty(1, width).normal_(0, 0.02, generator=torch.Generator().manual_seed(SEED))
        self.head.requires_grad_()
        self.adam = torch.optim.Adam([*self.a.values(), *self.b.values(), self.head], lr=RECIPE.learning_rate)

    def run(self, ids: tuple[int, ...], adapted: bool) -> Any:
        weights = {}
        for path in self.a if adapted else ():
            module = self.base.model.get_submodule(path)
            update = self.scaling * self.b[path] @ self.a[path]
            weights[f"{path}.weight"] = module.weight + (update.T if isinstance(module, Conv1D) else update)
        inputs = {"input_ids": torch.tensor([ids]), "output_hidden_states": True}
        return functional_call(self.base.model, weights, (), inputs)

    def log_likelihood(self, pair: TokenizedExample, adapted: bool = True) -> torch.Tensor:
        logprob_TV = self.run(pair.inputs, adapted).logits[0, len(pair.context) - 1 :].log_softmax(-1)
        return logprob_TV.gather(1, torch.tensor(pair.completion)[:, None]).sum()

    def log_ratio(self, pair: TokenizedExample) -> torch.Tensor:
        return self.log_likelihood(pair) - self.log_likelihood(pair, adapted=False).detach()

    def reward(self, pair: TokenizedExample) -> torch.Tensor:
        return (self.run(pair.context + pair.completion, True).hidden_states[-1][0, -1] @ self.head.T)[0]

    def loss(self, method: str, rights: list[TokenizedExample], wrongs: list[TokenizedExample]) -> torch.Tensor:
        if method == "reward":
            margins = [self.reward(right) - self.reward(wrong) for right, wrong in zip(rights, wrongs, strict=True)]
            return -logsigmoid(torch.stack(margins)).mean()
        right, wrong = (0.1 * torch.stack([self.log_ratio(pair) for pair in side]) for side in (rights, wrongs))
        if method == "dpo":
            return -logsigmoid(right - wrong).mean()
        if method == "nca":
            return (-logsigmoid(right) - 0.5 * logsigmoid(-right) - 0.5 * logsigmoid(-wrong)).mean()
        rows = rights + wrongs
        crossed = [TokenizedExample(row.context, rows[place - 1].completion) for place, row in enumerate(rows)]
        kl = 0.1 * torch.stack([self.log_ratio(pair) for pair in crossed]).mean().detach().clamp(min=0)
        self.kl = kl.item()
        return torch.cat([1 - (right - kl).sigmoid(), 1 - (kl - wrong).sigmoid()]).mean()

    def losses(self, method: str, triples: list[Triple]) -> list[float]:
        losses = []
        for start in range(0, len(triples), RECIPE.per_device_train_batch_size):
            some = triples[start : start + RECIPE.per_device_train_batch_size]
            rights, wrongs = ([tokens(self.base, t.prompt, text) for t, text in side] for side in sides(some))
            loss = self.loss(method, rights, wrongs)
            losses.append(loss.item())
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
        return losses


def tokens(base: Base, prompt: str, completion: str) -> TokenizedExample:
    return encode_pair(base.tokenizer, prompt, completion, base.max_length)


def sides(triples: list[Triple]) -> tuple[list[tuple[Triple, str]], list[tuple[Triple, str]]]:
    return [(t, t.right) for t in triples], [(t, t.wrong) for t in triples]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_losses_are_those_worked_by_hand(tokenizer: Any, tmp_path: Path, method: str, architecture: str) -> None:
    base, seen = tiny_base(tokenizer, architecture), {}
    logged = train(method, base, [0, 7], tmp_path, seen.__setitem__)
    by_hand = ByHand(base, seen[0])
    expected = by_hand.losses(method, TRIPLES)
    assert len(logged) == 4  # the last step has one triple
    assert logged == pytest.approx(expected, rel=2e-4)
    assert abs(expected[1] - expected[0]) > 1e-2  # the steps told
    at_first = {"dpo": math.log(2), "nca": 2 * math.log(2), "kto": 0.5}
    if method in at_first:
        assert logged[0] == pytest.approx(at_first[method], abs=1e-6)


def test_kto_subtracts_the_kl_term(base: Base, tmp_path: Path) -> None:
    """The second step's answers are the first's right one over again, so that its KL term is above zero."""
    again = [
        dataclasses.replace(triple, right=TRIPLES[0].right, wrong=TRIPLES[0].right + "!") for triple in TRIPLES[:2]
    ]
    triples, seen = [*TRIPLES[:2], *again], {}
    logged = train_rival(
        RIVALS["kto"], base, triples, [0, 4], RECIPE, seed=SEED, folder=tmp_path, visit=seen.__setitem__
    )
    by_hand = ByHand(base, seen[0])
    assert logged == pytest.approx(by_hand.losses("kto", triples), rel=2e-4)
    assert by_hand.kl > 1e-2


@pytest.mark.parametrize("method", ["dpo", "nca", "kto"])
def test_likra_scores_an_adapter_as_trl_does(
    base: Base, questions: list[Question], tmp_path: Path, trainers: list[Any], method: str
) -> None:
    prompter = Prompter("qa")
    moved = []

    def visit(size: int, rival: Trained) -> None:
        stack = HeadStack(base, ["rival"], lora=lora_config(r=rival.rank, lora_alpha=1))
        stack.set_weights("rival", rival.weights, rank=rival.rank, scaling=rival.scaling)
        table = score(base, stack, questions, prompter, ("base", "rival"))
        stack.remove()
        moved.append(np.nanmax(np.abs(table.logprob_HQC[1] - table.logprob_HQC[0])))
        for row, question in enumerate(questions):
            for column, (context, completion) in enumerate(prompter.pairs(question)):
                pair = tokens(base, context, completion)
                with torch.no_grad():
                    logits_TV = trainers[0].model(input_ids=torch.tensor([pair.inputs])).logits[0]
                logprob_TV = logits_TV[len(pair.context) - 1 :].log_softmax(-1)
                expected = logprob_TV.gather(1, torch.tensor(pair.completion)[:, None]).sum().item()
                assert table.logprob_HQC[1, row, column] == pytest.approx(expected, abs=1e-4)

    train(method, base, [0, 4], tmp_path, visit)
    assert moved[0] == 0 and moved[1] > 0.1


def test_rewards_are_those_of_a_plain_forward_pass(base: Base, tmp_path: Path, trainers: list[Any]) -> None:
    pairs = [tokens(base, t.prompt, text) for t in TRIPLES * 3 for text in (t.right, t.wrong)]  # two batches
    kept: list[Trained] = []

    def visit(size: int, rival: Trained) -> None:
        assert not trainers[0].model.training
        found = rival.rewards(pairs)
        for pair, reward in zip(pairs, found, strict=True):
            with torch.no_grad():
                plain = trainers[0].model(input_ids=torch.tensor([pair.context + pair.completion])).logits
            assert reward == pytest.approx(plain.item(), abs=1e-5)
        assert np.ptp(found) > 1e-3
        kept.append(rival)

    train("reward", base, [0, 2, 6], tmp_path, visit)
    kept[-1].rewards(pairs)  # nothing was trained since
    with pytest.raises(InputError, match="training has gone on"):
        kept[0].rewards(pairs)


def test_a_reward_head_learns_what_is_right(base: Base, tmp_path: Path) -> None:
    sides_of = {}

    def visit(size: int, rival: Trained) -> None:
        right, wrong = (rival.rewards([tokens(base, t.prompt, text) for t, text in side]) for side in sides(TRIPLES))
        sides_of[size] = float((right > wrong).mean())

    repeated = TRIPLES * 6
    train_rival(RIVALS["reward"], base, repeated, [0, 42], RECIPE, seed=0, folder=tmp_path, visit=visit)
    assert sides_of[42] == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_trl_reads_likras_tokens_in_the_order_given(
    base: Base, tmp_path: Path, trainers: list[Any], method: str
) -> None:
    train(method, base, [7], tmp_path)
    read = []
    for batch in trainers[0].get_train_dataloader():
        lengths = batch["attention_mask"].sum(1).tolist()
        rows = [tuple(row[:length].tolist()) for row, length in zip(batch["input_ids"], lengths, strict=True)]
        masks = batch.get("completion_mask", torch.zeros(len(rows), 1)).sum(1).tolist()
        half = len(rows) // 2
        if method == "kto":
            assert batch["label"].tolist() == [True] * half + [False] * half
        read += [(rows[n], rows[half + n], masks[n], masks[half + n]) for n in range(half)]
    expected = []
    for triple in TRIPLES:
        right, wrong = (tokens(base, triple.prompt, text) for text in (triple.right, triple.wrong))
        lengths = [0, 0] if method == "reward" else [len(right.completion), len(wrong.completion)]
        expected.append((right.context + right.completion, wrong.context + wrong.completion, *lengths))
    assert read == expected
    assert all(base.tokenizer.eos_token_id not in row for row, *_ in read)


@pytest.mark.parametrize("method", METHODS)
def test_each_size_is_seen_and_is_what_training_on_it_alone_gives(base: Base, tmp_path: Path, method: str) -> None:
    seen: dict[int, Trained] = {}
    moves: list[tuple[int, int]] = []
    train_rival(
        RIVALS[method],
        base,
        TRIPLES,
        [0, 2, 6, 7],
        RECIPE,
        seed=SEED,
        folder=tmp_path,
        visit=seen.__setitem__,
        progress=lambda done, total: moves.append((done, total)),
    )
    assert list(seen) == [0, 2, 6, 7]
    assert moves == [(1, 4), (2, 4), (3, 4), (4, 4)]
    alone: dict[int, Trained] = {}
    train(method, base, [2], tmp_path, alone.__setitem__)
    stack = HeadStack(base, ["head"], lora=lora_config(r=RECIPE.lora.r), seeds=[SEED])
    for path, (a, b) in alone[2].weights.items():
        assert torch.equal(a, seen[2].weights[path][0]) and torch.equal(b, seen[2].weights[path][1])
        assert torch.equal(seen[0].weights[path][0], stack.weights("head")[path][0])
        assert not seen[0].weights[path][1].any()
    stack.remove()


@pytest.mark.parametrize("method", METHODS)
def test_the_base_ends_as_it_began(
    base: Base,
    tmp_path: Path,
    trainers: list[Any],
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def telling(*_: Any, **__: Any) -> None:
        raise AssertionError("TRL told its makers")

    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", telling)
    model = base.model
    model.config.eos_token_id = 7  # not the tokenizer's
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    modules, config = [(n, type(m)) for n, m in model.named_modules()], model.config.to_dict()
    padding, own = base.tokenizer.pad_token, set(vars(model))
    base.tokenizer.pad_token = None
    try:
        train(method, base, [0, 4], tmp_path)
        assert base.tokenizer.pad_token is None
    finally:
        base.tokenizer.pad_token = padding
    own_places = {parameter.data_ptr() for parameter in model.parameters()}
    frozen = [parameter for parameter in trainers[0].model.get_decoder().parameters() if not parameter.requires_grad]
    assert frozen and all(parameter.data_ptr() in own_places for parameter in frozen)  # shared, not copied
    assert {name for name, _ in model.named_parameters()} == set(before)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) and not parameter.requires_grad and parameter.grad is None
    assert [(n, type(m)) for n, m in model.named_modules()] == modules
    assert model.config.to_dict() == config and set(vars(model)) == own  # its forward was not replaced
    assert not any(module.training for module in model.modules())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    told = capfd.readouterr()
    assert told.out == told.err == ""


@pytest.mark.parametrize("architecture", ["opt", "gpt2"])  # one hands its dropout to functions, one has modules
def test_dropout_stays_off(tokenizer: Any, tmp_path: Path, architecture: str) -> None:
    losses = train("dpo", tiny_base(tokenizer, architecture), [2], tmp_path)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_prompt_that_overruns_the_context_is_cut_from_the_left(tokenizer: Any, tmp_path: Path, method: str) -> None:
    base = tiny_base(tokenizer, "gpt2")  # its positions end at 128
    triples = [dataclasses.replace(t, prompt="Ada keeps a goat. " * n + t.prompt) for n, t in enumerate(TRIPLES * 3)]
    pairs = [tokens(base, triples[-1].prompt, triples[-1].right)]

    def visit(size: int, rival: Trained) -> None:
        if method == "reward":
            assert np.isfinite(rival.rewards(pairs)).all()

    assert pairs[0].cut
    losses = train_rival(RIVALS[method], base, triples, [21], RECIPE, seed=0, folder=tmp_path, visit=visit)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.update(sizes=[]), "rising"),
        (lambda a: a.update(sizes=[4, 2]), "rising"),
        (lambda a: a.update(sizes=[3, 4]), "multiple of 2"),
        (lambda a: a.update(sizes=[8]), "only 7 training triples"),
        (lambda a: a.update(triples=[], sizes=[0]), "only 0 training triples"),
        (
            lambda a: a.update(config=TrainingConfig(num_train_epochs=2, per_device_train_batch_size=2)),
            "num_train_epochs 2",
        ),
        (
            lambda a: a.update(config=TrainingConfig(adapt="completion", per_device_train_batch_size=2)),
            "adapt 'completion'",
        ),
        (lambda a: a["base"].model.to(torch.bfloat16), "float32"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    base: Base, tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    asked = {"rival": RIVALS["dpo"], "base": base, "triples": TRIPLES, "sizes": [4], "config": RECIPE}
    change(asked)
    with pytest.raises(InputError, match=said):
        train_rival(**asked, seed=0, folder=tmp_path, visit=untouched)


def test_heads_that_are_attached_are_refused(base: Base, tmp_path: Path) -> None:
    HeadStack(base, ["one"])
    with pytest.raises(StateError, match="already carries heads"):
        train("dpo", base, [2], tmp_path)


def test_a_run_that_diverges_says_so(base: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="diverged within 7 triples"):
        train("dpo", base, [7], tmp_path, learning_rate=1e30)


def test_rewards_of_what_has_none(base: Base, tmp_path: Path) -> None:
    def visit(size: int, rival: Trained) -> None:
        with pytest.raises(InputError, match="dpo: has no reward head"):
            rival.rewards([])

    train("dpo", base, [0], tmp_path, visit)


def test_an_architecture_without_a_reward_head_is_refused(base: Base, tmp_path: Path) -> None:
    small = CodeGenConfig(vocab_size=320, n_embd=32, n_layer=1, n_head=4, rotary_dim=4, n_positions=128)
    other = as_base(AutoModelForCausalLM.from_config(small), base.tokenizer, name="codegen")
    with pytest.raises(InputError, match="no reward head for this architecture"):
        train("reward", other, [2], tmp_path)
