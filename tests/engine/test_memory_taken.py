"""What reading and training are reckoned to take, against what torch's profiler sees allocated."""

import random
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, LlamaConfig

from likra.data import TokenizedExample
from likra.engine import kernels
from likra.engine.batch import Batch
from likra.engine.memory import Budget, TrainingBudget
from likra.engine.packed import PackedReader
from likra.models.base import as_base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.training.losses import Likelihood
from likra.training.prepared import prepared
from tests.engine.another_device import WAYS, read_as_cuda

#: In the proportions of Llama-3.2-1B, a twentieth as wide.
SHAPE = LlamaConfig(
    vocab_size=2048, hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=8,
    num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, pad_token_id=1,
)  # fmt: skip


def peak(run: Any) -> int:
    """Bytes allocated at once, at most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"dtype": torch.bfloat16},
        {"checkpointing": True},
        {"context": 400, "count": 2},
        {"adapt": "completion", "context": 200},
        {"whole_text": True},
        {"heads": 1},
    ],
    ids=str,
)
def test_the_estimate_is_no_less_than_what_is_taken_and_not_thrice(case: dict[str, Any], tokenizer: Any) -> None:
    given = {"dtype": torch.float32, "checkpointing": False, "context": 40, "count": 6, "adapt": "everywhere",
             "whole_text": False, "heads": 2, **case}  # fmt: skip
    torch.manual_seed(0)
    base = as_base(AutoModelForCausalLM.from_config(SHAPE, dtype=given["dtype"]), tokenizer)
    names = ["one", "two"][: given["heads"]]
    stack = HeadStack(base, names, lora=lora_config(r=8), adapt=given["adapt"])
    rng = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(2048) for _ in range(count))

    pairs = [TokenizedExample(tokens(given["context"]), tokens(6)) for _ in range(given["count"])]
    reader = PackedReader(base, stack)
    reader.keep_prefixes(pairs, 10**6)

    def step() -> None:
        with reader.predictions([Batch(name, pairs, given["whole_text"]) for name in names]) as found:
            torch.stack([Likelihood(given["whole_text"])(each) for each in found]).sum().backward()

    with prepared(stack, checkpointing=given["checkpointing"]):
        step()  # gradients are there from now on
        taken = peak(step)
    budget = TrainingBudget.of(base.model, 10**9, given["checkpointing"])
    predicted = given["context"] + 5 if given["whole_text"] else 6
    estimate = len(names) * sum(budget.cost(reader.num_own_tokens(pair), len(pair.inputs), predicted) for pair in pairs)
    assert taken < 1.5 * estimate < 3 * taken  # the half on top is what budgets leave to allocators


@pytest.mark.parametrize("way", ["cpu", *WAYS])
@pytest.mark.parametrize("context", [60, 900])
def test_scoring_takes_no_more_than_its_budget(
    way: str, context: int, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU too, where keys and values are gathered, and without the kernel copied for every query head."""
    torch.manual_seed(0)
    base = as_base(AutoModelForCausalLM.from_config(SHAPE), tokenizer)
    rng = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(2048) for _ in range(count))

    pairs = [
        TokenizedExample(prompt, tokens(6))
        for prompt in (tokens(context) for _ in range(3600 // context))
        for _ in range(4)
    ]
    if way != "cpu":
        read_as_cuda(monkeypatch, way)
    if way == "runs":  # which, as the kernel, takes nothing but its outputs
        monkeypatch.setattr(kernels, "_works", lambda shape, kernel: True)
        monkeypatch.setattr(
            kernels, "varlen_attn", lambda query, *_, **__: (query.clone(), query.new_zeros(query.shape[1::-1]))
        )
    memory = 48 * 2**20
    budget = Budget.of(base.model, memory, 1, context + 6)
    assert budget.tokens > 100
    reader = PackedReader(base, None)
    assert memory / 10 < peak(lambda: reader.loglikelihoods(pairs, [BASE], budget)) < memory
