"""The prefix tree of many token sequences: what they share is one node, read once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Places = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Tree:
    """N nodes, one token each, in depth-first order: node i's descendants are the nodes i + 1 to end_N[i] - 1.

    Two tokens are one node where everything before them is the same too, and both are adapter tokens or neither is.

    Attributes:
        tokens_N: Token ids.
        depth_N: Position of each token in its sequence, from 0.
        end_N: One past the last descendant; node i is an ancestor of j (or j itself) where i <= j < end_N[i].
        adapter_N: Which are adapter tokens, which every adapter reads for itself; the others are base tokens, read
            once, by the base, for all adapters.
        paths: For each sequence the nodes that it runs through, from its first token on.
    """

    tokens_N: Ints
    depth_N: Ints
    end_N: Ints
    adapter_N: Bools
    paths: list[Places]

    @classmethod
    def of(cls, sequences: Sequence[tuple[Sequence[int], int]]) -> "Tree":
        """The tree of some sequences.

        The order of the nodes is that of the token ids: neither the order of the sequences nor one that occurs twice
        changes the tree.

        Args:
            sequences: Token ids, at least one, and the number of leading base tokens.

        Example:
            >>> tree = Tree.of([((5, 6, 8), 2), ((5, 6, 7), 2)])
            >>> tree.tokens_N.tolist(), tree.end_N.tolist(), tree.adapter_N.tolist()
            ([5, 6, 7, 8], [4, 4, 3, 4], [False, False, True, True])
        """
        # Four bytes a token, and big-endian: as many sequences as there may be stay small, and sort as their ids do.
        keys = [_coded(ids, base_tokens) for ids, base_tokens in sequences]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        pieces: list[Ints] = []
        depths: list[Ints] = []
        ends: list[tuple[Places, int]] = []
        paths: list[Places] = [np.zeros(0, dtype=np.int32)] * len(keys)
        before, path, size = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), 0
        for index in order:
            code = np.frombuffer(keys[index], dtype=">u4").astype(np.int64)
            keys[index] = b""
            common = _common(before, code)
            if common < len(code):
                ends.append((path[common:], size))
                new = np.arange(size, size + len(code) - common, dtype=np.int32)
                pieces.append(code[common:])
                depths.append(np.arange(common, len(code)))
                path = np.concatenate([path[:common], new])
                before, size = code, size + len(new)
            # A sequence that begins another one sorts before it, so here `code` is all of `before`, or runs on from it.
            paths[index] = path[: len(code)]
        code_N = np.concatenate(pieces)
        end_N = np.full(size, size)
        for nodes, end in ends:
            end_N[nodes] = end
        return cls(code_N // 2, np.concatenate(depths), end_N, code_N % 2 == 1, paths)

    def __len__(self) -> int:
        return len(self.tokens_N)

    def ancestors(self, node: int) -> Ints:
        """The nodes above one, from the root down; the one at place d has depth d."""
        if node == len(self):
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.end_N[:node] > node)


def _coded(ids: Sequence[int], base_tokens: int) -> bytes:
    code = np.array(ids, dtype=">u4") * 2
    code[base_tokens:] += 1
    return code.astype(">u4").tobytes()


def _common(one: Ints, other: Ints) -> int:
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length
