"""How a base and its adapters read: packed as a tree, or padded. Scoring and training both call this protocol."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from likra.data.tokens import TokenizedExample
from likra.engine.batch import Batch, Predictions
from likra.engine.memory import Budget
from likra.engine.packed import PackedReader
from likra.engine.padded import PaddedReader
from likra.engine.precision import FLOAT32, Way
from likra.engine.probe import can_share
from likra.models.base import Base
from likra.models.stack import HeadStack


class Reader(Protocol):
    """A base, and the adapters on it, as they read texts."""

    def predictions(self, batches: Sequence[Batch]) -> AbstractContextManager[list[Predictions]]:
        """One forward pass: what each adapter says of its batch. Within the block gradients can be computed."""

    def loglikelihoods(
        self,
        pairs: Sequence[TokenizedExample],
        adapters: Sequence[str],
        budget: Budget,
        progress: Callable[[int], None] = lambda done: None,
    ) -> NDArray[np.float64]:
        """Summed log-likelihoods [adapters, pairs] in nats, in as many forward passes as it takes; no gradients.

        Args:
            pairs: What is read, by all alike.
            adapters: Who reads: names of adapters, and `base` for the plain base.
            budget: What one forward pass may take; half of it once memory runs out.
            progress: Called after each forward pass with the number of pairs that are done.
        """

    def num_own_tokens(self, pair: TokenizedExample) -> int:
        """Tokens of a pair that an adapter reads for itself, at most; the base reads the others for all adapters."""

    def keep_prefixes(self, pairs: Sequence[TokenizedExample], tokens: int) -> int:
        """Read once, for all later `predictions`, what the base reads of some pairs, if it is `tokens` or fewer.

        Returns the number of tokens that are kept.
        """


def reader_of(
    base: Base,
    stack: HeadStack | None,
    longest: int,
    *,
    bf16: bool = False,
    memory: int | None = None,
    way: Way = FLOAT32,
) -> Reader:
    """The packed reader where the base can be read so, which a trial tells, else the padded one.

    Args:
        base: The base.
        stack: Its adapters, or None where only the base reads.
        longest: Tokens of the longest text.
        bf16: Whether `predictions` computes in bfloat16 (autocast).
        memory: Bytes that reading shared prefixes may take beside the model; None: a share of what is free.
        way: How `loglikelihoods` computes.
    """
    if can_share(base.model, longest):
        return PackedReader(base, stack, bf16=bf16, memory=memory, way=way)
    return PaddedReader(base, stack, bf16=bf16, way=way)
