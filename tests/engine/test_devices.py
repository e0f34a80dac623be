"""Scoring, training, the trial and writing on every device here; and what only a GPU does, on a CPU."""

import contextlib
import random
from typing import Any

import numpy as np
import pytest
import torch

from likra.data import Prompter, Question
from likra.engine import attention, kernels
from likra.engine import layout as layout_module
from likra.engine import plan as plan_module
from likra.engine import reader as reader_module
from likra.engine.batch import Batch
from likra.engine.loglikelihood import score
from likra.engine.memory import Budget
from likra.engine.packed import PackedReader
from likra.engine.plan import LayoutKind
from likra.engine.probe import can_share
from likra.generation import Contrast, Decoding, generate
from likra.generation.text import wording
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.training.config import TrainingConfig
from likra.training.losses import Likelihood
from tests.conftest import ARCHITECTURES, tiny_base
from tests.engine.another_device import WAYS, read_as_cuda
from tests.engine.test_engine import perturb, plain
from tests.engine.test_packed import some_pairs
from tests.training.test_training import distance, examples, train

PROMPTER = Prompter("qa")
HEADS = ("one", "two")


def on(device: torch.device, tokenizer: Any, architecture: str = "llama") -> Base:
    base = tiny_base(tokenizer, architecture)
    base.model.to(device)
    return base


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_device_scores_as_plain_forward_passes_on_a_cpu(
    architecture: str, device: torch.device, tokenizer: Any, questions: list[Question]
) -> None:
    base, there = tiny_base(tokenizer, architecture), on(device, tokenizer, architecture)
    assert can_share(there.model, 100)
    found = score(there, None, questions, PROMPTER).head(BASE)
    for row, question in enumerate(questions):
        for place, (context, completion) in enumerate(PROMPTER.pairs(question)):
            pair = base.encode_pair(context, completion)
            assert found[row, place] == pytest.approx(plain(base, pair.context, pair.completion), abs=1e-3)


@pytest.mark.parametrize("packed", [True, False])
def test_a_device_reads_heads_as_a_cpu_does(
    packed: bool, device: torch.device, tokenizer: Any, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packed:
        monkeypatch.setattr(reader_module, "can_share", lambda model, longest: False)
    tables = []
    for base in (tiny_base(tokenizer), on(device, tokenizer)):
        stack = HeadStack(base, HEADS, lora=lora_config(r=4))
        perturb(stack)
        tables.append(score(base, stack, questions, PROMPTER, (BASE, *HEADS)).logprob_HQC)
    np.testing.assert_allclose(*tables, atol=1e-3)


@pytest.mark.parametrize("activation", ["everywhere", "completion"])
def test_a_device_trains_as_a_cpu_does(activation: str, device: torch.device, tokenizer: Any) -> None:
    data = {name: examples(tokenizer, 12, seed) for seed, name in enumerate(HEADS)}
    config = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=4, adapt=activation)
    here, there = train(tiny_base(tokenizer), data, config), train(on(device, tokenizer), data, config)
    for name in HEADS:
        weights = there.weights(name)
        for path, pair in here.weights(name).items():
            for one, other in zip(pair, weights[path], strict=True):
                torch.testing.assert_close(other.cpu(), one, atol=1e-3, rtol=0)


def test_a_device_writes_what_a_cpu_writes(device: torch.device, tokenizer: Any, questions: list[Question]) -> None:
    written = []
    for base in (tiny_base(tokenizer), on(device, tokenizer)):
        stack = HeadStack(base, HEADS, lora=lora_config(r=4))
        perturb(stack)
        prompts = [tokenizer.encode(wording("qa", question.text)) for question in questions[:4]]
        written.append(generate(base, stack, HEADS, prompts, Decoding(max_tokens=8), Contrast(0.7, 0.05)))
    assert written[0] == written[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_trial_accepts_half_precision_on_a_device(dtype: torch.dtype, device: torch.device, tokenizer: Any) -> None:
    base = on(device, tokenizer)
    base.model.to(dtype)
    assert can_share(base.model, 60)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma3", "gpt2"])
@pytest.mark.parametrize("activation", ["everywhere", "completion"])
def test_any_tree_read_as_on_a_gpu_equals_plain_forward_passes(
    architecture: str, activation: str, way: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base(tokenizer, architecture)
    stack = HeadStack(base, HEADS, lora=lora_config(r=4), adapt=activation)
    perturb(stack)
    kernel = read_as_cuda(monkeypatch, way)
    assert can_share(base.model, 60)
    for seed in range(3):
        rng = random.Random(seed)
        monkeypatch.setattr(plan_module, "PREFIX", rng.choice([2, 6, 1000]))
        monkeypatch.setattr(plan_module, "BLOCK", rng.choice([4, 16, 128]))
        pairs = some_pairs(seed)
        budget = Budget(rng.choice([1, 20, 10_000]), rng.choice([3, 10_000]))
        found = PackedReader(base, stack).loglikelihoods(pairs, [BASE, *HEADS], budget)
        with monkeypatch.context() as undone:
            undone.setattr(kernels, "kind_of", lambda device: device.type)
            for index, pair in enumerate(pairs):
                length = len(pair.inputs) + 1
                for row, name in enumerate([BASE, *HEADS]):
                    first = 0 if activation == "everywhere" else len(pair.context) - 1
                    with stack.active([] if name == BASE else [(name, first, length)], length):
                        expected = plain(base, pair.context, pair.completion)
                    assert found[row, index] == pytest.approx(expected, abs=2e-4), (seed, name, pair)
    assert bool(kernel.calls) == (way == "runs")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("activation", ["everywhere", "completion"])
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_training_as_on_a_gpu_ends_as_on_a_cpu(
    architecture: str, activation: str, way: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {name: examples(tokenizer, 12, seed) for seed, name in enumerate(HEADS)}
    config = TrainingConfig(
        lora=lora_config(r=4),
        learning_rate=1e-3,
        per_device_train_batch_size=4,
        adapt=activation,
        gradient_checkpointing=architecture == "mistral",
    )
    expected = train(tiny_base(tokenizer, architecture), data, config)
    kernel = read_as_cuda(monkeypatch, way)
    found = train(tiny_base(tokenizer, architecture), data, config)
    assert max(distance(found, expected, name) for name in HEADS) < 1e-4
    assert bool(kernel.calls) == (way == "runs")


@pytest.mark.parametrize("way", ["cpu", *WAYS])
def test_what_a_plan_needs_is_sent_once_and_not_for_each_layer(
    way: str, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "cpu":
        read_as_cuda(monkeypatch, way)
    sent: list[str] = []
    for module in (layout_module, plan_module):
        real, name = module.sent, module.__name__.rpartition(".")[2]

        def counted(device: Any, tensors: Any, real: Any = real, name: str = name) -> Any:
            sent.append(name)
            return real(device, tensors)

        monkeypatch.setattr(module, "sent", counted)
    passes: list[int] = []
    base.model.register_forward_hook(lambda *_: passes.append(1))
    PackedReader(base, None).loglikelihoods(some_pairs(3), [BASE], Budget(40, 40))
    assert len(base.model.model.layers) > 1 and len(passes) > 1
    # Of the last pass nothing need be kept for a later one.
    assert sent.count("layout") == len(passes) and 0 < sent.count("plan") < len(passes)


def test_masks_are_as_wide_as_a_gpus_kernels_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    read_as_cuda(monkeypatch, "blocks")
    tree = plan_module.Tree.of([(pair.inputs, 0) for pair in some_pairs(2)])
    plan = plan_module.RangePlanner(tree, 0, len(tree), 1, 100).plan()
    for block in plan.layout(None, torch.device("cpu"), torch.bfloat16, "blocks").blocks:
        assert block.mask_B1qk.shape[-1] == block.keys_Bk.shape[-1] and block.keys_Bk.shape[-1] % 16 == 0
        assert block.mask_B1qk.dtype == torch.bfloat16 and (block.mask_B1qk == 0).any(-1).all()


def test_scores_are_not_rounded_before_the_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a kernel that gives log-sum-exps, in half precision."""
    read_as_cuda(monkeypatch, "blocks")
    torch.manual_seed(0)
    q, k, v = ((torch.randn(1, heads, 200, 32) * 2).bfloat16() for heads in (4, 2, 2))
    out, log = attention._with_log_sum_exp(q, k, v, None, 0.3)
    keys, values = (x.double().repeat_interleave(2, 1) for x in (k, v))
    scores = q.double() @ keys.transpose(-1, -2) * 0.3
    torch.testing.assert_close(log.double(), scores.logsumexp(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.double(), scores.softmax(-1) @ values, atol=0.03, rtol=0)


def test_what_is_merged_has_gradients_on_a_gpu_too(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives none for the log-sum-exps; where they are needed, masks are used."""
    read_as_cuda(monkeypatch, "runs")
    monkeypatch.setattr(plan_module, "PREFIX", 2)
    ways: list[LayoutKind] = []
    real = attention.Plan.layout

    def watched(plan: Any, window: Any, device: Any, dtype: Any, way: LayoutKind) -> Any:
        ways.append(way)
        return real(plan, window, device, dtype, way)

    monkeypatch.setattr(attention.Plan, "layout", watched)
    PackedReader(base, None).loglikelihoods(some_pairs(0), [BASE], Budget(20, 20))
    assert set(ways) == {"runs"}
    tree = plan_module.Tree.of([((3, 4, 5, 6), 0), ((3, 4, 5, 7), 0)])
    cache = attention.KVCache()
    for start, stop in ((0, 3), (3, 5)):
        plan = plan_module.RangePlanner(tree, start, stop, 1, 4).plan()
        with attention.reads_trees(base.model, plan, cache):
            out = base.model(plan.ids_N[None], position_ids=plan.positions_N[None], use_cache=False)
    assert ways[-1] == "blocks" and out.logits.isfinite().all()


@pytest.mark.parametrize("way", WAYS)
def test_everything_lies_on_the_models_device(way: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On `meta`, where nothing is computed, tensors of two devices do not meet: neither forwards nor backwards."""
    monkeypatch.setattr(plan_module, "PREFIX", 2)
    read_as_cuda(monkeypatch, way)

    def shapes_only(query: Any, key: Any, value: Any, ends_q: Any, ends_k: Any, *_: Any, **__: Any) -> Any:
        assert {x.device.type for x in (query, key, value, ends_q, ends_k)} == {"meta"}
        return query + key.sum() + value.sum(), torch.empty(query.shape[1::-1][::-1], device="meta").T

    if way == "runs":
        monkeypatch.setattr(kernels, "varlen_attn", shapes_only)
        monkeypatch.setattr(kernels, "_works", lambda shape, kernel: True)
    # Autocast knows no such device.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    base = tiny_base(tokenizer)
    base.model.to("meta")
    stack = HeadStack(base, HEADS, lora=lora_config(r=4), adapt="completion")
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    reader = PackedReader(base, stack)
    pairs = some_pairs(1)
    with reader.predictions([Batch(name, pairs) for name in HEADS]) as found:
        loss = torch.stack([Likelihood()(each) for each in found])
        loss.sum().backward()
    assert loss.device.type == "meta"
    assert all(parameter.grad is not None and parameter.grad.is_meta for parameter in stack.parameters())
