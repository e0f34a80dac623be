"""Losses as objects: one from outside the package, and divided batches, against formulas worked by hand."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from likra.data import TokenizedExample
from likra.engine.batch import Predictions
from likra.engine.packed import PackedReader
from likra.engine.padded import PaddedReader
from likra.errors import InputError, TrainingDiverged
from likra.generation import Contrast, Decoding, distill
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.training import losses as losses_module
from likra.training.config import TrainingConfig
from likra.training.losses import Distillation
from likra.training.trainer import Trainer
from tests.conftest import tiny_base
from tests.engine.test_memory import Short
from tests.training.test_training import distance, examples

CONFIG = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4)


@dataclass(frozen=True)
class Focal:
    """(1 - p) * -log p: a token that is likely already is learned less (Lin et al. 2017, arXiv 1708.02002)."""

    whole_text: bool = False

    def __call__(self, predictions: Predictions) -> torch.Tensor:
        logprob_M = predictions.logprob_M
        return ((1 - logprob_M.exp()) * -logprob_M).sum()


@pytest.mark.parametrize("read_by", [PackedReader, PaddedReader])
def test_a_loss_from_outside_is_trained_with(read_by: Callable[..., Any], tokenizer: Any) -> None:
    """Beside an adapter with the usual loss; the other side is a plain loop over single texts."""
    base = tiny_base(tokenizer)
    data = {"usual": examples(tokenizer, 8, 1), "focal": examples(tokenizer, 8, 2)}
    stack = HeadStack(base, list(data), lora=CONFIG.lora, seeds=[0, 1])
    steps = Trainer(stack, data, CONFIG, losses={"focal": Focal()}, reader=read_by(base, stack)).run()

    twin = tiny_base(tokenizer)
    plain = HeadStack(twin, list(data), lora=CONFIG.lora, seeds=[0, 1])
    parameters = plain.parameters()
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    order = list(data["focal"])
    random.Random("0 0").shuffle(order)
    for start, step in zip((0, 4), steps, strict=True):
        some, loss = order[start : start + 4], torch.zeros(())
        for pair in some:
            ids = torch.tensor([pair.inputs])
            with plain.active([("focal", 0, ids.numel())], ids.numel()):
                logits = twin.model(ids).logits[0, -len(pair.completion) :]
                p = logits.softmax(-1)[range(len(pair.completion)), list(pair.completion)]
            loss = loss - ((1 - p) * p.log()).sum()
        loss = loss / sum(len(pair.completion) for pair in some)
        assert step.losses["focal"] == pytest.approx(loss.item(), rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert distance(stack, plain, "focal") < 1e-3


def stack_of_four(tokenizer: Any) -> HeadStack:
    return HeadStack(tiny_base(tokenizer), ["a", "b"], lora=lora_config(r=4), seeds=[0, 1])


def test_a_batch_that_is_too_large_is_divided(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    data = {"a": examples(tokenizer, 8, 1), "b": examples(tokenizer, 6, 2)}
    whole, divided, limited = (stack_of_four(tokenizer) for _ in range(3))
    expected = Trainer(whole, data, CONFIG).run()
    trainer = Trainer(divided, data, CONFIG)
    short = Short(divided.base.model, 70)  # of one example, or two
    steps = trainer.run()
    short.remove()
    assert short.failed > 1 and "out of memory; going on with" in caplog.text
    read: list[int] = []
    limited.base.model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, __: read.append(inputs[0].numel())
    )
    trainer = Trainer(limited, data, CONFIG, memory=10**5)
    read.clear()
    trainer.run()
    assert len(read) > 2 * len(expected)  # more than a pass for each adapter and step
    for name in data:
        assert distance(whole, divided, name) < 1e-4 and distance(whole, limited, name) < 1e-4
        for one, other in zip(expected, steps, strict=True):
            assert (name in one.losses) == (name in other.losses)
            assert one.losses.get(name, 0) == pytest.approx(other.losses.get(name, 0), rel=1e-5)


def test_memory_for_less_than_one_example_is_an_error(tokenizer: Any) -> None:
    stack = stack_of_four(tokenizer)
    trainer = Trainer(stack, {"a": examples(tokenizer, 4)}, CONFIG)
    Short(stack.base.model, 1)
    with pytest.raises(InputError, match="out of memory with one example"):
        trainer.run()


def prompts(pairs: list[TokenizedExample]) -> list[list[int]]:
    return [list(pair.context) for pair in pairs]


@pytest.fixture
def taught(tokenizer: Any) -> HeadStack:
    stack = HeadStack(tiny_base(tokenizer), ["a", "b", "student"], lora=lora_config(r=4), seeds=[0, 1, 2])
    Trainer(stack, {"a": examples(tokenizer, 8, 1), "b": examples(tokenizer, 8, 2)}, CONFIG).run()
    return stack


@pytest.mark.parametrize("read_by", [PackedReader, PaddedReader])
@pytest.mark.parametrize("together", [10**6, 3])
def test_distillation_is_the_divergence_by_hand(
    read_by: Callable[..., Any],
    together: int,
    taught: HeadStack,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base: Base = taught.base
    monkeypatch.setattr(losses_module, "_VALUES", together * base.rows)
    reader, data = read_by(base, taught), examples(tokenizer, 4, 3)
    loss = Distillation(reader, ("a", "b"), lambda one, other: one + other)
    [step] = Trainer(taught, {"student": data}, CONFIG, losses={"student": loss}, reader=reader).run()
    total = 0.0
    for pair in data:
        ids, found = torch.tensor([pair.inputs]), []
        for name in ("a", "b"):
            with torch.no_grad(), taught.active([(name, 0, ids.numel())], ids.numel()):
                found.append(base.model(ids).logits[0, -len(pair.completion) :])
        with torch.no_grad():  # a new student is the base
            own = base.model(ids).logits[0, -len(pair.completion) :].log_softmax(-1)
        teacher = (found[0] + found[1]).log_softmax(-1)
        total += (teacher.exp() * (teacher - own)).sum().item()
    assert step.losses["student"] == pytest.approx(total / sum(len(pair.completion) for pair in data), rel=1e-4)


def test_distilling_some_tokens_at_a_time_ends_the_same(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    for together in (10**6, 2):
        monkeypatch.setattr(losses_module, "_VALUES", together * 320)
        stack = HeadStack(tiny_base(tokenizer), ["a", "b", "student"], lora=lora_config(r=4), seeds=[0, 1, 2])
        Trainer(stack, {"a": examples(tokenizer, 8, 1), "b": examples(tokenizer, 8, 2)}, CONFIG).run()
        distill(stack, ("a", "b"), "student", prompts(examples(tokenizer, 4, 3)), Contrast(), CONFIG, Decoding(4))
        ended.append(stack)
    assert distance(*ended, "student") < 1e-5


def test_distillation_has_the_trainers_checks(taught: HeadStack, tokenizer: Any) -> None:
    asked = prompts(examples(tokenizer, 4, 3))
    config = TrainingConfig(learning_rate=1e30, per_device_train_batch_size=2)
    with pytest.raises(TrainingDiverged, match="head 'student'"):
        distill(taught, ("a", "b"), "student", asked, Contrast(), config, Decoding(4))
    taught.base.model.half()
    with pytest.raises(InputError, match="not trained in float16"):
        distill(taught, ("a", "b"), "student", asked, Contrast(), config, Decoding(4))


def test_distillation_with_checkpointed_layers_ends_the_same(tokenizer: Any) -> None:
    ended = []
    for checkpointing in (False, True):
        stack = HeadStack(tiny_base(tokenizer), ["a", "b", "student"], lora=lora_config(r=4), seeds=[0, 1, 2])
        Trainer(stack, {"a": examples(tokenizer, 8, 1), "b": examples(tokenizer, 8, 2)}, CONFIG).run()
        config = TrainingConfig(learning_rate=1e-3, gradient_checkpointing=checkpointing)
        distill(stack, ("a", "b"), "student", prompts(examples(tokenizer, 4, 3)), Contrast(), config, Decoding(4))
        ended.append(stack)
    assert distance(*ended, "student") < 1e-4


@dataclass(frozen=True)
class Scaled:
    """A loss with a number of its own."""

    beta: float
    whole_text: bool = False

    def __call__(self, predictions: Predictions) -> torch.Tensor:
        return -self.beta * predictions.logprob_M.sum()


def test_a_state_of_a_loss_with_other_numbers_is_not_taken_over(tokenizer: Any, tmp_path: Any) -> None:
    for beta, match in ((1.0, None), (5.0, "another loss")):
        stack = HeadStack(tiny_base(tokenizer), ["one"], lora=CONFIG.lora)
        trainer = Trainer(
            stack, {"one": examples(tokenizer, 8)}, CONFIG, losses={"one": Scaled(beta)}, checkpoints=tmp_path / "state"
        )
        if match is None:
            trainer.run()
        else:
            with pytest.raises(InputError, match=match):
                trainer.run()
