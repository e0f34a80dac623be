"""Prompts that the plain base reads once, for all heads, steps and seeds that learn answers to them."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from likra.reading import Pool, Tree, plan_range, read
from likra.reading.budget import Budget

Places = NDArray[np.int32]


class Prompts:
    """Keys and values of prompts, read by the base without gradients; each distinct token once.

    Attributes:
        pool: The keys and values.
        slots: prompt -> the pool's slot of each of its tokens.
    """

    def __init__(self, model: PreTrainedModel, prompts: Iterable[tuple[int, ...]], memory: int | None = None) -> None:
        distinct = sorted(set(prompts))
        self.pool = Pool()
        self.slots: dict[tuple[int, ...], Places] = {(): np.zeros(0, dtype=np.int32)}
        distinct = [prompt for prompt in distinct if prompt]
        if not distinct:
            return
        tree = Tree.of([(prompt, len(prompt)) for prompt in distinct])
        self.slots |= dict(zip(distinct, tree.paths, strict=True))
        nothing = torch.zeros(0, dtype=torch.long)

        @torch.no_grad()
        def step(start: int, budget: Budget) -> int:
            stop = min(start + budget.tokens, len(tree))
            read(model, plan_range(tree, start, stop, 1, len(tree), keep_all=True), self.pool, nothing)
            return stop

        Budget.of(model, memory, 1, int(tree.depth_N.max()) + 1).steps(len(tree), step)
