"""Prompts that the plain base reads once, for all heads, steps and seeds that learn answers to them."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from likra.reading import Pool, Tree, plan_range, read
from likra.reading.budget import TOKENS

Ints = NDArray[np.int64]


class Prompts:
    """Keys and values of prompts, read by the base without gradients; each distinct token once.

    Attributes:
        pool: The keys and values.
        slots: prompt -> the pool's slot of each of its tokens.
    """

    def __init__(self, model: PreTrainedModel, prompts: Iterable[tuple[int, ...]]) -> None:
        distinct = sorted(set(prompts))
        self.pool = Pool()
        self.slots: dict[tuple[int, ...], Ints] = {(): np.zeros(0, dtype=np.int64)}
        distinct = [prompt for prompt in distinct if prompt]
        if not distinct:
            return
        tree = Tree.of([(prompt, len(prompt)) for prompt in distinct])
        self.slots |= dict(zip(distinct, tree.paths, strict=True))
        step = TOKENS["cpu" if model.device.type == "cpu" else "cuda"]
        nothing = torch.zeros(0, dtype=torch.long)
        with torch.no_grad():
            for start in range(0, len(tree), step):
                stop = min(start + step, len(tree))
                plan = plan_range(tree, start, stop, 1, len(tree), keep_all=True)
                read(model, plan, self.pool, nothing)
