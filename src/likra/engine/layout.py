"""Who attends to what in one forward pass, as tensors: blocks of like size padded together, chains, a shared prefix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from likra.engine import kernels
from likra.engine.kernels import Lengths, padded_to
from likra.engine.transfer import sent
from likra.engine.tree import Bools, Ints

FILL = 1.3  # blocks are padded together to at most so many times their own size
GATHERED = 4  # keys that are gathered at once for the kernel of runs, for each packed token
_MULTIPLE = 16  # of which a GPU's kernels want a mask's width to be one


@dataclass
class Block:
    """Queries that attend to common keys: places in the packed tokens, and in (cached keys, packed tokens)."""

    queries_q: Ints
    keys_k: Ints
    seen_qk: Bools


@dataclass
class PaddedBlock:
    """B blocks padded to q queries and k keys.

    Attributes:
        queries_Bq, keys_Bk: Places, 0 where padded.
        mask_B1qk: Which keys each query attends to; on a device, an additive mask.
    """

    queries_Bq: torch.Tensor
    keys_Bk: torch.Tensor
    mask_B1qk: torch.Tensor


@dataclass
class Chain:
    """Packed tokens that follow one another without a branch, once for each of A adapters; they need no mask.

    Attributes:
        adapters: A; the packed tokens are cut into so many equal parts.
        first, last: The tokens within each part.
        keys_Ak: Places of the keys that all of them see besides their own, as in `Block`.
    """

    adapters: int
    first: int
    last: int
    keys_Ak: torch.Tensor


@dataclass
class Runs:
    """Packed tokens that follow one another without a branch, R times; each run attends to its path and itself.

    Of fewer queries than keys a causal kernel aligns the last ones: that is a tree's mask.

    Attributes:
        first, last: The packed tokens, run after run.
        keys_K: Places of the keys, as in `Block`, run after run: the path above each, then its own.
        lengths: Of queries and keys.
        window: The sliding window, if there is one.
    """

    first: int
    last: int
    keys_K: torch.Tensor
    lengths: Lengths
    window: int | None

    @classmethod
    def of(cls, counts_q: Ints, counts_k: Ints, keys_K: Ints, window: int | None) -> Iterator["Runs"]:
        """All packed tokens in runs of so many queries and keys; as many together as keep what is gathered small."""
        most = GATHERED * int(counts_q.sum())
        ends_q, ends_k = (np.concatenate([[0], np.cumsum(counts)]) for counts in (counts_q, counts_k))
        begin = 0
        while begin < len(counts_q):
            end = max(begin + 1, int(np.searchsorted(ends_k, ends_k[begin] + most, side="right")) - 1)
            yield cls(
                int(ends_q[begin]),
                int(ends_q[end]),
                torch.from_numpy(keys_K[ends_k[begin] : ends_k[end]]),
                lengths_of(counts_q[begin:end], counts_k[begin:end]),
                window,
            )
            begin = end


def lengths_of(counts_q: Ints, counts_k: Ints) -> Lengths:
    """Of R sequences with so many queries and keys each."""
    ends_q, ends_k = (
        torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)) for counts in (counts_q, counts_k)
    )
    return Lengths(ends_q, ends_k, int(np.max(counts_q)), int(np.max(counts_k)))


@dataclass
class Layout:
    """Who attends to what, for layers of one sliding window: blocks and chains, or runs.

    Attributes:
        prefix: Length of the shared prefix that every token attends to, in the cache's slots 0 to prefix - 1 of each
            adapter.
        prefixes: Adapters that have keys of their own of the shared prefix; 1: all tokens attend to the first's.
        cached: Slots of the cache whose keys come before those of the packed tokens in the blocks' numbering.
        blocks: The padded blocks.
        chains: Long stretches without a branch.
        restore_N: Where in the concatenated queries of blocks and chains each packed token is.
        runs: All packed tokens as runs, in their order.
        to_prefix: Lengths of what attends to the shared prefix, where there are runs.
    """

    prefix: int
    prefixes: int
    cached: torch.Tensor
    blocks: list[PaddedBlock]
    chains: list[Chain]
    restore_N: torch.Tensor
    runs: list[Runs] = field(default_factory=list)
    to_prefix: Lengths | None = None

    @classmethod
    def of_runs(
        cls,
        runs: Sequence[tuple[int, Ints]],
        cached: Ints,
        window: int | None,
        prefix: int = 0,
        prefixes: int = 1,
    ) -> "Layout":
        """The layout of all packed tokens as runs: for each, in their order, its tokens and the places of its keys."""
        counts_q, counts_k = np.array([tokens for tokens, _ in runs]), np.array([len(keys) for _, keys in runs])
        found = list(Runs.of(counts_q, counts_k, np.concatenate([keys for _, keys in runs]), window))
        far = lengths_of(np.full(prefixes, counts_q.sum() // prefixes), np.full(prefixes, prefix)) if prefix else None
        nothing = torch.zeros(0, dtype=torch.long)
        return cls(prefix, prefixes, torch.from_numpy(cached), [], [], nothing, found, far)

    @classmethod
    def of(
        cls, blocks: list[Block], cached: Ints, tokens: int, chains: list[Chain], prefix: int = 0, prefixes: int = 1
    ) -> "Layout":
        """The layout of some blocks and chains, which together have `tokens` queries."""
        restore = np.zeros(tokens, dtype=np.int64)
        padded, done = [], 0
        for some in _alike(blocks):
            block = _padded(some, done, restore)
            padded.append(block)
            done += block.queries_Bq.numel()
        for chain in chains:
            length = chain.last - chain.first
            for adapter in range(chain.adapters):
                first = adapter * (tokens // chain.adapters) + chain.first
                restore[first : first + length] = done + np.arange(length)
                done += length
        return cls(prefix, prefixes, torch.from_numpy(cached), padded, chains, torch.from_numpy(restore))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Layout":
        """On a device, with masks of a dtype."""
        blocks = self.blocks if kernels.kind_of(device) == "cpu" else [_widened(block) for block in self.blocks]
        lengths = [run.lengths for run in self.runs] + ([self.to_prefix] if self.to_prefix else [])
        there = iter(
            sent(
                device,
                [
                    self.cached,
                    self.restore_N,
                    *(x for block in blocks for x in (block.queries_Bq, block.keys_Bk, block.mask_B1qk)),
                    *(chain.keys_Ak for chain in self.chains),
                    *(run.keys_K for run in self.runs),
                    *(x for some in lengths for x in (some.ends_q, some.ends_k)),
                ],
            )
        )
        cached, restore_N = next(there), next(there)
        blocks = [PaddedBlock(next(there), next(there), _additive(next(there), dtype)) for _ in blocks]
        chains = [replace(chain, keys_Ak=next(there)) for chain in self.chains]
        keys = [next(there) for _ in self.runs]
        lengths = [replace(some, ends_q=next(there), ends_k=next(there)) for some in lengths]
        runs = [
            replace(run, keys_K=keys_K, lengths=some)
            for run, keys_K, some in zip(self.runs, keys, lengths, strict=False)
        ]
        to_prefix = lengths[-1] if self.to_prefix else None
        return Layout(self.prefix, self.prefixes, cached, blocks, chains, restore_N, runs, to_prefix)


def _widened(block: PaddedBlock) -> PaddedBlock:
    """With keys that no query attends to, so that a mask's rows begin where a GPU's kernels want them to."""
    return PaddedBlock(block.queries_Bq, padded_to(block.keys_Bk, _MULTIPLE), padded_to(block.mask_B1qk, _MULTIPLE))


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


def _alike(blocks: list[Block]) -> list[list[Block]]:
    """Blocks of like size, which are padded together."""
    blocks = sorted(blocks, key=lambda block: (-len(block.keys_k), -len(block.queries_q)))
    found = []
    while blocks:
        count, filled, height = 0, 0, 0
        for block in blocks:
            taller = max(height, len(block.queries_q))
            area = filled + block.seen_qk.size
            if count and (count + 1) * taller * len(blocks[0].keys_k) > FILL * area + 2**14:
                break
            count, filled, height = count + 1, area, taller
        found.append(blocks[:count])
        blocks = blocks[count:]
    return found


def _padded(blocks: list[Block], done: int, restore_N: Ints) -> PaddedBlock:
    """Pad some blocks together; writes into `restore_N` where their queries are, after `done` earlier ones."""
    count, width = len(blocks), len(blocks[0].keys_k)
    height = max(len(block.queries_q) for block in blocks)
    queries, keys = np.zeros((count, height), dtype=np.int64), np.zeros((count, width), dtype=np.int64)
    seen = np.zeros((count, height, width), dtype=np.bool_)
    for row, block in enumerate(blocks):
        q, k = block.seen_qk.shape
        queries[row, :q], keys[row, :k] = block.queries_q, block.keys_k
        seen[row, :q, :k] = block.seen_qk
        seen[row, q:, 0] = True  # padding must see something
        restore_N[block.queries_q] = done + row * height + np.arange(q)
    return PaddedBlock(torch.from_numpy(queries), torch.from_numpy(keys), torch.from_numpy(seen)[:, None])
