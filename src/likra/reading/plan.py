"""What one forward pass reads: a stretch of a tree, packed without padding, and who attends to what.

A stretch of nodes in depth-first order [start, stop) needs nothing from before but the path to its first node. So a
tree of any size is read stretch by stretch, with the keys and values of one path kept: a stack indexed by depth.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from likra.reading.tree import Bools, Ints, Tree

BLOCK = 128  # nodes whose queries attend together
TRUNK = 64  # a common path at least this long is attended to apart, without copying its keys
CHAIN = 192  # tokens that follow one another without a branch, from so many on, attend by a causal kernel
FILL = 1.3  # blocks are padded to a rectangle of at most so many times their own size


@dataclass
class Block:
    """Queries that attend to common keys: places in the packed tokens, and in (old keys, packed tokens)."""

    queries_q: Ints
    keys_k: Ints
    seen_qk: Bools


@dataclass
class Rectangle:
    """B blocks padded to q queries and k keys.

    Attributes:
        queries_Bq, keys_Bk: Places, 0 where padded.
        mask_B1qk: Additive mask.
    """

    queries_Bq: torch.Tensor
    keys_Bk: torch.Tensor
    mask_B1qk: torch.Tensor


@dataclass
class Chain:
    """Packed tokens that follow one another without a branch, in each of G groups; they need no mask.

    Attributes:
        groups: G; the packed tokens are cut into so many equal parts.
        first, last: The tokens within each part.
        keys_Gk: Places of the keys that all of them see besides their own, as in `Block`.
    """

    groups: int
    first: int
    last: int
    keys_Gk: torch.Tensor


@dataclass
class Layout:
    """Who attends to what, for layers of one sliding window.

    Attributes:
        trunk: Length of the common path that every token attends to, in the pool's slots 0 to trunk - 1 of each group.
        groups: Groups that have a trunk of their own; 1: all tokens attend to that of the first.
        past: Slots of the pool whose keys come before those of the packed tokens in the blocks' numbering.
        rectangles: The blocks.
        chains: Long stretches without a branch.
        restore_N: Where in the concatenated queries of rectangles and chains each packed token is.
    """

    trunk: int
    groups: int
    past: torch.Tensor
    rectangles: list[Rectangle]
    chains: list[Chain]
    restore_N: torch.Tensor


@dataclass
class Plan:
    """N packed tokens.

    Attributes:
        ids_N, positions_N: Tokens and their positions in their own sequences.
        spans: For each group its first packed token of its own and one past its last.
        flat_Gn: Place among the packed tokens of each node of the stretch, for each group.
        store: (packed token, pool slot) of what must stay readable afterwards.
        slots: Slots the pool must have.
        build: Makes the layout for a sliding window (None: no window).
    """

    ids_N: torch.Tensor
    positions_N: torch.Tensor
    spans: list[tuple[int, int]]
    flat_Gn: list[Ints]
    store: tuple[torch.Tensor, torch.Tensor]
    slots: int
    build: Callable[[int | None, bool], Layout]
    _layouts: dict[tuple[int | None, torch.device, torch.dtype, bool], Layout] = field(default_factory=dict)

    def layout(self, window: int | None, device: torch.device, dtype: torch.dtype, chained: bool) -> Layout:
        """The layout for layers of one sliding window, on a device, with masks of a dtype, with chains or without."""
        if window is not None and window > int(self.positions_N.max()):
            window = None
        chained = chained and window is None
        key = (window, device, dtype, chained)
        if key not in self._layouts:
            plain = self.build(window, chained)
            self._layouts[key] = Layout(
                plain.trunk,
                plain.groups,
                plain.past.to(device),
                [
                    Rectangle(r.queries_Bq.to(device), r.keys_Bk.to(device), r.mask_B1qk.to(device, dtype))
                    for r in plain.rectangles
                ],
                [Chain(c.groups, c.first, c.last, c.keys_Gk.to(device)) for c in plain.chains],
                plain.restore_N.to(device),
            )
        return self._layouts[key]


def plan_range(tree: Tree, start: int, stop: int, groups: int, depth: int, *, keep_all: bool = False) -> Plan:
    """Read the nodes [start, stop) of a tree once for all groups where they are shared, once per group where own.

    Packed are the shared tokens, then each group's own. The path to `start` lies in the pool, at slot
    `group * depth + position` (group 0 where shared).

    Args:
        tree: The tree.
        start, stop: The stretch.
        groups: Number of readers of own nodes.
        depth: Number of slots per group in the pool; at least that of the longest sequence.
        keep_all: Keep every node in the pool, at the slot of its own number (one group only).
    """
    nodes = np.arange(start, stop)
    own = tree.own_N[start:stop]
    path = tree.ancestors(start)
    shared, each = int((~own).sum()), int(own.sum())
    flat_Gn = [np.where(own, shared + g * each + np.cumsum(own) - 1, np.cumsum(~own) - 1) for g in range(groups)]
    order = np.concatenate([nodes[~own], *[nodes[own]] * groups])

    def place_of(nodes: Ints) -> Ints:
        return nodes if keep_all else tree.depth_N[nodes]

    def build(window: int | None, chained: bool) -> Layout:
        common = int((tree.end_N[path] >= stop).sum()) if window is None else 0
        if (~tree.own_N[path[:common]]).any() and tree.own_N[path[:common]].any():
            common = int((~tree.own_N[path[:common]]).sum())  # the trunk is all shared or all own
        own_trunk = bool(common and tree.own_N[path[0]])
        if keep_all and (path[:common] != np.arange(common)).any():
            common = 0  # its slots do not follow one another
        if common < TRUNK or (own_trunk and shared):
            common, own_trunk = 0, False
        # Keys: the path below the trunk (once where shared, once per group where own), then the packed tokens.
        below = path[common:]
        is_own = tree.own_N[below]
        count, per = int((~is_own).sum()), int(is_own.sum())
        slots = np.concatenate(
            [place_of(below[~is_own]), *(g * depth + place_of(below[is_own]) for g in range(groups))]
        )
        key_of = []
        for g in range(groups):
            old = np.where(is_own, count + g * per + np.cumsum(is_own) - 1, np.cumsum(~is_own) - 1)
            key_of.append((old, len(slots) + flat_Gn[g]))

        def keys_at(keys: Ints, g: int) -> Ints:
            """Places of some nodes as group g reads them."""
            old, new = key_of[g]
            before = keys < start
            at = np.empty_like(keys)
            at[before] = old[tree.depth_N[keys[before]] - common]
            at[~before] = new[keys[~before] - start]
            return at

        def above(node: int) -> Ints:
            """The ancestors of a node below the trunk."""
            return np.concatenate(
                [below[tree.end_N[below] > node], start + np.flatnonzero(tree.end_N[start:node] > node)]
            )

        chains, alone = [], np.zeros(stop - start, dtype=np.bool_)
        if chained:
            breaks = (np.diff(tree.depth_N[start:stop]) != 1) | (np.diff(own))
            edges = [0, *(np.flatnonzero(breaks) + 1), stop - start]
            for first, last in itertools.pairwise(edges):
                if last - first >= CHAIN and (not own[first] or not shared):
                    copies = groups if own[first] else 1
                    seen_by_all = above(start + first)
                    keys = np.stack([keys_at(seen_by_all, g) for g in range(copies)])
                    place = int(flat_Gn[0][first])
                    chains.append(Chain(copies, place, place + int(last - first), torch.from_numpy(keys)))
                    alone[first:last] = True
        blocks = []
        for first in range(start, stop, BLOCK):
            last = min(first + BLOCK, stop)
            queries = np.arange(first, last)[~alone[first - start : last - start]]
            if not len(queries):
                continue
            keys = np.concatenate([above(first), np.arange(first, last)])
            for mine, copies in ((False, 1), (True, groups)):
                some = queries[tree.own_N[queries] == mine]
                if not len(some):
                    continue
                seen = _sees(tree, some, keys, window)
                used = seen.any(0)
                blocks += [
                    Block(flat_Gn[g][some - start], keys_at(keys[used], g), seen[:, used]) for g in range(copies)
                ]
        return _layout(blocks, chains, common, groups if own_trunk else 1, slots, len(order))

    keep = tree.ancestors(stop) if stop < len(tree) else np.zeros(0, dtype=np.int64)
    keep = nodes if keep_all else keep[keep >= start]
    rows, slots = [], []
    for g in range(groups):
        some = keep if g == 0 else keep[tree.own_N[keep]]
        rows.append(flat_Gn[g][some - start])
        slots.append(g * depth * tree.own_N[some] + place_of(some))
    return Plan(
        torch.from_numpy(tree.tokens_N[order]),
        torch.from_numpy(tree.depth_N[order]),
        [(shared + g * each, shared + (g + 1) * each) for g in range(groups)],
        flat_Gn,
        (torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(slots))),
        len(tree) if keep_all else groups * depth,
        build,
    )


def plan_new(trees: Sequence[Tree], slots_of: Sequence[Ints] | None = None) -> Plan:
    """Read the own nodes of several trees, each by a group of its own; what is shared is in the pool already.

    Args:
        trees: One tree per group.
        slots_of: For each tree the pool's slot of each of its nodes (used for the shared ones).
    """
    sizes = [int(tree.own_N.sum()) for tree in trees]
    starts = np.cumsum([0, *sizes])
    flat_Gn = [starts[g] + np.cumsum(tree.own_N) - 1 for g, tree in enumerate(trees)]

    def build(window: int | None, chained: bool) -> Layout:
        used = np.unique(np.concatenate([slots_of[g][~t.own_N] for g, t in enumerate(trees)])) if slots_of else _NONE
        blocks = []
        for g, tree in enumerate(trees):
            for first in range(0, len(tree), BLOCK):
                last = min(first + BLOCK, len(tree))
                queries = first + np.flatnonzero(tree.own_N[first:last])
                if not len(queries):
                    continue
                keys = np.concatenate([np.flatnonzero(tree.end_N[:first] > first), np.arange(first, last)])
                seen = _sees(tree, queries, keys, window)
                needed = seen.any(0)
                chosen = keys[needed]
                at = np.where(tree.own_N[chosen], len(used) + flat_Gn[g][chosen], 0)
                if slots_of:
                    at = np.where(tree.own_N[chosen], at, np.searchsorted(used, slots_of[g][chosen]))
                blocks.append(Block(flat_Gn[g][queries], at, seen[:, needed]))
        return _layout(blocks, [], 0, 1, used, int(starts[-1]))

    return Plan(
        torch.from_numpy(np.concatenate([tree.tokens_N[tree.own_N] for tree in trees])),
        torch.from_numpy(np.concatenate([tree.depth_N[tree.own_N] for tree in trees])),
        [(int(starts[g]), int(starts[g + 1])) for g in range(len(trees))],
        flat_Gn,
        (torch.from_numpy(_NONE), torch.from_numpy(_NONE)),
        0,
        build,
    )


_NONE = np.zeros(0, dtype=np.int64)


def _sees(tree: Tree, queries: Ints, keys: Ints, window: int | None) -> Bools:
    """Which of the keys each query attends to: its ancestors and itself, as far back as the window reaches."""
    seen: Bools = (keys <= queries[:, None]) & (tree.end_N[keys] > queries[:, None])
    if window is not None:
        seen &= tree.depth_N[queries][:, None] - tree.depth_N[keys] < window
    return seen


def _layout(blocks: list[Block], chains: list[Chain], trunk: int, groups: int, past: Ints, tokens: int) -> Layout:
    """Blocks of like size share a rectangle."""
    blocks = sorted(blocks, key=lambda block: (-len(block.keys_k), -len(block.queries_q)))
    rectangles: list[Rectangle] = []
    restore = np.zeros(tokens, dtype=np.int64)
    done = 0
    while blocks:
        count, filled, height = 0, 0, 0
        for block in blocks:
            taller = max(height, len(block.queries_q))
            area = filled + block.seen_qk.size
            if count and (count + 1) * taller * len(blocks[0].keys_k) > FILL * area + 2**14:
                break
            count, filled, height = count + 1, area, taller
        some, blocks = blocks[:count], blocks[count:]
        width = len(some[0].keys_k)
        queries, keys = np.zeros((count, height), dtype=np.int64), np.zeros((count, width), dtype=np.int64)
        seen = np.zeros((count, height, width), dtype=np.bool_)
        for row, block in enumerate(some):
            q, k = block.seen_qk.shape
            queries[row, :q], keys[row, :k] = block.queries_q, block.keys_k
            seen[row, :q, :k] = block.seen_qk
            seen[row, q:, 0] = True  # padding must see something
            restore[block.queries_q] = done + row * height + np.arange(q)
        done += count * height
        mask = torch.zeros(count, 1, height, width).masked_fill_(~torch.from_numpy(seen)[:, None], float("-inf"))
        rectangles.append(Rectangle(torch.from_numpy(queries), torch.from_numpy(keys), mask))
    for chain in chains:
        length = chain.last - chain.first
        for group in range(chain.groups):
            first = group * (tokens // chain.groups) + chain.first
            restore[first : first + length] = done + np.arange(length)
            done += length
    return Layout(trunk, groups, torch.from_numpy(past), rectangles, chains, torch.from_numpy(restore))
