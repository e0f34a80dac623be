"""The steps of a plan against brute force: who is whose ancestor, where each key lies, what is kept."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from likra.engine import plan as plan_module
from likra.engine.layout import Layout
from likra.engine.plan import LayoutKind, Plan, RangePlanner, plan_new
from likra.engine.tree import Tree


def some_tree(seed: int) -> Tree:
    """Sequences that share beginnings; in each some first tokens are base tokens."""
    rng = random.Random(seed)
    prefix = [rng.randrange(9) for _ in range(30)]
    sequences = []
    for _ in range(6):
        ids = [*prefix[: rng.randint(1, 30)], *(rng.randrange(3) for _ in range(rng.randint(0, 8)))]
        sequences.append((ids, rng.randint(0, len(ids))))
    return Tree.of(sequences)


def ancestors(tree: Tree, node: int) -> list[int]:
    """From the root down, by the paths alone."""
    for path in tree.paths:
        if node in path:
            return [int(n) for n in path[: list(path).index(node)]]
    raise AssertionError(node)


#: Taken from the numbers of the cache's slots, to tell them from packed tokens.
CACHED = 10**6


def attended(layout: Layout, tokens: int) -> list[set[int]]:
    """For each packed token the keys that it attends to below the shared prefix: packed tokens, and slots - CACHED."""
    found: list[set[int]] = []
    for block in layout.blocks:
        for keys_k, mask_qk in zip(block.keys_Bk, block.mask_B1qk[:, 0], strict=True):
            seen_qk = mask_qk if mask_qk.dtype == torch.bool else mask_qk == 0
            found += [{int(k) for k in keys_k[row]} for row in seen_qk]
    cached = len(layout.cached)
    for chain in layout.chains:
        for adapter in range(chain.adapters):
            first = adapter * (tokens // chain.adapters)
            for place in range(chain.first, chain.last):
                own = {cached + first + n for n in range(chain.first, place + 1)}
                found.append(own | {int(k) for k in chain.keys_Ak[adapter]})
    seen = [found[int(place)] for place in layout.restore_N] + list(_of_runs(layout))
    return [{int(layout.cached[k]) - CACHED if k < cached else k - cached for k in keys} for keys in seen]


def _of_runs(layout: Layout) -> Iterator[set[int]]:
    """The same of runs, as a causal kernel that aligns queries and keys at their ends reads them."""
    for run in layout.runs:
        ends_q, ends_k = run.lengths.ends_q.tolist(), run.lengths.ends_k.tolist()
        assert ends_q[-1] == run.last - run.first and ends_k[-1] == len(run.keys_K)
        for (first, last), (begin, end) in zip(itertools.pairwise(ends_q), itertools.pairwise(ends_k), strict=True):
            for place in range(last - first):
                stop = end - (last - first) + place + 1
                start = begin if run.window is None else max(begin, stop - run.window)
                yield {int(k) for k in run.keys_K[start:stop]}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("way", ["blocks", "chains", "runs"])
def test_every_token_attends_to_its_ancestors(seed: int, way: LayoutKind, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    for name, sizes in (("PREFIX", [2, 6, 1000]), ("CHAIN", [3, 1000]), ("BLOCK", [3, 8, 128])):
        monkeypatch.setattr(plan_module, name, rng.choice(sizes))
    tree, adapters = some_tree(seed), 3
    depth = int(tree.depth_N.max()) + 1
    start = rng.randrange(len(tree))
    stop = rng.randint(start + 1, len(tree))
    planner = RangePlanner(tree, start, stop, adapters, depth)
    plan = planner.plan()
    layout = planner.layout(None, way)
    seen = attended(layout, len(plan.ids_N))
    prefix = planner.shared_prefix(None)
    for adapter in range(adapters):
        for node in range(start, stop):
            expected = set()
            for other in [*ancestors(tree, node), node]:
                if other >= start:
                    expected.add(int(planner.places_AS[adapter][other - start]))
                elif tree.depth_N[other] >= prefix:
                    copy = adapter if tree.adapter_N[other] else 0
                    expected.add(copy * depth + int(tree.depth_N[other]) - CACHED)
            assert seen[int(planner.places_AS[adapter][node - start])] == expected
    # The shared prefix is above every node of the stretch.
    assert all(set(planner.path[:prefix]) <= {*ancestors(tree, node)} for node in range(start, stop))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_kept_is_the_path_to_the_next_node(seed: int) -> None:
    tree, adapters, rng = some_tree(seed), 2, random.Random(seed)
    depth = int(tree.depth_N.max()) + 1
    start = rng.randrange(len(tree) - 1)
    stop = rng.randint(start + 1, len(tree) - 1)
    planner = RangePlanner(tree, start, stop, adapters, depth)
    rows, slots = planner.stored()
    kept = dict(zip(slots.tolist(), rows.tolist(), strict=True))
    path = [node for node in ancestors(tree, stop) if node >= start]
    expected: dict[int, int] = {}
    for node in path:
        for adapter in range(adapters if tree.adapter_N[node] else 1):
            expected[adapter * depth + int(tree.depth_N[node])] = int(planner.places_AS[adapter][node - start])
    assert kept == expected
    last = RangePlanner(tree, start, len(tree), adapters, depth).stored()
    assert not any(map(len, last))


def test_a_shared_prefix_must_pay_and_be_of_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "PREFIX", 3)
    branches: list[Any] = [([1, 2, 3, 4, 5, 6], 4), ([1, 2, 3, 4, 5, 7], 4), ([1, 2, 3, 4, 5, 8], 4)]
    tree = Tree.of(branches)  # four base tokens, then one adapter token and three branches
    assert RangePlanner(tree, 5, 8, 2, 6).shared_prefix(None) == 4  # the fifth is of the other kind
    assert RangePlanner(tree, 5, 8, 2, 6).shared_prefix(window=9) == 0
    assert RangePlanner(tree, 2, 8, 2, 6).shared_prefix(None) == 0  # two are above, too few
    own = Tree.of([(ids, 0) for ids, _ in branches])
    assert RangePlanner(own, 5, 8, 2, 6).shared_prefix(None) == 5
    assert RangePlanner(own, 5, 8, 2, 6).layout(None, "blocks").prefixes == 2


@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("way", ["blocks", "runs"])
def test_trees_of_several_adapters_attend_each_to_its_own(window: int | None, way: LayoutKind) -> None:
    trees = [some_tree(seed) for seed in (1, 2)]
    slots_of = [100 * n + np.arange(len(tree)) for n, tree in enumerate(trees)]
    plan: Plan = plan_new(trees, slots_of)
    layout = plan.layout(window, torch.device("cpu"), torch.float32, way)
    seen = attended(layout, len(plan.ids_N))
    for tree, slots, places, span in zip(trees, slots_of, plan.places_AS, plan.spans, strict=True):
        assert span[1] - span[0] == tree.adapter_N.sum()
        for node in np.flatnonzero(tree.adapter_N):
            near = [n for n in [*ancestors(tree, int(node)), int(node)]
                    if window is None or tree.depth_N[node] - tree.depth_N[n] < window]  # fmt: skip
            expected = {int(places[n]) if tree.adapter_N[n] else int(slots[n]) - CACHED for n in near}
            assert seen[int(places[node])] == expected
