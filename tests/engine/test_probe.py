"""A wrong mask is refused, in every precision, on every architecture; the right one is not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from likra.engine import plan as plan_module
from likra.engine.probe import can_share
from likra.engine.tree import Tree
from tests.conftest import ARCHITECTURES, tiny_base

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
Sees = Callable[[Tree, Any, Any, int | None], Any]
right: Sees = plan_module._sees


def siblings(tree: Tree, queries: Any, keys: Any, window: int | None) -> Any:
    """Every token sees all that stand before it."""
    return keys <= queries[:, None]


def one_of_a_sibling(tree: Tree, queries: Any, keys: Any, window: int | None) -> Any:
    """The last branch sees the first one's last token."""
    return right(tree, queries, keys, window) | (
        (queries[:, None] == tree.paths[-1][-1]) & (keys[None] == tree.paths[0][-1])
    )


def not_its_parent(tree: Tree, queries: Any, keys: Any, window: int | None) -> Any:
    """A token does not see the one that it follows."""
    parent = tree.depth_N[keys][None] == tree.depth_N[queries][:, None] - 1
    return right(tree, queries, keys, window) & ~parent


def its_descendants(tree: Tree, queries: Any, keys: Any, window: int | None) -> Any:
    """A token sees what follows it."""
    return right(tree, queries, keys, window) | (
        (keys[None] > queries[:, None]) & (keys[None] < tree.end_N[queries][:, None])
    )


WRONG = [siblings, one_of_a_sibling, not_its_parent, its_descendants]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_right_mask_is_accepted(architecture: str, dtype: torch.dtype, tokenizer: Any) -> None:
    base = tiny_base(tokenizer, architecture)
    base.model.to(dtype)
    assert can_share(base.model, 60)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_mask_is_refused(
    architecture: str, dtype: torch.dtype, wrong: Sees, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base(tokenizer, architecture)
    base.model.to(dtype)
    monkeypatch.setattr(plan_module, "_sees", wrong)
    assert not can_share(base.model, 60)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_wrong_place_in_the_pool_is_refused(
    dtype: torch.dtype, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of a first stretch is another branch's token, so that a second one finds its cousin above it."""
    ancestors = Tree.ancestors

    def cousins(tree: Tree, node: int) -> Any:
        path = ancestors(tree, node)
        # Of two stretches with a cut within the branches: the last of the path is taken from the first branch's end.
        return np.where(path == path.max(initial=-1), tree.paths[0][-1], path) if 0 < node < len(tree) else path

    base = tiny_base(tokenizer)
    base.model.to(dtype)
    monkeypatch.setattr(Tree, "ancestors", cousins)
    assert not can_share(base.model, 60)


def experts(dtype: torch.dtype) -> Any:
    """A model whose layers round tokens together: what one token says moves the last bits of others."""
    from transformers import AutoModelForCausalLM, MixtralConfig

    config = MixtralConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval().to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_experts(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_share(experts(dtype), 60)
    for wrong in WRONG:
        with monkeypatch.context() as patched:
            patched.setattr(plan_module, "_sees", wrong)
            assert not can_share(experts(dtype), 60), wrong


def test_the_trial_computes_in_full_float32(tokenizer: Any) -> None:
    """Whatever the program allows: TF32 would miss the bound, and the base be read slowly."""
    base, seen = tiny_base(tokenizer), set()
    base.model.register_forward_hook(lambda *_: seen.add(torch.backends.cuda.matmul.fp32_precision))
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        assert can_share(base.model, 60)
        assert seen == {"ieee"} and torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
