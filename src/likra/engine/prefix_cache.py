"""Keys and values of shared prefixes, which the plain base reads once for all adapters, steps and seeds."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from likra.engine.attention import KVCache
from likra.engine.forward import read
from likra.engine.memory import Budget
from likra.engine.plan import RangePlanner
from likra.engine.tree import Tree

Places = NDArray[np.int32]


class PrefixCache:
    """Keys and values of prefixes, read by the base without gradients; each distinct token once.

    Attributes:
        keys: The keys and values.
        slots: prefix -> the slot in `keys` of each of its tokens.
    """

    def __init__(self, model: PreTrainedModel, prefixes: Iterable[tuple[int, ...]], memory: int | None = None) -> None:
        self.keys = KVCache()
        self.slots: dict[tuple[int, ...], Places] = {(): np.zeros(0, dtype=np.int32)}
        distinct = [prefix for prefix in sorted(set(prefixes)) if prefix]
        if not distinct:
            return
        tree = Tree.of([(prefix, len(prefix)) for prefix in distinct])
        self.slots |= dict(zip(distinct, tree.paths, strict=True))
        nothing = torch.zeros(0, dtype=torch.long)

        @torch.no_grad()
        def step(start: int, budget: Budget) -> int:
            stop = min(start + budget.tokens, len(tree))
            read(model, RangePlanner(tree, start, stop, 1, len(tree), keep_all=True).plan(), self.keys, nothing)
            return stop

        Budget.of(model, memory, 1, int(tree.depth_N.max()) + 1).steps(len(tree), step)
