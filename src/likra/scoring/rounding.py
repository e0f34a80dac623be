"""How far rounding moves what a table is used for: the differences of its readers within questions."""

import itertools
import math

import numpy as np

from likra.scoring.likelihoods import BASE, Floats, Likelihoods

#: A share of the ratio's spread above which rounding decides too many questions.
TOO_ROUGH = 0.2


def rounding(table: Likelihoods, exact: Likelihoods) -> float | None:
    """The root mean square of what is off in a log-likelihood ratio, as a share of the ratio's own spread.

    Each question's mean is taken out of both: only differences between its candidates decide anything. The ratios are
    those of every two adapters, or of the one adapter to the base, or the base's own likelihood where it is alone; the
    worst counts.

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
    values = [table.head(name) for name in table.heads if name != BASE]
    if len(values) < 2 and BASE in table.heads:
        values.append(table.head(BASE))
    return values if len(values) == 1 else [one - other for one, other in itertools.combinations(values, 2)]


def _spread(values_QC: Floats) -> float:
    """Root mean square of values within questions; places without a candidate hold NaN."""
    mean_Q = np.nanmean(values_QC, axis=1, keepdims=True)
    return math.sqrt(float(np.nanmean((values_QC - mean_Q) ** 2)))
