"""Next-token scores from two adapters: one that learned right answers against one that learned wrong ones."""

import math
from dataclasses import dataclass

import torch

from likra.errors import InputError


@dataclass(frozen=True)
class Contrast:
    """How the two are combined: log p+ + a (log p+ - log p-), among the tokens that p+ finds plausible.

    The form is that of DExperts (Liu et al. 2021, arXiv 2105.03023) with the positive head in the base's place, the
    cut-off that of contrastive decoding (Li et al. 2023, arXiv 2210.15097, equation 1).

    Attributes:
        amount: a, 0 or more; 0 is the positive head alone, among the tokens that are plausible.
        plausibility: A token needs at least this share of the probability of p+'s likeliest token; 0 to 1.
    """

    amount: float = 1.0
    plausibility: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount >= 0):
            raise InputError(f"amount must be a number, 0 or more, got {self.amount}.")
        if not 0 <= self.plausibility <= 1:
            raise InputError(f"plausibility must lie from 0 to 1, got {self.plausibility}.")


def combined(positive_RV: torch.Tensor, negative_RV: torch.Tensor, contrast: Contrast) -> torch.Tensor:
    """Combined scores.

    Args:
        positive_RV, negative_RV: Logits [R, V] of p+ and p-.
        contrast: How they are combined.

    Returns:
        Scores [R, V] in nats, in float32 and not normalised; -inf where a token is not plausible.
    """
    log_positive_RV, log_negative_RV = positive_RV.float().log_softmax(-1), negative_RV.float().log_softmax(-1)
    scores_RV = log_positive_RV
    if contrast.amount:
        # A token that p- thinks impossible is not thereby certain.
        least = torch.finfo(torch.float32).min / (2 * (1 + contrast.amount))
        gap_RV = log_positive_RV - log_negative_RV.clamp(min=least)
        impossible_RV = log_positive_RV.isneginf()
        scores_RV = (log_positive_RV + contrast.amount * gap_RV).masked_fill(impossible_RV, -torch.inf)
    if contrast.plausibility == 0:
        return scores_RV
    least_R1 = log_positive_RV.max(-1, keepdim=True).values + math.log(contrast.plausibility)
    return scores_RV.masked_fill(log_positive_RV < least_R1, -torch.inf)
