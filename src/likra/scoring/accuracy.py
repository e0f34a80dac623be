"""Accuracy with its uncertainty."""

import math

import numpy as np

from likra.errors import InputError
from likra.scoring.estimate import Z95, Estimate
from likra.scoring.likelihoods import Floats, Ints


def credit(scores_QC: Floats, answers_Q: Ints) -> Floats:
    """[Q] credit of each question: 1 if the right answer scores best, 1/k if k answers tie for best with it.

    The order of the candidates never matters. Copies of one text must count once: see `Likelihoods.once`.

    >>> credit(np.array([[-1.0, -2.0], [-3.0, -3.0]]), np.array([0, 1])).tolist()
    [1.0, 0.5]

    Raises:
        InputError: A question's answer is not known.
    """
    if (answers_Q < 0).any():
        raise InputError(f"{int((answers_Q < 0).sum())} questions have no known answer; accuracy needs one for each.")
    best_QC = scores_QC == np.nanmax(scores_QC, axis=1, keepdims=True)
    right_Q = best_QC[np.arange(len(answers_Q)), answers_Q]
    shared_Q: Floats = right_Q / best_QC.sum(axis=1)
    return shared_Q


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson score interval at 95% (Wilson 1927; Brown, Cai and DasGupta 2001, equation 4).

    Not `scipy.stats.binomtest`, which takes whole counts: shared ties make fractional ones.

    >>> [round(end, 3) for end in wilson(0.5, 20)]
    [0.299, 0.701]

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError("an interval needs at least one question")
    centre = share + Z95**2 / (2 * count)
    spread = Z95 * math.sqrt(max(0.0, share * (1 - share)) / count + Z95**2 / (4 * count**2))
    scale = 1 + Z95**2 / count
    # At 0 and 1 one end is the share itself; rounding must not move it.
    low = 0.0 if share == 0 else max(0.0, (centre - spread) / scale)
    return low, 1.0 if share == 1 else min(1.0, (centre + spread) / scale)


def clopper_pearson(share: float, count: float) -> tuple[float, float]:
    """Exact binomial interval at 95% (Clopper and Pearson 1934), for shares near 0 that must not be taken for less.

    `scipy.stats.binomtest(...).proportion_ci()` takes whole counts; its formula in beta quantiles takes all.

    >>> [round(end, 3) for end in clopper_pearson(0.0, 59)]
    [0.0, 0.061]

    Raises:
        ValueError: `count` is not above 0.
    """
    from scipy.stats import beta

    if count <= 0:
        raise ValueError("an interval needs at least one question")
    hits, misses = share * count, (1 - share) * count
    low = float(beta.ppf(0.025, hits, misses + 1)) if hits > 0 else 0.0
    return low, float(beta.ppf(0.975, hits + 1, misses)) if misses > 0 else 1.0


def accuracy(credit_Q: Floats) -> Estimate:
    """The accuracy of some questions, from their credit [Q], with its Wilson 95% interval.

    >>> found = accuracy(np.array([1.0, 0.5, 0.0, 1.0]))
    >>> found.value, found.count
    (0.625, 4)
    """
    share = float(credit_Q.mean())
    return Estimate(share, *wilson(share, len(credit_Q)), len(credit_Q))
