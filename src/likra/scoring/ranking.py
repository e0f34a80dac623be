"""How well scores tell right records from wrong ones, on some data and on resamples of it."""

from collections.abc import Iterator

import numpy as np

from likra.scoring.accuracy import wilson
from likra.scoring.bootstrap import Resampled, estimate
from likra.scoring.calibration_error import BINS
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats, Ints


def ranking(scores_N: Floats, right_N: Floats, weights_rN: Floats) -> tuple[Floats, Floats]:
    """AUROC and average precision of N records, each counted as often as its weight says, for r sets of weights.

    AUROC is the probability that a right record has a higher score than a wrong one, ties counted half (Hanley and
    McNeil 1982). Average precision is sum over thresholds of (recall gained) * (precision), as scikit-learn's
    `average_precision_score` has it; both are scikit-learn's numbers, for many resamples at once.

    Returns:
        [r] each; NaN where one of the two kinds has no weight.

    >>> values = ranking(np.array([2.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0]), np.ones((1, 3)))
    >>> [float(value[0].round(3)) for value in values]
    [0.5, 0.833]
    """
    order = np.argsort(-scores_N, kind="stable")
    ends = np.flatnonzero(np.diff(scores_N[order], append=np.nan))  # of each run of equal scores
    ordered_rN = weights_rN[:, order]
    right_rE = np.cumsum(ordered_rN * right_N[order], axis=1)[:, ends]
    wrong_rE = np.cumsum(ordered_rN * (1 - right_N[order]), axis=1)[:, ends]
    more_right_rE, more_wrong_rE = (np.diff(found, axis=1, prepend=0.0) for found in (right_rE, wrong_rE))
    below_rE = right_rE - more_right_rE / 2  # trapezoids
    precision_rE = right_rE / np.maximum(right_rE + wrong_rE, 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        area_r: Floats = (more_wrong_rE * below_rE).sum(axis=1) / (right_rE[:, -1] * wrong_rE[:, -1])
        precision_r: Floats = (more_right_rE * precision_rE).sum(axis=1) / right_rE[:, -1]
    return area_r, np.where(np.isnan(area_r), np.nan, precision_r)


def best_threshold(scores_N: Floats, right_N: Floats) -> float:
    """The score at or above which a record is called right with the fewest errors.

    It lies midway between two neighbouring scores, or beyond all; of equally good ones the middle one is taken.

    >>> best_threshold(np.array([3.0, 2.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    1.5
    """
    values, inverse = np.unique(scores_N, return_inverse=True)
    right_V, all_V = np.bincount(inverse, weights=right_N), np.bincount(inverse)
    # Below place k: the first k values, called wrong.
    wrong_below = np.concatenate([[0.0], np.cumsum(all_V - right_V)])
    right_above = right_N.sum() - np.concatenate([[0.0], np.cumsum(right_V)])
    good = np.flatnonzero(np.isclose(wrong_below + right_above, (wrong_below + right_above).max()))
    place = int(good[len(good) // 2])
    padded = np.concatenate([[values[0] - 1], values, [values[-1] + 1]])
    return float((padded[place] + padded[place + 1]) / 2)


def calibration_errors(probability_N: Floats, right_N: Floats, weights_rN: Floats) -> Floats:
    """[r] expected calibration error of P(right), as `expected_calibration_error` has it, for r sets of weights."""
    place_N = np.clip(np.ceil(probability_N * BINS).astype(int) - 1, 0, BINS - 1)
    gap_NB = np.eye(BINS)[place_N] * (right_N - probability_N)[:, None]
    errors_r: Floats = np.abs(weights_rN @ gap_NB).sum(axis=1) / weights_rN.sum(axis=1)
    return errors_r


class OverPrompts:
    """Numbers of some records with their 95% intervals, for which whole prompts are drawn with replacement.

    Args:
        prompts_N: The number of each record's prompt, from 0.
    """

    def __init__(self, prompts_N: Ints) -> None:
        self.count = int(prompts_N.max()) + 1
        self._prompts_N, self._drawn = prompts_N, Resampled(seeds=1, questions=self.count)

    def _weights(self) -> Iterator[Floats]:
        """Weights [r, N] of the records, some draws at a time; all records first."""
        return (weights_rG[:, self._prompts_N] for _, weights_rG in self._drawn.weights())

    def ranking(self, scores_N: Floats, right_N: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision, [1 + R] each: of all records, then of each draw."""
        areas, precisions = zip(*(ranking(scores_N, right_N, some) for some in self._weights()), strict=True)
        return np.concatenate(areas), np.concatenate(precisions)

    def means(self, values_N: Floats) -> Floats:
        """[1 + R] means."""
        return np.concatenate([some @ values_N / some.sum(axis=1) for some in self._weights()])

    def share(self, values_R: Floats) -> Estimate:
        """A number between 0 and 1 with its interval.

        Where all draws agree (every record is ranked rightly, say), a bootstrap's interval would have no width. There
        it is Wilson's, as if each prompt had been one trial.
        """
        found = estimate(values_R)
        if found.low < found.high:
            return found
        return Estimate(found.value, *wilson(found.value, self.count))

    def calibration_error(self, probability_N: Floats, right_N: Floats) -> Estimate:
        """The expected calibration error.

        A resample has more of it than the data by chance alone; the interval is that of the draws, less what they have
        more on average.
        """
        values_R = np.concatenate([calibration_errors(probability_N, right_N, some) for some in self._weights()])
        found = estimate(values_R)
        more = float(values_R[1:].mean()) - found.value
        return Estimate(found.value, max(0.0, found.low - more), max(0.0, found.high - more))
