"""How sure an answer is: calibrated probabilities, their error, and answering only when sure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from likra.errors import InputError
from likra.files import write_json
from likra.judge.accuracy import Accuracy, accuracy, credit
from likra.judge.bootstrap import Resampled
from likra.judge.scores import check_normalisation, check_weight
from likra.layout import CALIBRATION
from likra.likelihood.table import Floats, Ints

#: How scores become probabilities; the words are the command line's too.
CALIBRATIONS: dict[str, str] = {
    "temperature": "softmax of the scores over the choices, divided by one fitted temperature",
    "isotonic": "that, then a fitted rising step function, then normalised again; wants some hundred questions",
}
BINS = 15  # of the expected calibration error, as Guo et al. (2017) have it
FOLDS = 5

#: Temperatures that are looked at, in nats: beyond them every probability is 0 or 1, or all are alike.
_COLDEST, _HOTTEST = 1e-3, 1e4


@dataclass(frozen=True)
class Calibration:
    """Turns the scores of a question's choices into the probability of each to be the right one.

    One of the choices is taken to be right: the probabilities of a question add up to 1.

    Attributes:
        method: One of `CALIBRATIONS`.
        weight, normalisation, shots, style: Of the scores that it was fitted to; it says nothing about other ones.
            Shots are the solved examples in each prompt (how many, not which), style is that of the prompts; None: not
            known.
        temperature: In the scores' unit (nats, divided by a length where they are normalised).
        steps: Of `isotonic`: (softmax, probability), both rising; linear between them. Else empty.
    """

    method: str
    weight: float
    normalisation: str
    temperature: float
    steps: tuple[tuple[float, float], ...] = ()
    shots: int = 0
    style: str | None = None

    def of(self, weight: float, normalisation: str, shots: int = 0, style: str | None = None) -> bool:
        """Whether it was fitted to such scores."""
        own = (self.weight, self.normalisation, self.shots, self.style)
        return own == (weight, normalisation, shots, style)

    def probabilities(self, scores_QC: Floats) -> Floats:
        """[Q, C] probabilities; NaN where there is no candidate."""
        softmax_QC = softmax(scores_QC / self.temperature)
        if not self.steps:
            return softmax_QC
        found_QC = np.interp(softmax_QC, *np.array(self.steps).T)
        found_QC = np.where(np.isnan(softmax_QC), np.nan, found_QC)
        total_Q1 = np.nansum(found_QC, axis=1, keepdims=True)
        count_Q1 = (~np.isnan(softmax_QC)).sum(axis=1, keepdims=True)
        # A question all of whose choices look wrong: each is as likely as the others.
        even_QC = np.where(np.isnan(softmax_QC), np.nan, 1 / count_Q1)
        return np.where(total_Q1 > 0, found_QC / np.where(total_Q1 > 0, total_Q1, 1), even_QC)


@dataclass(frozen=True)
class Fitted:
    """A calibration with what is known of it; kept with the heads in `calibration.json`.

    Attributes:
        calibration: The calibration.
        data, split: What it was fitted to.
        questions: How many questions those were.
        before: Expected calibration error of the plain softmax of the scores, on those questions.
        after: The same of calibrations fitted to four fifths of the questions, each on its last fifth.
        asked: Which questions those were: a sketch (`likra.questions.overlap`).
    """

    calibration: Calibration
    data: str | None
    split: str | None
    questions: int
    before: float
    after: float
    asked: str = ""

    def save(self, folder: Path) -> None:
        """Write `calibration.json`."""
        write_json(folder / CALIBRATION, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Fitted | None":
        """What `save` wrote; None where there is none.

        Raises:
            InputError: The file is damaged.
        """
        path = folder / CALIBRATION
        if not path.exists():
            return None
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            own = fields.pop("calibration")
            steps = tuple((float(x), float(y)) for x, y in own.pop("steps"))
            calibration = Calibration(**own, steps=steps)
            check_calibration(calibration.method)
            check_weight(calibration.weight)
            check_normalisation(calibration.normalisation)
            if not 0 < calibration.temperature < float("inf") or not np.isfinite(steps).all():
                raise ValueError("numbers that are none")
            return cls(calibration, **fields)
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise InputError(f"{path}: is damaged ({error}); remove it, and calibrate again.") from None


def check_calibration(method: str) -> None:
    """Raise InputError unless `method` is one of `CALIBRATIONS`."""
    if method not in CALIBRATIONS:
        raise InputError(f"--method {method}: must be one of {', '.join(CALIBRATIONS)}.")


def softmax(scores_QC: Floats) -> Floats:
    """[Q, C] softmax over the choices; NaN where there is no candidate."""
    power_QC = np.exp(scores_QC - np.nanmax(scores_QC, axis=1, keepdims=True))
    share_QC: Floats = power_QC / np.nansum(power_QC, axis=1, keepdims=True)
    return share_QC


def fit(
    scores_QC: Floats,
    answers_Q: Ints,
    method: str = "temperature",
    *,
    weight: float = 1.0,
    normalisation: str = "raw",
    shots: int = 0,
    style: str | None = None,
) -> Calibration:
    """Fit a calibration to questions with known answers.

    `temperature` maximises the likelihood of the right answers (Guo et al. 2017, section 4.2), with Platt's targets.
    `isotonic` adds an isotonic regression of "is right" on the softmax of every choice (Zadrozny and Elkan 2002).

    Args:
        scores_QC: [Q, C] scores; copies of one text once (`Likelihoods.once`).
        answers_Q: Index of each question's right choice.
        method: One of `CALIBRATIONS`.
        weight, normalisation, shots, style: Those of the scores; kept.

    Raises:
        InputError: The method is unknown, there is no question, or an answer is not known.
    """
    check_calibration(method)
    if not len(answers_Q) or (answers_Q < 0).any():
        raise InputError("a calibration needs questions, and the right answer to each of them.")
    from scipy.optimize import minimize_scalar

    right_QC = np.arange(scores_QC.shape[1]) == answers_Q[:, None]
    there_QC = ~np.isnan(scores_QC)
    # What each choice's probability should be. Were it 1 and 0, a few questions that are all answered rightly would
    # make every answer certain: Platt's targets (1999, section 2.2) leave room for one that is not.
    doubt = 1 / (len(answers_Q) + 2)
    others_Q1 = there_QC.sum(axis=1, keepdims=True) - 1
    target_QC = np.where(right_QC, np.where(others_Q1 > 0, 1 - doubt, 1.0), doubt / np.maximum(others_Q1, 1))
    target_QC = np.where(there_QC, target_QC, 0.0)

    def surprise(log_temperature: float) -> float:
        divided_QC = scores_QC / np.exp(log_temperature)
        high_Q = np.nanmax(divided_QC, axis=1)
        log_total_Q = high_Q + np.log(np.nansum(np.exp(divided_QC - high_Q[:, None]), axis=1))
        return float((log_total_Q - np.nansum(target_QC * divided_QC, axis=1)).mean())

    bounds = (float(np.log(_COLDEST)), float(np.log(_HOTTEST)))
    # The loss falls and rises once in 1 / temperature, but not everywhere curved: a grid finds the valley first.
    grid = np.linspace(*bounds, 65)[::-1]  # of temperatures that are equally good the one that claims least
    best = int(np.argmin([surprise(place) for place in grid]))
    around = (float(grid[min(len(grid) - 1, best + 1)]), float(grid[max(0, best - 1)]))
    temperature = float(np.exp(minimize_scalar(surprise, bounds=around, method="bounded", options={"xatol": 1e-6}).x))
    plain = Calibration(method, weight, normalisation, temperature, shots=shots, style=style)
    if method == "temperature":
        return plain
    from sklearn.isotonic import IsotonicRegression

    softmax_QC = plain.probabilities(scores_QC)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(softmax_QC[there_QC], target_QC[there_QC])
    steps = tuple(zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True))
    return replace(plain, steps=steps)


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


def confidence(probabilities_QC: Floats, scores_QC: Floats) -> Floats:
    """[Q] probability that the answer that is given, the best-scored choice, is right."""
    sure_Q: Floats = np.take_along_axis(probabilities_QC, np.nanargmax(scores_QC, axis=1)[:, None], axis=1)[:, 0]
    return sure_Q


def expected_calibration_error(confidence_Q: Floats, credit_Q: Floats, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over bins of equal width (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    Args:
        confidence_Q: [Q] probability that the answer given is right.
        credit_Q: [Q] whether it is; a share where several choices tie for best.
        bins: How many bins.
    """
    place_Q = np.clip(np.ceil(confidence_Q * bins).astype(int) - 1, 0, bins - 1)
    gap_B = np.bincount(place_Q, weights=credit_Q - confidence_Q, minlength=bins)
    return float(np.abs(gap_B).sum() / len(confidence_Q))


def chance_error(confidence_Q: Floats, draws: int = 200, seed: int = 0) -> float:
    """The expected calibration error that so many answers have on average if every confidence is exactly right."""
    rng = np.random.default_rng(seed)
    right_DQ = rng.random((draws, len(confidence_Q))) < confidence_Q
    return float(np.mean([expected_calibration_error(confidence_Q, right_Q) for right_Q in right_DQ]))


def risk_coverage(confidence_Q: Floats, credit_Q: Floats) -> tuple[Floats, Floats]:
    """Coverage and risk as the least sure answers are withheld (El-Yaniv and Wiener 2010).

    Returns:
        Coverage: share of questions that are answered, rising, one value per distinct confidence; and risk: share of
        wrong answers among those. Answers that are equally sure are given or withheld together.
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


@dataclass(frozen=True)
class Sure:
    """What probabilities are worth on questions with known answers.

    Attributes:
        error: Expected calibration error of the answers given.
        plain: The same of the plain softmax of the scores.
        least: Probability below which no answer is given; None: all are given.
        answered: Accuracy on the questions that are answered; None if none is.
        questions: How many there are in all.
    """

    error: float
    plain: float
    least: float | None
    answered: Accuracy | None
    questions: int

    @property
    def coverage(self) -> float:
        """Share of the questions that are answered."""
        return self.answered.questions / self.questions if self.answered else 0.0

    def as_json(self) -> dict[str, object]:
        answered = self.answered.as_json() if self.answered else None
        found: dict[str, object] = {"expected_calibration_error": self.error, "of_plain_softmax": self.plain}
        if self.least is not None:
            found |= {"min_confidence": self.least, "coverage": self.coverage, "answered": answered}
        return found


def sure(calibration: Calibration, scores_QC: Floats, answers_Q: Ints, least: float | None = None) -> Sure:
    """Judge a calibration, and answering only where an answer is right with a probability of `least` or more."""
    credit_Q = credit(scores_QC, answers_Q)
    own_Q, plain_Q = (
        confidence(found_QC, scores_QC) for found_QC in (calibration.probabilities(scores_QC), softmax(scores_QC))
    )
    given_Q = credit_Q if least is None else credit_Q[own_Q >= least]
    return Sure(
        expected_calibration_error(own_Q, credit_Q),
        expected_calibration_error(plain_Q, credit_Q),
        least,
        accuracy(given_Q) if len(given_Q) else None,
        len(credit_Q),
    )


def calibrate(
    scores_QC: Floats,
    answers_Q: Ints,
    method: str,
    *,
    weight: float,
    normalisation: str,
    shots: int = 0,
    style: str | None = None,
    data: str | None = None,
    split: str | None = None,
    asked: str = "",
) -> Fitted:
    """Fit a calibration, and measure it on questions that it was not fitted to."""
    own = fit(scores_QC, answers_Q, method, weight=weight, normalisation=normalisation, shots=shots, style=style)
    credit_Q = credit(scores_QC, answers_Q)
    before, after = (
        expected_calibration_error(confidence(probabilities_QC, scores_QC), credit_Q)
        for probabilities_QC in (softmax(scores_QC), cross_fitted(scores_QC, answers_Q, method))
    )
    return Fitted(own, data, split, len(answers_Q), before, after, asked)
