"""Paired comparison of two methods on the same questions."""

import math
from dataclasses import dataclass

from likra.scoring.estimate import Z95, Estimate
from likra.scoring.likelihoods import Floats


@dataclass(frozen=True)
class Comparison:
    """McNemar's exact test.

    Attributes:
        first_only: Questions on which the first method has more credit.
        second_only: Questions on which the second has more.
        p_value: Two-sided probability of a split at least so uneven if both were equally good.
    """

    first_only: int
    second_only: int
    p_value: float


def mcnemar(first_Q: Floats, second_Q: Floats) -> Comparison:
    """Compare two methods' credit, [Q] each, by the exact binomial form of McNemar's test (McNemar 1947).

    Questions with equal credit say nothing about which is better and drop out. (`scipy.stats.binomtest` gives the same
    p-values, but for the last digit.)

    >>> import numpy as np
    >>> mcnemar(np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 0.0, 0.0]))
    Comparison(first_only=3, second_only=0, p_value=0.25)

    Raises:
        ValueError: The two are not of the same questions.
    """
    if first_Q.shape != second_Q.shape:
        raise ValueError("both methods must have answered the same questions")
    first, second = int((first_Q > second_Q).sum()), int((second_Q > first_Q).sum())
    count = first + second
    tail = sum(math.comb(count, k) for k in range(min(first, second) + 1))
    # Integers divide exactly here; 2**count as a float would overflow.
    return Comparison(first, second, min(1.0, float(2 * tail / 2**count)))


def paired_difference(first_Q: Floats, second_Q: Floats, worth: float | None = None) -> Estimate:
    """How much better the first method is than the second: the mean difference of their credit, [Q] each.

    Its 95% interval is the adjusted Wald interval for paired proportions (Bonett and Price 2012): Wald's, after one
    more question that only the first method has right, and one that only the second has right. So it has a width for
    few questions and for equal methods too, where a bootstrap has none.

    Args:
        first_Q, second_Q: The credits.
        worth: How many independent questions they are worth (`effective_count`); default: Q.

    >>> import numpy as np
    >>> found = paired_difference(np.array([1.0, 1.0, 0.0, 0.5]), np.array([0.0, 1.0, 0.0, 0.0]))
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (0.375, -0.304, 0.804)

    Raises:
        ValueError: The two are not of the same questions.
    """
    if first_Q.shape != second_Q.shape:
        raise ValueError("both methods must have answered the same questions")
    difference_Q = first_Q - second_Q
    share = 1.0 if worth is None else worth / len(difference_Q)
    count = share * len(difference_Q) + 2
    centre = share * float(difference_Q.sum()) / count
    square = (share * float((difference_Q**2).sum()) + 2) / count
    half = Z95 * math.sqrt((square - centre**2) / count)
    return Estimate(float(difference_Q.mean()), max(-1.0, centre - half), min(1.0, centre + half), len(difference_Q))
