"""What adapters read, and what they say where tokens are to be predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from likra.data.tokens import TokenizedExample
from likra.engine.transfer import sent


@dataclass(frozen=True)
class Batch:
    """Examples that one adapter reads.

    Attributes:
        adapter: Its name; `base` for the plain base.
        examples: The examples, at least one.
        whole_text: Whether the contexts' tokens are predicted too.

    Example:
        >>> batch = Batch("positive", [TokenizedExample((5, 6), (7,)), TokenizedExample((5,), (8, 9))])
        >>> batch.labels, batch.example_M
        ([(7,), (8, 9)], tensor([0, 1, 1]))
    """

    adapter: str
    examples: Sequence[TokenizedExample]
    whole_text: bool = False

    @cached_property
    def labels(self) -> list[tuple[int, ...]]:
        """What is to be predicted of each example: the last tokens of its sequence, without gaps; M tokens in all."""
        return [(pair.context[1:] if self.whole_text else ()) + pair.completion for pair in self.examples]

    @property
    def token_M(self) -> torch.Tensor:
        """The ids of these tokens."""
        return torch.tensor([token for label in self.labels for token in label])

    @property
    def example_M(self) -> torch.Tensor:
        """The place of the example that each is of."""
        return torch.tensor([place for place, label in enumerate(self.labels) for _ in label])


@dataclass(frozen=True)
class Predictions:
    """What an adapter says where it is to predict M tokens.

    Attributes:
        batch: What it read.
        logits_PV: Vocabulary logits at P distinct places, as the model gives them.
        row_M: The row of `logits_PV` of each token, on the same device.
    """

    batch: Batch
    logits_PV: torch.Tensor
    row_M: torch.Tensor

    @classmethod
    def of(cls, batches: Sequence[Batch], logits_PV: torch.Tensor, rows: Sequence[torch.Tensor]) -> list["Predictions"]:
        """Each batch's share of the logits of all, which come batch after batch; the rows count from 0 in each."""
        parts = logits_PV.split([int(row_M.max()) + 1 for row_M in rows])
        there = sent(logits_PV.device, rows)
        return [cls(batch, part, row_M) for batch, part, row_M in zip(batches, parts, there, strict=True)]

    @cached_property
    def logprob_M(self) -> torch.Tensor:
        """Log-probability of each token, in nats."""
        [token_M] = sent(self.row_M.device, [self.batch.token_M])
        return at_least_float(self.logits_PV).log_softmax(-1)[self.row_M, token_M]

    @property
    def logits_MV(self) -> torch.Tensor:
        """The logits at each token, at least in float32."""
        return at_least_float(self.logits_PV[self.row_M])


def at_least_float(tensor: torch.Tensor) -> torch.Tensor:
    """In float32, or what it is in if that is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
