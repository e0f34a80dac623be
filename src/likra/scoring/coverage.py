"""Answering only where an answer is sure enough: coverage, and the risk at it."""

from collections.abc import Sequence

import numpy as np

from likra.scoring.bootstrap import Resampled
from likra.scoring.likelihoods import Floats

POINTS = 200  # of a curve that is kept


def risk_coverage(confidence_Q: Floats, credit_Q: Floats) -> tuple[Floats, Floats]:
    """Coverage and risk as the least sure answers are withheld (El-Yaniv and Wiener 2010).

    Returns:
        Coverage: share of questions that are answered, rising, one value per distinct confidence; and risk: share of
        wrong answers among those. Answers that are equally sure are given or withheld together.

    >>> coverage, risk = risk_coverage(np.array([0.9, 0.6]), np.array([1.0, 0.0]))
    >>> coverage.tolist(), risk.tolist()
    ([0.5, 1.0], [0.0, 0.5])
    """
    order = np.argsort(-confidence_Q, kind="stable")
    wrong_Q = np.cumsum(1 - credit_Q[order])
    last = np.flatnonzero(np.diff(confidence_Q[order], append=-np.inf))
    coverage: Floats = (last + 1) / len(confidence_Q)
    return coverage, wrong_Q[last] / (last + 1)


def risks(confidence_SQ: Floats, credit_SQ: Floats, coverages: Sequence[float], drawn: Resampled) -> Floats:
    """Risk when at least these shares of the questions, the surest, are answered, averaged over seeds.

    Args:
        confidence_SQ, credit_SQ: [S, Q] of each seed's answers.
        coverages: K shares.
        drawn: Resamples of seeds and questions.

    Returns:
        [1 + R, K]: on all the data, then on each resample.
    """
    orders = [np.argsort(-sure_Q, kind="stable") for sure_Q in confidence_SQ]
    # Answers that are equally sure are given together: place of the last of them.
    lasts = []
    for sure_Q, order in zip(confidence_SQ, orders, strict=True):
        ends = np.flatnonzero(np.diff(sure_Q[order], append=-np.inf))
        lasts.append(ends[np.searchsorted(ends, np.arange(len(order)))])
    found = []
    for seeds_rS, questions_rQ in drawn.weights():
        risk_rK = np.zeros((len(seeds_rS), len(coverages)))
        for seed, (order, last) in enumerate(zip(orders, lasts, strict=True)):
            given_rQ = np.cumsum(questions_rQ[:, order], axis=1)
            wrong_rQ = np.cumsum(questions_rQ[:, order] * (1 - credit_SQ[seed, order]), axis=1)
            for place, coverage in enumerate(coverages):
                enough_r = (given_rQ >= coverage * given_rQ[:, -1:] - 1e-9).argmax(axis=1)
                at_r = (np.arange(len(given_rQ)), last[enough_r])
                risk_rK[:, place] += seeds_rS[:, seed] * wrong_rQ[at_r] / given_rQ[at_r]
        found.append(risk_rK)
    return np.concatenate(found)


def curve(
    confidence_Q: Floats, credit_Q: Floats, keep: Sequence[float] = (), most: int = POINTS
) -> tuple[tuple[float, float, float], ...]:
    """Points of the risk-coverage curve, from the surest answers to all of them.

    Args:
        confidence_Q: [Q] probability that each answer is right, by what has not seen it (out of fold).
        credit_Q: [Q] whether it is: 1 or 0, or a share where answers tie.
        keep: Confidences at which there must be a point.
        most: How many other points; where there are more confidences, those at equal steps of coverage.

    Returns:
        (threshold, coverage, risk): what is answered and what of it is wrong where answers that are at least as sure as
        the threshold are given.

    >>> curve(np.array([0.9, 0.6]), np.array([1.0, 0.0]))
    ((0.9, 0.5, 0.0), (0.6, 1.0, 0.5))
    """
    coverage_K, risk_K = risk_coverage(confidence_Q, credit_Q)
    threshold_K = np.unique(confidence_Q)[::-1]
    if len(threshold_K) > most:
        steps = np.searchsorted(coverage_K, np.linspace(coverage_K[0], 1, most) - 1e-9)
        kept = np.union1d(steps, np.flatnonzero(np.isin(threshold_K, keep)))
        threshold_K, coverage_K, risk_K = threshold_K[kept], coverage_K[kept], risk_K[kept]
    return tuple(zip(threshold_K.tolist(), coverage_K.tolist(), risk_K.tolist(), strict=True))
