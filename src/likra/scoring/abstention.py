"""Answering only where an answer is sure enough, and how well that does."""

from dataclasses import dataclass

from likra.errors import InputError
from likra.scoring.accuracy import accuracy, credit
from likra.scoring.calibration import Calibration, softmax
from likra.scoring.calibration_error import confidence, expected_calibration_error
from likra.scoring.estimate import Estimate
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Floats, Ints

NO_PROBABILITY = (
    "a min-confidence needs a probability; calibrate the heads (`likra calibrate`) at this weight, normalization, "
    "number of shots and prompt template; on unpaired data for a lone candidate, which has none to be compared with. "
    "Heads that learned the labels of a table have one for a choice between all of these."
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
