"""Who attends to what in one forward pass, as tensors: blocks of like size padded together, chains, a shared prefix."""

from dataclasses import dataclass

import numpy as np
import torch

from likra.engine.tree import Bools, Ints

FILL = 1.3  # blocks are padded together to at most so many times their own size


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
        mask_B1qk: Additive mask.
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
class Layout:
    """Who attends to what, for layers of one sliding window.

    Attributes:
        prefix: Length of the shared prefix that every token attends to, in the cache's slots 0 to prefix - 1 of each
            adapter.
        prefixes: Adapters that have keys of their own of the shared prefix; 1: all tokens attend to the first's.
        cached: Slots of the cache whose keys come before those of the packed tokens in the blocks' numbering.
        blocks: The padded blocks.
        chains: Long stretches without a branch.
        restore_N: Where in the concatenated queries of blocks and chains each packed token is.
    """

    prefix: int
    prefixes: int
    cached: torch.Tensor
    blocks: list[PaddedBlock]
    chains: list[Chain]
    restore_N: torch.Tensor

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
        return Layout(
            self.prefix,
            self.prefixes,
            self.cached.to(device),
            [
                PaddedBlock(b.queries_Bq.to(device), b.keys_Bk.to(device), b.mask_B1qk.to(device, dtype))
                for b in self.blocks
            ],
            [Chain(c.adapters, c.first, c.last, c.keys_Ak.to(device)) for c in self.chains],
            self.restore_N.to(device),
        )


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
    mask = torch.zeros(count, 1, height, width).masked_fill_(~torch.from_numpy(seen)[:, None], float("-inf"))
    return PaddedBlock(torch.from_numpy(queries), torch.from_numpy(keys), mask)
