"""Answering only where an answer is sure enough: coverage, and the risk at it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from likra.errors import InputError
from likra.scoring.accuracy import accuracy, credit
from likra.scoring.bootstrap import Resampled
from likra.scoring.calibration import Calibration, softmax
from likra.scoring.calibration_error import confidence, expected_calibration_error
from likra.scoring.estimate import Estimate
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Floats, Ints


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


NO_PROBABILITY = (
    "a min-confidence needs a probability; calibrate the heads (`likra calibrate`) at this weight, normalization, "
    "number of shots and prompt template; on unpaired data for a lone candidate, which has none to be compared with."
)


@dataclass(frozen=True)
class AbstentionReport:
    """How well probabilities, and withholding the least sure answers, do on questions with known answers.

    Attributes:
        error: Expected calibration error of the answers given.
        plain: The same of the plain softmax of the scores.
        threshold: Probability below which no answer is given; None: all are given.
        answered: Accuracy on the questions that are answered; None if none is.
        questions: How many there are in all.
    """

    error: float
    plain: float
    threshold: float | None
    answered: Estimate | None
    questions: int

    @property
    def coverage(self) -> float:
        """Share of the questions that are answered."""
        return (self.answered.count or 0) / self.questions if self.answered else 0.0

    def as_json(self) -> dict[str, object]:
        answered = self.answered.as_accuracy() if self.answered else None
        found: dict[str, object] = {"expected_calibration_error": self.error, "of_plain_softmax": self.plain}
        if self.threshold is not None:
            found |= {"min_confidence": self.threshold, "coverage": self.coverage, "answered": answered}
        return found


def abstention(
    calibration: Calibration, scores_QC: Floats, answers_Q: Ints, threshold: float | None = None
) -> AbstentionReport:
    """Evaluate a calibration, and answering only where an answer is right with a probability of `threshold` or more."""
    credit_Q = credit(scores_QC, answers_Q)
    own_Q, plain_Q = (
        confidence(found_QC, scores_QC) for found_QC in (calibration.probabilities(scores_QC), softmax(scores_QC))
    )
    given_Q = credit_Q if threshold is None else credit_Q[own_Q >= threshold]
    return AbstentionReport(
        expected_calibration_error(own_Q, credit_Q),
        expected_calibration_error(plain_Q, credit_Q),
        threshold,
        accuracy(given_Q) if len(given_Q) else None,
        len(credit_Q),
    )


def abstention_on(
    found: Evaluation, calibration: Calibration | None, threshold: float | None = None
) -> AbstentionReport | None:
    """`abstention` on an evaluation's best method; None without a calibration.

    Raises:
        InputError: A threshold is given, and there is no calibration to go by.
    """
    if calibration is None:
        if threshold is not None:
            raise InputError(NO_PROBABILITY)
        return None
    return abstention(calibration, found.scores[found.best], found.likelihoods.answers_Q, threshold)
