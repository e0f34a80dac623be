"""Budgets of memory, and memory that runs out."""

from typing import Any

import numpy as np
import pytest
import torch

from likra.data import Prompter, Question
from likra.engine import memory as budget_module
from likra.engine import packed as packed_module
from likra.engine.loglikelihood import score
from likra.engine.memory import Budget, TrainingBudget
from likra.errors import InputError
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.training.config import TrainingConfig
from likra.training.trainer import Trainer
from tests.conftest import tiny_base
from tests.engine.test_engine import perturb
from tests.training.test_training import distance, examples

PROMPTER = Prompter("qa")


class Short:
    """Memory that runs out whenever more than so many tokens are read at once."""

    def __init__(self, model: Any, tokens: int) -> None:
        self.most, self.failed = 0, 0
        self._tokens = tokens
        self._hook = model.get_output_embeddings().register_forward_pre_hook(self._check)
        self._count = model.get_input_embeddings().register_forward_pre_hook(self._see)
        self._seen = 0

    def _see(self, module: Any, inputs: Any) -> None:
        self._seen = inputs[0].numel()

    def _check(self, module: Any, inputs: Any) -> None:
        if self._seen > self._tokens:
            self.failed += 1
            raise torch.OutOfMemoryError("simulated")
        self.most = max(self.most, self._seen)

    def remove(self) -> None:
        self._hook.remove()
        self._count.remove()


@pytest.mark.parametrize("share", [True, False])
def test_scoring_survives_running_out_of_memory(
    share: bool, base: Base, questions: list[Question], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    stack = HeadStack(base, ["one"], lora=lora_config(r=4))
    perturb(stack)
    expected = score(base, stack, questions, PROMPTER, (BASE, "one"))
    if not share:
        monkeypatch.setattr("likra.engine.reader.can_share", lambda model, longest: False)
    short = Short(base.model, 100)
    found = score(base, stack, questions, PROMPTER, (BASE, "one"))
    short.remove()
    assert short.failed >= 1 and short.most <= 100
    np.testing.assert_allclose(found.logprob_HQC, expected.logprob_HQC, atol=1e-4)
    assert not share or "out of memory" in caplog.text


def test_memory_that_runs_out_after_the_forward_pass_leaves_what_was_kept(
    base: Base, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stretch is read again from where it began, and needs the path that it found."""
    expected = score(base, None, questions, PROMPTER)
    monkeypatch.setattr(budget_module, "TOKENS", {"cpu": 60})
    real, calls = packed_module.logprobs_of, []

    def sometimes(logits: torch.Tensor, rows: Any, tokens: Any) -> Any:
        calls.append(len(calls))
        if len(calls) in (3, 6):
            raise torch.OutOfMemoryError("simulated")
        return real(logits, rows, tokens)

    monkeypatch.setattr(packed_module, "logprobs_of", sometimes)
    found = score(base, None, questions, PROMPTER)
    assert len(calls) > 6
    np.testing.assert_allclose(found.logprob_HQC, expected.logprob_HQC, atol=1e-4)


def test_memory_that_never_suffices_is_an_error(base: Base, questions: list[Question]) -> None:
    score(base, None, questions, PROMPTER)
    short = Short(base.model, 0)
    with pytest.raises(torch.OutOfMemoryError):
        score(base, None, questions, PROMPTER)
    short.remove()


@pytest.mark.parametrize("activation", ["everywhere", "completion"])
def test_training_survives_running_out_of_memory(activation: str, tokenizer: Any) -> None:
    config = TrainingConfig(
        lora=lora_config(r=4),
        learning_rate=1e-3,
        per_device_train_batch_size=4,
        adapt=activation,
        gradient_accumulation_steps=2,
    )
    data = {name: examples(tokenizer, 20, seed) for seed, name in enumerate(("a", "b", "c", "d"))}

    def train(tokens: int | None) -> HeadStack:
        stack = HeadStack(tiny_base(tokenizer), list(data), lora=lora_config(r=4), adapt=activation, seeds=[0, 1, 2, 3])
        trainer = Trainer(stack, data, config)
        short = Short(stack.base.model, tokens) if tokens else None
        trainer.run()
        if short:
            assert short.failed >= 1
            short.remove()
        return stack

    whole, cramped = train(None), train(300 if activation == "everywhere" else 60)
    assert max(distance(whole, cramped, name) for name in data) < 1e-4


def test_a_smaller_budget_reads_less_at_once(base: Base) -> None:
    sizes = [Budget.of(base.model, memory, 3, 100) for memory in (10**6, 3 * 10**6, 10**9)]
    assert sizes[0].tokens < sizes[1].tokens <= sizes[2].tokens <= 2048
    assert Budget.of(base.model, 3 * 10**6, 3, 1000).tokens < sizes[1].tokens  # a longer path must be kept
    with pytest.raises(
        InputError, match=r"memory of .* GiB: reading 10000 tokens for 3 adapters takes at least .* GiB"
    ):
        Budget.of(base.model, 10**6, 3, 10_000)
    kept = [TrainingBudget.of(base.model, memory, False) for memory in (10**5, 10**8)]
    assert kept[0].memory < kept[1].memory and kept[0].most_kept < kept[1].most_kept
    assert TrainingBudget.of(base.model, 10**8, True).cost(10, 10, 1) < kept[1].cost(10, 10, 1)
    assert kept[0].cost(10, 10, 10) > kept[0].cost(10, 10, 1)  # logits where something is predicted only
    assert kept[0].room(0) == kept[0].memory > kept[0].room(1)  # nothing is set aside for what is not kept


def test_heads_that_take_turns_and_prompts_that_are_read_anew_end_the_same(tokenizer: Any) -> None:
    config = TrainingConfig(
        lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=4, adapt="completion"
    )
    data = {name: examples(tokenizer, 12, seed) for seed, name in enumerate(("a", "b", "c"))}
    stacks = []
    for limit in (10**5, 10**9):
        stack = HeadStack(tiny_base(tokenizer), list(data), lora=lora_config(r=4), adapt="completion", seeds=[0, 1, 2])
        trainer = Trainer(stack, data, config, memory=limit)
        if limit == 10**5:
            budget = TrainingBudget.of(stack.base.model, limit, False)
            assert all(
                budget.cost(len(pair.completion), len(pair.inputs), 1) > budget.memory / 10 for pair in data["a"]
            )
        trainer.run()
        stacks.append(stack)
    assert max(distance(*stacks, name) for name in data) < 1e-4
