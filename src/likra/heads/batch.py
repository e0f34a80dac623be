"""Rows of tokens as tensors: padding on the left, so that answers end together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from likra.questions.tokens import TokenPair


@dataclass
class Rows:
    """R rows of T tokens, padded on the left, and what each token is to predict.

    Attributes:
        ids_RT: Token ids.
        attention_RT: 1 on tokens, 0 on padding.
        positions_RT: Position of each token in its own row, from 0.
        labels_RK: Token to be predicted at each of the last K places, -100 where none is; K is the longest
            stretch of any row, so that vocabulary logits are needed only there.
    """

    ids_RT: torch.Tensor
    attention_RT: torch.Tensor
    positions_RT: torch.Tensor
    labels_RK: torch.Tensor

    @property
    def keep(self) -> int:
        """K, the number of last places whose logits are needed."""
        return self.labels_RK.shape[1]

    def to(self, device: torch.device) -> "Rows":
        return Rows(*(tensor.to(device) for tensor in vars(self).values()))


def rows_of(pairs: Sequence[TokenPair], *, whole_text: bool = False) -> Rows:
    """One row per pair.

    Args:
        pairs: The rows.
        whole_text: Also predict the context's tokens.
    """
    inputs = [pair.inputs for pair in pairs]
    labels = [labels_of(pair, whole_text) for pair in pairs]
    length, keep = max(map(len, inputs)), max(1, *map(len, labels))
    ids = torch.zeros(len(pairs), length, dtype=torch.long)
    attention = torch.zeros_like(ids)
    positions = torch.zeros_like(ids)
    kept = torch.full((len(pairs), keep), -100)
    for row, (tokens, label) in enumerate(zip(inputs, labels, strict=True)):
        ids[row, length - len(tokens) :] = torch.tensor(tokens)
        attention[row, length - len(tokens) :] = 1
        positions[row, length - len(tokens) :] = torch.arange(len(tokens))
        kept[row, keep - len(label) :] = torch.tensor(label)
    return Rows(ids, attention, positions, kept)


def labels_of(pair: TokenPair, whole_text: bool) -> tuple[int, ...]:
    """What is to be predicted of a pair: the last tokens of its sequence, without gaps."""
    return (pair.context[1:] if whole_text else ()) + pair.completion
