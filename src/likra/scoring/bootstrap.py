"""Uncertainty over seeds and questions together, and paired tests between methods."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats

RESAMPLES = 2000
FLIPS = 20_000
_AT_ONCE = 100  # resamples that are computed together


class Resampled:
    """Means over seeds and questions, with the same means on resampled seeds and questions.

    Seeds and questions are drawn with replacement, independently of each other (the crossed, or "pigeonhole",
    bootstrap: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2)). It errs on the wide side. With
    one seed only the questions are resampled. Quantities of one data set share the draws, so that differences and
    ratios of them are paired.

    Args:
        seeds, questions: How many there are of each.
        resamples: Number of draws.
        seed: Seed of the draws.

    >>> drawn = Resampled(seeds=2, questions=4, resamples=100)
    >>> found = estimate(drawn.means(np.array([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0]])))
    >>> found.value, found.low <= 0.75 <= found.high
    (0.75, True)
    """

    def __init__(self, seeds: int, questions: int, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._seeds_RS = rng.multinomial(seeds, [1 / seeds] * seeds, size=resamples) / seeds
        self._questions_RQ = rng.multinomial(questions, [1 / questions] * questions, size=resamples)
        self._questions_RQ = self._questions_RQ.astype(np.float32)  # whole numbers, far below 2**24

    def means(self, values_SQ: Floats) -> Floats:
        """Means [1 + R] of some values [S, Q]: of all of them, then of each resample.

        Questions whose value is NaN in any seed are left out of the mean.
        """
        known_Q = ~np.isnan(values_SQ).any(axis=0)
        filled_SQ = np.where(known_Q, values_SQ, 0.0)
        means = [np.array([filled_SQ[:, known_Q].mean()])]
        for seeds_rS, weights_rQ in itertools.islice(self.weights(), 1, None):
            total_r = ((weights_rQ @ filled_SQ.T) * seeds_rS).sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                means.append(total_r / (weights_rQ @ known_Q))
        return np.concatenate(means)

    def weights(self) -> Iterator[tuple[Floats, Floats]]:
        """Weights of seeds [r, S] and questions [r, Q] in each resample, some resamples at a time; all data first."""
        yield (
            np.full((1, self._seeds_RS.shape[1]), 1 / self._seeds_RS.shape[1]),
            np.ones((1, len(self._questions_RQ[0]))),
        )
        for start in range(0, len(self._questions_RQ), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            yield self._seeds_RS[some], self._questions_RQ[some].astype(np.float64)


def estimate(values_R: Floats) -> Estimate:
    """The value on all data and its 95% percentile interval, from `Resampled.means` or arithmetic on them: [1 + R]."""
    resampled = values_R[1:]
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return Estimate(float(values_R[0]), float("nan"), float("nan"))
    # Order statistics, not interpolation: an end may be infinite.
    low, high = np.quantile(resampled, [0.025, 0.975], method="nearest")
    return Estimate(float(values_R[0]), float(low), float(high))


def over_seeds(values_S: Sequence[float]) -> Estimate:
    """The mean of one number per seed, with Student's 95% interval: mean +- t(S - 1) * s / sqrt(S).

    For numbers that are not means over questions (norms, angles). One seed gives no interval.

    >>> found = over_seeds([1.0, 2.0, 3.0])
    >>> found.value, round(found.low, 2), round(found.high, 2)
    (2.0, -0.48, 4.48)
    """
    from scipy.stats import t

    values = np.asarray(values_S, dtype=np.float64)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, float("nan"), float("nan"))
    half = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5)
    return Estimate(mean, mean - half, mean + half)


def paired_p_value(first_SQ: Floats, second_SQ: Floats, *, seed: int = 0) -> float:
    """Two-sided p-value for two methods being equally good, both scored by S seeds on the same Q questions.

    A sign-flip permutation test: per question, the difference of the credits, averaged over the seeds, is as likely to
    have either sign if the methods are equally good. (1 + flips at least as extreme) / (1 + flips), as Phipson and
    Smyth 2010 advise. Seeds are averaged over, not resampled: the test is about these adapters, and about questions
    like these. (`scipy.stats.permutation_test` does the same with other random numbers.)

    >>> paired_p_value(np.ones((1, 8)), np.zeros((1, 8))) < 0.05
    True

    Raises:
        ValueError: The two are not of the same questions.
    """
    if first_SQ.shape[1] != second_SQ.shape[1]:
        raise ValueError("both methods must have answered the same questions")
    difference_Q = first_SQ.mean(axis=0) - second_SQ.mean(axis=0)
    difference_Q = difference_Q[difference_Q != 0]
    if not len(difference_Q):
        return 1.0
    rng = np.random.default_rng(seed)
    observed = abs(difference_Q.sum())
    extreme = 0
    for _ in range(FLIPS // 1000):
        signs_FQ = rng.integers(0, 2, size=(1000, len(difference_Q)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs_FQ @ difference_Q) >= observed - 1e-12).sum())
    return (1 + extreme) / (1 + FLIPS)
