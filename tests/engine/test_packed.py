"""Packed readings against plain forward passes, however the tree is cut."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likra.data import TokenizedExample
from likra.engine import plan as plan_module
from likra.engine.attention import KVCache
from likra.engine.forward import read
from likra.engine.memory import Budget
from likra.engine.packed import PackedReader
from likra.engine.padded import PaddedReader
from likra.engine.plan import RangePlanner
from likra.engine.probe import can_share
from likra.engine.tree import Tree
from likra.models.base import Base, as_base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from tests.conftest import ARCHITECTURES, tiny_base
from tests.engine.test_engine import perturb, plain


def some_pairs(seed: int, longest: int = 60) -> list[TokenizedExample]:
    """Contexts that share beginnings of all lengths, some of them long, and completions that do."""
    rng = random.Random(seed)
    prefix = [rng.randrange(3, 300) for _ in range(longest)]
    pairs = []
    for _ in range(rng.randint(1, 8)):
        context = (*prefix[: rng.randint(1, longest)], *(rng.randrange(3, 6) for _ in range(rng.randint(0, 12))))
        pairs += [
            TokenizedExample(context, tuple(rng.randrange(3, 6) for _ in range(rng.randint(1, 5))))
            for _ in range(rng.randint(1, 3))
        ]
    return pairs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("activation", ["everywhere", "completion"])
def test_any_tree_cut_anywhere_equals_plain_forward_passes(
    architecture: str, activation: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base(tokenizer, architecture)
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=4), adapt=activation)
    perturb(stack)
    for seed in range(6):
        rng = random.Random(seed)
        # Small limits, so that prefixes, chains, blocks and cuts all occur in a small tree.
        monkeypatch.setattr(plan_module, "PREFIX", rng.choice([2, 6, 1000]))
        monkeypatch.setattr(plan_module, "CHAIN", rng.choice([3, 1000]))
        monkeypatch.setattr(plan_module, "BLOCK", rng.choice([4, 16, 128]))
        pairs = some_pairs(seed)
        budget = Budget(rng.choice([1, 20, 10_000]), rng.choice([3, 10_000]))
        found = PackedReader(base, stack).loglikelihoods(pairs, [BASE, "one", "two"], budget)
        for index, pair in enumerate(pairs):
            length = len(pair.inputs) + 1  # `plain` reads the last token too
            for row, name in enumerate([BASE, "one", "two"]):
                first = 0 if activation == "everywhere" else len(pair.context) - 1
                with stack.active([] if name == BASE else [(name, first, length)], length):
                    expected = plain(base, pair.context, pair.completion)
                assert found[row, index] == pytest.approx(expected, abs=2e-4), (seed, name, pair)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_distinct_token_is_read_once(seed: int, base: Base) -> None:
    pairs = some_pairs(seed)
    tree = Tree.of([(pair.inputs, 0) for pair in pairs])
    rng = random.Random(seed)
    cuts = sorted({0, len(tree), *(rng.randrange(len(tree)) for _ in range(3))})
    depth, cache, logits = int(tree.depth_N.max()) + 1, KVCache(), []
    with torch.no_grad():
        for start, stop in itertools.pairwise(cuts):
            plan = RangePlanner(tree, start, stop, 1, depth).plan()
            assert len(plan.ids_N) == stop - start
            logits.append(read(base.model, plan, cache, torch.arange(stop - start)))
        whole = torch.cat(logits)
        for pair, path in zip(pairs, tree.paths, strict=True):
            expected = base.model(torch.tensor([pair.inputs])).logits[0]
            torch.testing.assert_close(whole[torch.from_numpy(path.astype(np.int64))], expected, atol=1e-4, rtol=1e-4)


def test_a_reading_that_fails_leaves_the_cache_as_it_was(base: Base) -> None:
    tree = Tree.of([((3, 4, 5, 6), 0), ((3, 7, 8, 9), 0)])
    cache = KVCache()
    with torch.no_grad():
        read(base.model, RangePlanner(tree, 0, 2, 1, 4).plan(), cache, torch.zeros(0, dtype=torch.long))
        layer = base.model.model.layers[0].self_attn
        before = cache.of(layer)[0].clone()
        norm = base.model.model.norm
        hook = norm.register_forward_hook(lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
        with pytest.raises(torch.OutOfMemoryError):
            read(base.model, RangePlanner(tree, 2, 6, 1, 4).plan(), cache, torch.zeros(0, dtype=torch.long))
        hook.remove()
        assert torch.equal(cache.of(layer)[0], before)
        assert base.model.config._attn_implementation == "sdpa"


def test_a_verdict_on_short_sequences_is_none_on_long_ones(tokenizer: Any) -> None:
    """Phi-3's long rotations depend on the longest sequence of a batch."""
    from transformers import AutoModelForCausalLM, Phi3Config

    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config = Phi3Config(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, original_max_position_embeddings=100, pad_token_id=1,
        bos_token_id=0, eos_token_id=1,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 100, "factor": 5.12,
            **factors,
        },
    )  # fmt: skip
    torch.manual_seed(0)
    base = as_base(AutoModelForCausalLM.from_config(config), tokenizer)
    assert can_share(base.model, 90) and not can_share(base.model, 110) and can_share(base.model, 90)
    pairs = [TokenizedExample(tuple(range(3, 3 + length)), (7, 9, 11)) for length in (60, 90, 108, 130)]
    found = PaddedReader(base, None).loglikelihoods(pairs, [BASE], Budget(10_000, 10_000))
    for index, pair in enumerate(pairs):
        ids = torch.tensor([pair.inputs])
        with torch.no_grad():
            likely = base.model(ids).logits[0, -3:].log_softmax(-1)
        expected = sum(float(likely[place, token]) for place, token in enumerate(pair.completion))
        assert found[0, index] == pytest.approx(expected, abs=1e-4)


def test_an_attention_of_another_kind_is_found_out(tokenizer: Any) -> None:
    """Gemma 2 caps its scores, which a packed reading does not."""
    from transformers import AutoModelForCausalLM, Gemma2Config

    config = Gemma2Config(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, sliding_window=64,
    )  # fmt: skip
    assert not can_share(AutoModelForCausalLM.from_config(config), 60)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_packed_too(dtype: torch.dtype, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tokenizer)
    base.model.to(dtype)
    assert can_share(base.model, 60)
    monkeypatch.setattr(plan_module, "PREFIX", 4)
    monkeypatch.setattr(plan_module, "CHAIN", 4)
    pairs = some_pairs(3)
    packed = PackedReader(base, None).loglikelihoods(pairs, [BASE], Budget(20, 100))
    rows = PaddedReader(base, None).loglikelihoods(pairs, [BASE], Budget(1000, 1000))
    assert np.abs(packed - rows).mean() < 0.3
