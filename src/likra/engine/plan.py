"""What one forward pass reads: a stretch of a tree, packed without padding.

A stretch of nodes in depth-first order [start, stop) needs nothing from before but the path to its first node. So a
tree of any size is read stretch by stretch, with the keys and values of one path kept: a stack indexed by depth.

A tree has base tokens, which the base reads once for all adapters, and adapter tokens, which each of A adapters reads
for itself (the plain base counts as an adapter here).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from likra.engine.layout import Block, Chain, Layout
from likra.engine.transfer import sent
from likra.engine.tree import Bools, Ints, Tree

BLOCK = 128  # nodes whose queries attend together
PREFIX = 64  # a shared prefix at least this long is attended to apart, without copying its keys
CHAIN = 192  # tokens that follow one another without a branch, from so many on, attend by a causal kernel

#: How tokens attend: in blocks under a mask; those, and long chains by a causal kernel; or all in runs, by a kernel for
#: sequences of unequal lengths.
LayoutKind = Literal["blocks", "chains", "runs"]


@dataclass
class Plan:
    """N packed tokens.

    Attributes:
        ids_N, positions_N: Tokens and their positions in their own sequences.
        spans: For each adapter its first packed adapter token and one past its last.
        places_AS: Place among the packed tokens of each node of the stretch, for each adapter.
        store: (packed token, cache slot) of what must stay readable afterwards.
        slots: Slots the cache must have.
        build: Makes the layout for a sliding window (None: no window), one way.
    """

    ids_N: torch.Tensor
    positions_N: torch.Tensor
    spans: list[tuple[int, int]]
    places_AS: list[Ints]
    store: tuple[torch.Tensor, torch.Tensor]
    slots: int
    build: Callable[[int | None, LayoutKind], Layout]
    _layouts: dict[tuple[int | None, torch.device, torch.dtype, LayoutKind], Layout] = field(default_factory=dict)
    _stores: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def layout(self, window: int | None, device: torch.device, dtype: torch.dtype, way: LayoutKind) -> Layout:
        """The layout for layers of one sliding window, on a device, with masks of a dtype."""
        if window is not None and window > int(self.positions_N.max()):
            window = None
        if way == "chains" and window is not None:
            way = "blocks"
        key = (window, device, dtype, way)
        if key not in self._layouts:
            self._layouts[key] = self.build(window, way).to(device, dtype)
        return self._layouts[key]

    def store_on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """`store` on a device."""
        if device not in self._stores:
            rows, slots = sent(device, self.store)
            self._stores[device] = rows, slots
        return self._stores[device]


class RangePlanner:
    """Plans the reading of the S nodes [start, stop) of a tree: base tokens once, adapter tokens once per adapter.

    Packed are the base tokens, then each adapter's. What was read of the path to `start` lies in the cache.

    Args:
        tree: The tree.
        start, stop: The stretch.
        adapters: How many read the adapter tokens.
        depth: Number of the cache's slots per adapter; at least the tokens of the longest sequence.
        keep_all: Keep every node in the cache, at the slot of its own number (one adapter only).

    Attributes:
        is_adapter_S: Which nodes of the stretch are adapter tokens.
        places_AS: Place among the packed tokens of each node of the stretch, for each adapter.
        path: The nodes above `start`, from the root down.
    """

    def __init__(self, tree: Tree, start: int, stop: int, adapters: int, depth: int, keep_all: bool = False) -> None:
        self.tree, self.start, self.stop = tree, start, stop
        self.adapters, self.depth, self.keep_all = adapters, depth, keep_all
        self.is_adapter_S = tree.adapter_N[start:stop]
        self.num_adapter_tokens = int(self.is_adapter_S.sum())
        self.num_base_tokens = stop - start - self.num_adapter_tokens
        self.places_AS = _numbered(self.is_adapter_S, adapters)
        self.path = tree.ancestors(start)

    def plan(self) -> Plan:
        """The plan."""
        nodes, base, each = np.arange(self.start, self.stop), self.num_base_tokens, self.num_adapter_tokens
        packed = np.concatenate([nodes[~self.is_adapter_S], *[nodes[self.is_adapter_S]] * self.adapters])
        return Plan(
            torch.from_numpy(self.tree.tokens_N[packed]),
            torch.from_numpy(self.tree.depth_N[packed]),
            [(base + a * each, base + (a + 1) * each) for a in range(self.adapters)],
            self.places_AS,
            self.stored(),
            len(self.tree) if self.keep_all else self.adapters * self.depth,
            self.layout,
        )

    def cache_slots(self, nodes: Ints, adapter: int) -> Ints:
        """Slots of the cache that hold some nodes as one adapter reads them; base tokens are in the first's."""
        place = nodes if self.keep_all else self.tree.depth_N[nodes]
        return adapter * self.depth * self.tree.adapter_N[nodes] + place

    def stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(packed token, cache slot) of what later stretches attend to: the path to the node at `stop`."""
        keep = self.tree.ancestors(self.stop)
        keep = np.arange(self.start, self.stop) if self.keep_all else keep[keep >= self.start]
        rows, slots = [], []
        for adapter in range(self.adapters):
            some = keep if adapter == 0 else keep[self.tree.adapter_N[keep]]
            rows.append(self.places_AS[adapter][some - self.start])
            slots.append(self.cache_slots(some, adapter))
        return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(slots))

    def shared_prefix(self, window: int | None) -> int:
        """How many nodes of the path, from the root on, every node of the stretch attends to without a mask.

        0 where it does not pay, and where the keys do not lie side by side in the cache. The prefix is all of base
        tokens or all of adapter tokens; the latter only where the whole stretch is of adapter tokens.
        """
        if window is not None:
            return 0
        prefix = self.path[self.tree.end_N[self.path] >= self.stop]
        kinds = self.tree.adapter_N[prefix]
        if kinds.any() and not kinds.all():
            prefix, kinds = prefix[~kinds], kinds[~kinds]
        scattered = self.keep_all and (prefix != np.arange(len(prefix))).any()
        if len(prefix) < PREFIX or scattered or (kinds.any() and self.num_base_tokens):
            return 0
        return len(prefix)

    def layout(self, window: int | None, way: LayoutKind) -> Layout:
        """Who attends to what, for layers of one sliding window."""
        prefix = self.shared_prefix(window)
        keys = _Keys(self, prefix)
        prefixes = self.adapters if prefix and self.tree.adapter_N[self.path[0]] else 1
        if way == "runs":
            return Layout.of_runs(self._runs(keys, prefix, window), keys.slots, window, prefix, prefixes)
        nowhere = np.zeros(self.stop - self.start, dtype=np.bool_)
        chains, in_chain_S = self._chains(keys) if way == "chains" else ([], nowhere)
        blocks = [
            Block(self.places_AS[adapter][queries - self.start], keys.places(seen_keys, adapter), seen)
            for queries, seen_keys, seen in _blocks(self.tree, self.start, self.stop, ~in_chain_S, keys.above, window)
            for adapter in range(self.adapters if self.tree.adapter_N[queries[0]] else 1)
        ]
        tokens = self.num_base_tokens + self.adapters * self.num_adapter_tokens
        return Layout.of(blocks, keys.slots, tokens, chains, prefix, prefixes)

    def _runs(self, keys: "_Keys", prefix: int, window: int | None) -> list[tuple[int, Ints]]:
        """Tokens of each run, in the order in which they are packed, and places of its keys."""
        found = list(_runs(self.tree, self.start, self.stop, self.path, window))
        runs: list[tuple[int, Ints]] = []
        for kind in (False, True):
            some = [(first, last, above) for first, last, above in found if self.tree.adapter_N[first] == kind]
            if not some:
                continue
            nodes = [np.concatenate([above[prefix:], np.arange(first, last)]) for first, last, above in some]
            ends = np.cumsum([len(each) for each in nodes])[:-1]
            for adapter in range(self.adapters if kind else 1):
                places = np.split(keys.places(np.concatenate(nodes), adapter), ends)
                runs += [(last - first, own) for (first, last, _), own in zip(some, places, strict=True)]
        return runs

    def _chains(self, keys: "_Keys") -> tuple[list[Chain], Bools]:
        """The long stretches without a branch, and which nodes are in one."""
        chains, in_chain_S = [], np.zeros(self.stop - self.start, dtype=np.bool_)
        depth_S, is_adapter_S = self.tree.depth_N[self.start : self.stop], self.is_adapter_S
        breaks = (np.diff(depth_S) != 1) | np.diff(is_adapter_S)
        edges = [0, *(np.flatnonzero(breaks) + 1), self.stop - self.start]
        for first, last in itertools.pairwise(edges):
            # Parts of equal size: adapter tokens only where the stretch has no base tokens.
            if last - first >= CHAIN and not (is_adapter_S[first] and self.num_base_tokens):
                copies = self.adapters if is_adapter_S[first] else 1
                above = keys.above(self.start + first)
                keys_Ak = torch.from_numpy(np.stack([keys.places(above, adapter) for adapter in range(copies)]))
                place = int(self.places_AS[0][first])
                chains.append(Chain(copies, place, place + int(last - first), keys_Ak))
                in_chain_S[first:last] = True
        return chains, in_chain_S


class _Keys:
    """The keys of a stretch as its blocks number them: the path below the shared prefix, then the packed tokens.

    Attributes:
        slots: Slots of the cache that hold the former: base tokens once, adapter tokens once per adapter.
    """

    def __init__(self, planner: RangePlanner, prefix: int) -> None:
        self._planner, self._prefix = planner, prefix
        self._path = planner.path[prefix:]
        is_adapter = planner.tree.adapter_N[self._path]
        of_adapters = [planner.cache_slots(self._path[is_adapter], a) for a in range(planner.adapters)]
        self.slots = np.concatenate([planner.cache_slots(self._path[~is_adapter], 0), *of_adapters])
        self._path_places = _numbered(is_adapter, planner.adapters)

    def places(self, nodes: Ints, adapter: int) -> Ints:
        """Places of some nodes' keys as one adapter reads them."""
        start, places = self._planner.start, np.empty_like(nodes)
        before = nodes < start
        depth = self._planner.tree.depth_N[nodes[before]]
        places[before] = self._path_places[adapter][depth - self._prefix]
        places[~before] = len(self.slots) + self._planner.places_AS[adapter][nodes[~before] - start]
        return places

    def above(self, node: int) -> Ints:
        """The ancestors of a node of the stretch below the shared prefix."""
        end_N, start = self._planner.tree.end_N, self._planner.start
        return np.concatenate([self._path[end_N[self._path] > node], start + np.flatnonzero(end_N[start:node] > node)])


def plan_new(trees: Sequence[Tree], slots_of: Sequence[Ints]) -> Plan:
    """Read the adapter tokens of several trees, each by an adapter of its own; base tokens are in the cache already.

    Args:
        trees: One tree per adapter.
        slots_of: For each tree the cache's slot of each of its nodes (used for the base tokens).
    """
    starts = np.cumsum([0, *(int(tree.adapter_N.sum()) for tree in trees)])
    places_AS = [start + np.cumsum(tree.adapter_N) - 1 for start, tree in zip(starts[:-1], trees, strict=True)]

    def build(window: int | None, way: LayoutKind) -> Layout:
        slots = [of_tree[~tree.adapter_N] for of_tree, tree in zip(slots_of, trees, strict=True)]
        cached = np.unique(np.concatenate(slots))
        blocks, runs = [], []
        for tree, places, of_tree in zip(trees, places_AS, slots_of, strict=True):
            place_N = np.where(tree.adapter_N, len(cached) + places, np.searchsorted(cached, of_tree))
            if way == "runs":
                for first, last, above in _runs(tree, 0, len(tree), np.zeros(0, dtype=np.int64), window):
                    if tree.adapter_N[first]:
                        runs.append((last - first, place_N[np.concatenate([above, np.arange(first, last)])]))
            else:
                for queries, keys, seen in _blocks(tree, 0, len(tree), tree.adapter_N, tree.ancestors, window):
                    blocks.append(Block(places[queries], place_N[keys], seen))
        if way == "runs":
            return Layout.of_runs(runs, cached, window)
        return Layout.of(blocks, cached, int(starts[-1]), [])

    nothing = torch.zeros(0, dtype=torch.long)
    return Plan(
        torch.from_numpy(np.concatenate([tree.tokens_N[tree.adapter_N] for tree in trees])),
        torch.from_numpy(np.concatenate([tree.depth_N[tree.adapter_N] for tree in trees])),
        [(int(first), int(last)) for first, last in itertools.pairwise(starts)],
        places_AS,
        (nothing, nothing),
        0,
        build,
    )


def _numbered(is_adapter_S: Bools, adapters: int) -> list[Ints]:
    """Places of S nodes for each adapter, where base tokens come first and then each adapter's tokens."""
    base, each = int((~is_adapter_S).sum()), int(is_adapter_S.sum())
    base_S, adapter_S = np.cumsum(~is_adapter_S) - 1, base + np.cumsum(is_adapter_S) - 1
    return [np.where(is_adapter_S, adapter_S + a * each, base_S) for a in range(adapters)]


def _blocks(
    tree: Tree, start: int, stop: int, wanted_S: Bools, above: Callable[[int], Ints], window: int | None
) -> Iterator[tuple[Ints, Ints, Bools]]:
    """(queries, keys, who sees what) of the wanted nodes in [start, stop), base and adapter tokens apart.

    Args:
        tree: The tree.
        start, stop: The stretch.
        wanted_S: Which nodes of it attend.
        above: Gives the ancestors of a node that are attended to.
        window: The sliding window, if there is one.
    """
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        queries = first + np.flatnonzero(wanted_S[first - start : last - start])
        if not len(queries):
            continue
        keys = np.concatenate([above(first), np.arange(first, last)])
        for kind in (False, True):
            some = queries[tree.adapter_N[queries] == kind]
            if len(some):
                seen = _sees(tree, some, keys, window)
                used = seen.any(0)
                yield some, keys[used], seen[:, used]


def _runs(tree: Tree, start: int, stop: int, path: Ints, window: int | None) -> Iterator[tuple[int, int, Ints]]:
    """(first node, one past the last, what is above) of the stretches without a branch in [start, stop).

    Args:
        tree: The tree.
        start, stop: The stretch.
        path: The nodes above `start`, from the root down.
        window: The sliding window, if there is one; what no node of a run reaches is left out.
    """
    depth_S, is_adapter_S = tree.depth_N[start:stop], tree.adapter_N[start:stop]
    to_here = np.zeros(int(depth_S.max()) + 1, dtype=np.int64)  # the node at each depth
    to_here[: len(path)] = path
    breaks = (np.diff(depth_S) != 1) | np.diff(is_adapter_S)
    for first, last in itertools.pairwise([0, *(np.flatnonzero(breaks) + 1).tolist(), stop - start]):
        depth = int(depth_S[first])
        yield start + first, start + last, to_here[0 if window is None else max(0, depth - window + 1) : depth].copy()
        to_here[depth : depth + last - first] = np.arange(start + first, start + last)


def _sees(tree: Tree, queries: Ints, keys: Ints, window: int | None) -> Bools:
    """Which of the keys each query attends to: its ancestors and itself, as far back as the window reaches."""
    seen: Bools = (keys <= queries[:, None]) & (tree.end_N[keys] > queries[:, None])
    if window is not None:
        seen &= tree.depth_N[queries][:, None] - tree.depth_N[keys] < window
    return seen
