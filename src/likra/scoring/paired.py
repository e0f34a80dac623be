"""Paired comparison of two methods on the same questions."""

import math
from dataclasses import dataclass

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
