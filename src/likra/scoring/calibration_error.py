"""How far stated probabilities are from the truth."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from likra.data.overlap import sketch
from likra.errors import InputError
from likra.scoring.accuracy import credit
from likra.scoring.budget import Automation, choose
from likra.scoring.calibration import PLAIN, Calibration, fit, softmax
from likra.scoring.coverage import curve
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Floats, Ints

BINS = 15  # of the expected calibration error, as Guo et al. (2017) have it
FOLDS = 5


def confidence(probabilities_QC: Floats, scores_QC: Floats) -> Floats:
    """[Q] probability that the answer given, the choice with the best score, is right.

    >>> confidence(np.array([[0.2, 0.8]]), np.array([[1.0, 3.0]])).tolist()
    [0.8]
    """
    sure_Q: Floats = np.take_along_axis(probabilities_QC, np.nanargmax(scores_QC, axis=1)[:, None], axis=1)[:, 0]
    return sure_Q


def expected_calibration_error(confidence_Q: Floats, credit_Q: Floats, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over bins of equal width (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    Args:
        confidence_Q: [Q] probability that the answer given is right.
        credit_Q: [Q] whether it is; a share where several choices tie for best.
        bins: How many bins.

    >>> expected_calibration_error(np.array([0.75, 0.75]), np.array([1.0, 0.0]), bins=2)
    0.25
    """
    place_Q = np.clip(np.ceil(confidence_Q * bins).astype(int) - 1, 0, bins - 1)
    gap_B = np.bincount(place_Q, weights=credit_Q - confidence_Q, minlength=bins)
    return float(np.abs(gap_B).sum() / len(confidence_Q))


def chance_error(confidence_Q: Floats, draws: int = 200, seed: int = 0) -> float:
    """The expected calibration error of so many answers on average, by chance, if every confidence is exactly right."""
    rng = np.random.default_rng(seed)
    right_DQ = rng.random((draws, len(confidence_Q))) < confidence_Q
    return float(np.mean([expected_calibration_error(confidence_Q, right_Q) for right_Q in right_DQ]))


def cross_fitted(scores_QC: Floats, answers_Q: Ints, method: str, seed: int = 0) -> Floats:
    """[Q, C] probabilities, each question's from a calibration that was fitted to four fifths of the others.

    Raises:
        InputError: There are fewer questions than folds.
    """
    if len(answers_Q) < FOLDS:
        raise InputError(f"{len(answers_Q)} questions are too few to calibrate on; give at least {FOLDS}.")
    found_QC = np.full(scores_QC.shape, np.nan)
    for part in np.array_split(np.random.default_rng(seed).permutation(len(answers_Q)), FOLDS):
        rest = np.setdiff1d(np.arange(len(answers_Q)), part)
        found_QC[part] = fit(scores_QC[rest], answers_Q[rest], method).probabilities(scores_QC[part])
    return found_QC


@dataclass(frozen=True)
class CalibrationRecord:
    """A calibration with the questions that it was fitted to and its error; kept beside the adapters.

    Attributes:
        calibration: The calibration.
        data, split: What it was fitted to.
        questions: How many questions those were.
        before: Expected calibration error of the plain softmax of the scores, on those questions. Of lone candidates
            (`likra.scoring.calibration.PLATT`), which `questions` then counts: of the plain logistic function.
        after: The same of calibrations fitted to four fifths of the questions (of the prompts), each on its last fifth.
        briers: Brier scores, the mean squared distance of probabilities and truth: before, after, and where the scores
            are not looked at (all choices of a question equally probable, or each lone candidate as probable as the
            share of right ones). None in files of before they were kept.
        asked: Which questions they were, as a sketch (`likra.data.overlap`).
        automation: What can be automated at an error budget, by the confidences that `after` is of; None: not asked.
        risk_coverage: (threshold, coverage, risk) by those confidences, the surest first, at most about 200 of them
            (`likra.scoring.coverage.curve`). Empty of lone candidates, and in files of before it was kept.
        read: How their likelihoods were read (`Likelihoods.rounding`); not kept.
    """

    calibration: Calibration
    data: str | None
    split: str | None
    questions: int
    before: float
    after: float
    asked: str = ""
    automation: Automation | None = None
    read: str = field(default="", compare=False)
    briers: tuple[float, float, float] | None = None
    risk_coverage: tuple[tuple[float, float, float], ...] = ()

    @property
    def helps(self) -> bool:
        """Whether probabilities are better with it than without, on records that it was not fitted to.

        Their Brier score must be lower than that of the scores as they are (unless they are taken so: `PLAIN`), and
        than where no score is looked at. (The expected calibration error would not do: of probabilities that all lie
        near the share of right answers it is 0, and they say nothing.)
        """
        if self.calibration.is_plain:
            return not self.says_nothing
        before, after = self.briers[:2] if self.briers else (self.before, self.after)
        return after < before and not self.says_nothing

    @property
    def says_nothing(self) -> bool:
        """Whether the scores say nothing about what is right: no look at them would do as well."""
        return self.briers is not None and self.briers[1] >= self.briers[2]


def calibrate(
    scores_QC: Floats,
    answers_Q: Ints,
    method: str,
    *,
    weight: float,
    normalization: str,
    shots: int = 0,
    style: str | None = None,
    data: str | None = None,
    split: str | None = None,
    asked: str = "",
    error_budget: float | None = None,
    groups: Sequence[Hashable] | None = None,
) -> CalibrationRecord:
    """Fit a calibration, and measure it, and what can be automated, on questions that it was not fitted to.

    What is automated goes by probabilities: where there is an error budget, and the fitted ones are no better than the
    scores as they are, those are taken (`PLAIN`).
    """
    own = fit(scores_QC, answers_Q, method, weight=weight, normalization=normalization, shots=shots, style=style)
    credit_Q = credit(scores_QC, answers_Q)
    plain_QC, fitted_QC = softmax(scores_QC), cross_fitted(scores_QC, answers_Q, method)
    plain_Q, sure_Q = (confidence(probabilities_QC, scores_QC) for probabilities_QC in (plain_QC, fitted_QC))
    before, after = (expected_calibration_error(one_Q, credit_Q) for one_Q in (plain_Q, sure_Q))
    automation = None if error_budget is None else choose(sure_Q, credit_Q, error_budget, groups)
    briers = brier(plain_QC, answers_Q), brier(fitted_QC, answers_Q), brier(softmax(scores_QC * 0), answers_Q)
    found = (automation.average, automation.sure) if automation else ()
    points = curve(sure_Q, credit_Q, keep=[one.threshold for one in found if one])
    record = CalibrationRecord(
        own, data, split, len(answers_Q), before, after, asked, automation, briers=briers, risk_coverage=points
    )
    if error_budget is None or method == PLAIN or record.helps:
        return record
    scored: dict[str, Any] = {"weight": weight, "normalization": normalization, "shots": shots, "style": style}
    about: dict[str, Any] = {"data": data, "split": split, "asked": asked}
    return calibrate(scores_QC, answers_Q, PLAIN, **scored, **about, error_budget=error_budget, groups=groups)


def brier(probabilities_QC: Floats, answers_Q: Ints) -> float:
    """Mean over questions of the squared distance of probabilities from the truth (Brier 1950), summed over choices.

    >>> brier(np.array([[0.5, 0.5]]), np.array([0]))
    0.5
    """
    right_QC = np.arange(probabilities_QC.shape[1]) == answers_Q[:, None]
    return float(np.nansum((probabilities_QC - right_QC) ** 2, axis=1).mean())


def calibrate_on(
    found: Evaluation,
    method: str,
    *,
    data: str | None = None,
    split: str | None = None,
    error_budget: float | None = None,
) -> CalibrationRecord:
    """`calibrate` on an evaluation's best method.

    Args:
        found: On questions that the adapters were not trained on.
        method: One of `CALIBRATIONS`.
        data, split: What the questions are called; kept.
        error_budget: Also choose what can be automated at this budget (`likra.scoring.budget.choose`).
    """
    table = found.likelihoods
    record = calibrate(
        found.scores[found.best],
        table.answers_Q,
        method,
        weight=found.weight,
        normalization=found.normalization,
        shots=table.meta.get("shots", 0),
        style=table.meta.get("style"),
        data=data,
        split=split,
        asked=sketch(table.questions),
        error_budget=error_budget,
        groups=[question.asked for question in table.questions],
    )
    usual = found.best == list(found.scores)[-1]
    fitted = replace(record.calibration, scored_by=None if usual else found.best)
    return replace(record, calibration=fitted, read=table.rounding)
