"""How accurate more training data would make: accuracy against training size, drawn on beyond the sizes tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from likra.errors import InputError
from likra.scoring.bootstrap import estimate
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats

CURVES = 200_000  # drawn before the points are looked at
_SCALE = (1.0, 1e4)  # training sizes at which a curve may bend
_RUNS = (0.01, 0.04)  # standard deviation of the accuracy over training runs
_DECLINING = 0.1  # share of curves that fall
_DRAWS = 4_000  # of the curves that agree with the points


@dataclass(frozen=True)
class Point:
    """What was measured at one training size.

    Attributes:
        size: Number of training records.
        credit_SQ: [S, Q] credit of S training runs on Q records, or [Q] of one run. Where all points have the same Q
            they are taken to be of the same records.
        count: How many independent records those are worth (`effective_count`); default: Q.
    """

    size: int
    credit_SQ: Floats
    count: float | None = None


def extrapolate(points: Sequence[Point], sizes: Sequence[int], *, chance: float = 0.0, seed: int = 0) -> list[Estimate]:
    """The accuracy to expect at other training sizes, each with its 95% interval.

    A Bayesian ensemble over families of learning curves (Domhan et al. 2015; Viering and Loog 2021, arXiv 2103.10948,
    compare such families): inverse power law, exponential, logarithm, and the Hill curve (Viering and Loog's MMF),
    which may rise in a jump. Curves are drawn from a prior (docs/statistics.md has it), within chance and 1. Those that
    agree with the points are drawn again, given the sampling error of the records and how training runs differ. So the
    interval has the sampling error, the runs, the curve's parameters, and the choice of the family.

    Args:
        points: What was measured, at two sizes or more.
        sizes: Training sizes to tell about.
        chance: Accuracy of guessing; no curve is below it.
        seed: Of the draws.

    Raises:
        InputError: There are fewer than two sizes, one is given twice or is not positive, or a point has no records.

    >>> rng = np.random.default_rng(0)
    >>> known = [Point(size, rng.random(200) < right) for size, right in ((32, 0.6), (64, 0.7), (128, 0.75))]
    >>> [found] = extrapolate(known, [512], chance=0.25)
    >>> found.low < 0.8 < found.high
    True
    """
    known = [point.size for point in points]
    if len(set(known)) < max(2, len(known)) or min(*known, *sizes) < 1:
        raise InputError(f"sizes must be two or more different positive numbers of training records, got {known}.")
    if not all(point.credit_SQ.size for point in points):
        raise InputError("there are no records at one of the sizes; give the credit of some.")
    rng = np.random.default_rng(seed)
    measured_P, covariance_PP = _measured(points)
    runs_P = np.array([len(np.atleast_2d(point.credit_SQ)) for point in points])
    curves_MN = _curves(rng, np.array([*known, *sizes], dtype=float), chance)
    apart_M = _log_uniform(rng, *_RUNS, CURVES)[:, 0]
    fit_M = np.concatenate(
        [
            _log_likelihood(curves_MN[some, : len(known)] - measured_P, covariance_PP, apart_M[some], runs_P)
            for some in np.array_split(np.arange(CURVES), 20)
        ]
    )
    weights_M = np.exp(fit_M - fit_M.max())
    drawn = rng.choice(CURVES, size=_DRAWS, p=weights_M / weights_M.sum())
    # One more training run, not the mean of all.
    new_DN = curves_MN[drawn, len(known) :] + rng.normal(size=(_DRAWS, len(sizes))) * apart_M[drawn, None]
    return [estimate(np.array([np.median(new_D), *new_D])) for new_D in new_DN.clip(0, 1).T]


def _measured(points: Sequence[Point]) -> tuple[Floats, Floats]:
    """Accuracies [P] and the covariance [P, P] of their sampling errors."""
    total_P = np.array([np.atleast_2d(point.credit_SQ).shape[1] for point in points], dtype=float)
    count_P = np.array([point.count or total for point, total in zip(points, total_P, strict=True)])
    more_PP = np.sqrt(np.outer(total_P / count_P, total_P / count_P))
    credit = [np.atleast_2d(point.credit_SQ).mean(axis=0) for point in points]
    accuracy_P = np.array([float(credit_Q.mean()) for credit_Q in credit])
    # Two more records, one right and one wrong at all sizes, as in `paired_difference`: no accuracy is certain.
    more = [np.append(credit_Q, (0.0, 1.0)) for credit_Q in credit]
    if len({len(credit_Q) for credit_Q in more}) == 1:
        return accuracy_P, more_PP * np.cov(more, bias=True) / len(more[0])
    return accuracy_P, more_PP * np.diag([float(credit_Q.var()) / len(credit_Q) for credit_Q in more])


def _log_likelihood(off_MP: Floats, covariance_PP: Floats, apart_M: Floats, runs_P: Floats) -> Floats:
    """[M] log-likelihood of points that are so far off their curves, for training runs that differ by so much."""
    values_P, vectors_PP = np.linalg.eigh(covariance_PP * np.sqrt(np.outer(runs_P, runs_P)))
    turned_MP = (off_MP * np.sqrt(runs_P)) @ vectors_PP
    variance_MP = values_P.clip(min=0) + apart_M[:, None] ** 2
    fit_M: Floats = -0.5 * (turned_MP**2 / variance_MP + np.log(variance_MP)).sum(axis=1)
    return fit_M


def _curves(rng: np.random.Generator, sizes_N: Floats, chance: float) -> Floats:
    """[M, N] accuracies at some sizes of curves from the prior."""
    rise_MN = np.concatenate([family(rng, sizes_N, int(share * CURVES)) for family, share in _FAMILIES])
    both_2M = chance + (1 - chance) * rng.random((2, len(rise_MN)))
    start_M, end_M = np.sort(both_2M, axis=0)
    from_chance = rng.random(len(rise_MN)) < 0.5
    start_M[from_chance] = chance
    falling = rng.random(len(rise_MN)) < _DECLINING
    start_M[falling], end_M[falling] = end_M[falling], start_M[falling]
    curves_MN: Floats = start_M[:, None] + (end_M - start_M)[:, None] * rise_MN
    return curves_MN


def _log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Floats:
    drawn_M1: Floats = np.exp(rng.uniform(np.log(low), np.log(high), size=(count, 1)))
    return drawn_M1


def _power(rng: np.random.Generator, sizes_N: Floats, count: int) -> Floats:
    """1 - (1 + n / s)^-k."""
    scale_M1, exponent_M1 = _log_uniform(rng, *_SCALE, count), _log_uniform(rng, 0.1, 2, count)
    rise_MN: Floats = 1 - (1 + sizes_N / scale_M1) ** -exponent_M1
    return rise_MN


def _exponential(rng: np.random.Generator, sizes_N: Floats, count: int) -> Floats:
    """1 - exp(-(n / s))."""
    rise_MN: Floats = 1 - np.exp(-sizes_N / _log_uniform(rng, *_SCALE, count))
    return rise_MN


def _logarithm(rng: np.random.Generator, sizes_N: Floats, count: int) -> Floats:
    """log(1 + n / s) / log(1 + t / s), up to its end at t."""
    scale_M1, end_M1 = _log_uniform(rng, *_SCALE, count), _log_uniform(rng, *_SCALE, count)
    rise_MN: Floats = (np.log1p(sizes_N / scale_M1) / np.log1p(end_M1 / scale_M1)).clip(max=1)
    return rise_MN


def _hill(rng: np.random.Generator, sizes_N: Floats, count: int) -> Floats:
    """1 / (1 + (s / n)^k)."""
    scale_M1, steepness_M1 = _log_uniform(rng, *_SCALE, count), _log_uniform(rng, 0.5, 16, count)
    rise_MN: Floats = 1 / (1 + (scale_M1 / sizes_N) ** steepness_M1)
    return rise_MN


#: Families with their share of the prior: half of it are curves that may jump.
_FAMILIES: tuple[tuple[Callable[[np.random.Generator, Floats, int], Floats], float], ...] = (
    (_power, 0.2),
    (_exponential, 0.15),
    (_logarithm, 0.15),
    (_hill, 0.5),
)
