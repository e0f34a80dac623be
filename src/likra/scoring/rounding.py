"""How far rounding moves what a table is used for: the differences of its readers within questions."""

import itertools
import math

import numpy as np

from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE, Floats, Likelihoods

#: A share of the ratio's spread above which rounding decides too many questions.
TOO_ROUGH = 0.2


def rounding(table: Likelihoods, exact: Likelihoods) -> float | None:
    """The root mean square of what is off in a log-likelihood ratio, as a share of the ratio's own spread.

    Each question's mean is taken out of both: only differences between its candidates decide anything. The ratios are
    those of the positive adapter and of the base to the negative one; without these two, those of any two readers; of
    one alone its own likelihood. The worst counts.

    Args:
        table: Likelihoods as they were rounded.
        exact: The same ones, read in a higher precision.

    Returns:
        The share; None where no question has candidates that differ.

    Example:
        >>> from likra.data.question import Question
        >>> def of(first, second):
        ...     question, zeros = Question("1", "Q", ("a", "b"), 0), np.zeros((1, 2), dtype=int)
        ...     return Likelihoods((BASE,), [question], np.array([[[first, second]]]), zeros, zeros)
        >>> rounding(of(-1.0, -3.2), of(-1.0, -3.0))
        0.1
    """
    found = []
    for ratio_QC, exact_QC in zip(_ratios(table), _ratios(exact), strict=True):
        spread = _spread(exact_QC)
        if spread > 0:
            found.append(_spread(ratio_QC - exact_QC) / spread)
    return float(f"{max(found):.3g}") if found else None


def _ratios(table: Likelihoods) -> list[Floats]:
    heads = table.heads
    if {POSITIVE, NEGATIVE} <= set(heads):
        others = [POSITIVE, *([BASE] if BASE in heads else [])]
        return [table.head(other) - table.head(NEGATIVE) for other in others]
    if len(heads) == 1:
        return [table.head(heads[0])]
    return [table.head(one) - table.head(other) for one, other in itertools.combinations(heads, 2)]


def _spread(values_QC: Floats) -> float:
    """Root mean square of values within questions; places without a candidate hold NaN."""
    mean_Q = np.nanmean(values_QC, axis=1, keepdims=True)
    return math.sqrt(float(np.nanmean((values_QC - mean_Q) ** 2)))
