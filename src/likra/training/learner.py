"""A learner: a loss, and the adapters that minimise it on examples of its own.

Most often it is one adapter, with its own name; the adapters of a `JointLoss` are one learner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from likra.data.tokens import TokenizedExample, TokenizedQuestion
from likra.engine.batch import Batch, Predictions
from likra.training.losses import JointLoss, Loss

#: What is learned from as one thing, and is never divided between forward passes.
Item = TokenizedExample | TokenizedQuestion
#: learner -> the items that it learns from.
Items = Mapping[str, Sequence[Item]]


def examples_in(items: Sequence[Item]) -> list[TokenizedExample]:
    """The examples of some items, one after the other."""
    return [pair for item in items for pair in (item.candidates if isinstance(item, TokenizedQuestion) else (item,))]


@dataclass(frozen=True)
class Learner:
    """One loss with its adapters.

    Attributes:
        name: Its name; that of its adapter, where it has one alone.
        loss: What it minimises: a `Loss` on examples, or a `JointLoss` on questions.
    """

    name: str
    loss: Loss | JointLoss

    @property
    def adapters(self) -> tuple[str, ...]:
        return self.loss.adapters if isinstance(self.loss, JointLoss) else (self.name,)

    @property
    def whole_text(self) -> bool:
        """Whether the contexts' tokens are predicted too."""
        return False if isinstance(self.loss, JointLoss) else self.loss.whole_text

    def batches(self, items: Sequence[Item]) -> list[Batch]:
        """What each of its adapters reads."""
        examples = examples_in(items)
        return [Batch(adapter, examples, self.whole_text) for adapter in self.adapters]

    def count(self, items: Sequence[Item]) -> int:
        """What the mean is taken over: predicted tokens; questions of a `JointLoss`."""
        if isinstance(self.loss, JointLoss):
            return len(items)
        return sum(map(len, self.batches(items)[0].labels))

    def summed(self, predictions: Sequence[Predictions], items: Sequence[Item]) -> torch.Tensor:
        """The loss of some items, from what its adapters say of them; a scalar in nats."""
        if isinstance(self.loss, JointLoss):
            return self.loss(predictions, cast(Sequence[TokenizedQuestion], items))
        [only] = predictions
        return self.loss(only)
