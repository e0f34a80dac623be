"""Intervals of means over records that were judged in the folds of a cross-validation, or by one model."""

import math
from collections.abc import Sequence

import numpy as np

from likra.scoring.accuracy import wilson
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats
from likra.scoring.paired import paired_difference


def effective_count(values_Q: Floats, groups: Sequence[str], folds: int | None) -> float:
    """How many independent records a mean over cross-validated ones is worth.

    The folds' models share training records, so their means are not independent. Nadeau and Bengio (2003, "Inference
    for the generalization error", equation 8) correct the variance of the mean of K folds from 1/K to 1/K + test/train
    of a fold's own, which is 1/K + 1/(K-1): of n records, n / (1 + K/(K-1)) count. Records of one group (a prompt that
    is asked several times) count less where they come out alike: by the ratio of the variance of a mean of clusters to
    that of a mean of records (the design effect; never below 1).

    Args:
        values_Q: [Q] credit, or a difference of credits.
        groups: The group of each.
        folds: K; None where one model judged all, so that groups alone count.

    >>> round(effective_count(np.array([1.0, 0.0, 1.0, 0.0]), ["a", "b", "c", "d"], folds=5), 3)
    1.778
    """
    count = len(values_Q)
    rest_Q = values_Q - values_Q.mean()
    square, clustered = float((rest_Q**2).sum()), 1.0
    if square > 0:
        place = {group: index for index, group in enumerate(dict.fromkeys(groups))}
        total_G = np.bincount([place[group] for group in groups], weights=rest_Q)
        clustered = max(1.0, float((total_G**2).sum()) / square)
    return count / widening(folds) ** 2 / clustered


def widening(folds: int | None) -> float:
    """By how much an interval of records judged in so many folds is wider than that of independent records."""
    return 1.0 if folds is None else math.sqrt(1 + folds / (folds - 1))


def wider(found: Estimate, folds: int | None, least: float = 0.0) -> Estimate:
    """A number between `least` and 1 of records that were judged in so many folds, from that of independent ones."""
    ends = (found.value + widening(folds) * (end - found.value) for end in (found.low, found.high))
    low, high = (min(1.0, max(least, end)) for end in ends)
    return Estimate(found.value, low, high, found.count)


def fold_accuracy(credit_Q: Floats, groups: Sequence[str], folds: int | None) -> Estimate:
    """Accuracy with Wilson's interval for so many records as count (`effective_count`)."""
    share = float(credit_Q.mean())
    low, high = wilson(share, max(1.0, effective_count(credit_Q, groups, folds)))
    return Estimate(share, low, high, len(credit_Q))


def fold_difference(first_Q: Floats, second_Q: Floats, groups: Sequence[str], folds: int | None) -> Estimate:
    """How much better the first method is than the second, as `paired_difference`, for so many records as count."""
    return paired_difference(first_Q, second_Q, max(1.0, effective_count(first_Q - second_Q, groups, folds)))
