"""Probabilities from scores: fitting a calibration and applying it."""

from dataclasses import dataclass, replace

import numpy as np

from likra.errors import InputError
from likra.scoring.likelihoods import Floats, Ints

#: Method -> how scores become probabilities; the command line shows these words.
CALIBRATIONS: dict[str, str] = {
    "temperature": "softmax of the scores over the choices, divided by one fitted temperature",
    "isotonic": "that, then isotonic regression (piecewise linear), then normalised again; wants hundreds of questions",
}

#: The scores as they are: their softmax, or of a lone candidate their logistic function. Nothing is fitted.
PLAIN = "plain"
#: The method of lone candidates: the logistic function of a score, divided by a temperature, plus a bias (Platt 1999).
PLATT = "platt"

#: Bounds of the temperature, in nats: beyond them every probability is 0 or 1, or all are alike.
_COLDEST, _HOTTEST = 1e-3, 1e4


@dataclass(frozen=True)
class Calibration:
    """Turns the scores of a question's choices into the probability of each to be the right one.

    One of the choices is taken to be right: the probabilities of a question add up to 1. With the method `PLATT` each
    candidate has the probability that it is right by itself, whatever stands beside it.

    Attributes:
        method: One of `CALIBRATIONS`, `PLAIN` or `PLATT`.
        weight, normalization, shots, style: Of the scores that it was fitted to; it says nothing about other
            ones. Shots are the few-shot examples in each prompt (how many, not which), style is that of the prompts;
            None: not known.
        scored_by: The method whose scores they were; None: the best that the adapters allow.
        temperature: In the scores' unit (nats, divided by a length where they are normalised).
        steps: Of `isotonic`: (softmax, probability), both rising; linear between them. Else empty.
        bias: Of `PLATT`: log-odds of a candidate whose score is 0.

    >>> Calibration("temperature", 1.0, "raw", temperature=2.0).probabilities(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """

    method: str
    weight: float
    normalization: str
    temperature: float
    steps: tuple[tuple[float, float], ...] = ()
    shots: int = 0
    style: str | None = None
    scored_by: str | None = None
    bias: float = 0.0

    def of(
        self, weight: float, normalization: str, shots: int = 0, style: str | None = None, scored_by: str | None = None
    ) -> bool:
        """Whether it was fitted to such scores."""
        own = (self.weight, self.normalization, self.shots, self.style, self.scored_by)
        return own == (weight, normalization, shots, style, scored_by)

    def probabilities(self, scores_QC: Floats) -> Floats:
        """[Q, C] probabilities; NaN where there is no candidate."""
        if self.method == PLATT:
            from scipy.special import expit

            logistic_QC: Floats = expit(scores_QC / self.temperature + self.bias)
            return logistic_QC
        softmax_QC = softmax(scores_QC / self.temperature)
        if not self.steps:
            return softmax_QC
        found_QC = np.interp(softmax_QC, *np.array(self.steps).T)
        found_QC = np.where(np.isnan(softmax_QC), np.nan, found_QC)
        total_Q1 = np.nansum(found_QC, axis=1, keepdims=True)
        count_Q1 = (~np.isnan(softmax_QC)).sum(axis=1, keepdims=True)
        # Where all choices of a question look wrong, each is as likely as the others.
        even_QC = np.where(np.isnan(softmax_QC), np.nan, 1 / count_Q1)
        return np.where(total_Q1 > 0, found_QC / np.where(total_Q1 > 0, total_Q1, 1), even_QC)

    @property
    def is_plain(self) -> bool:
        """Whether it takes the scores as they are."""
        return self.temperature == 1 and self.bias == 0 and not self.steps

    @property
    def even(self) -> float:
        """Of `PLATT`: the score at which a candidate is as probably right as wrong."""
        return -self.bias * self.temperature


def check_calibration(method: str, *, lone: bool = False) -> None:
    """Raise InputError unless `method` is one of `CALIBRATIONS` or `PLAIN`, for lone candidates not `isotonic`."""
    if lone and method not in ("temperature", PLAIN):
        raise InputError(f"method must be temperature (Platt scaling) or plain for unpaired data, got {method!r}.")
    if method not in (*CALIBRATIONS, PLAIN):
        raise InputError(f"method must be one of {', '.join(CALIBRATIONS)}, {PLAIN}, got {method!r}.")


def softmax(scores_QC: Floats) -> Floats:
    """[Q, C] softmax over the choices; NaN where there is no candidate.

    >>> softmax(np.array([[0.0, 0.0, np.nan]])).tolist()
    [[0.5, 0.5, nan]]
    """
    power_QC = np.exp(scores_QC - np.nanmax(scores_QC, axis=1, keepdims=True))
    share_QC: Floats = power_QC / np.nansum(power_QC, axis=1, keepdims=True)
    return share_QC


def fit(
    scores_QC: Floats,
    answers_Q: Ints,
    method: str = "temperature",
    *,
    weight: float = 1.0,
    normalization: str = "raw",
    shots: int = 0,
    style: str | None = None,
) -> Calibration:
    """Fit a calibration to questions with known answers.

    `temperature` maximises the likelihood of the right answers (Guo et al. 2017, section 4.2), with Platt's targets.
    `isotonic` adds an isotonic regression of "is right" on the softmax of every choice (Zadrozny and Elkan 2002).

    Args:
        scores_QC: [Q, C] scores; copies of one text once (`Likelihoods.once`).
        answers_Q: Index of each question's right choice.
        method: One of `CALIBRATIONS`, or `PLAIN`.
        weight, normalization, shots, style: Those of the scores; kept.

    Raises:
        InputError: The method is unknown, there is no question, or an answer is not known.
    """
    check_calibration(method)
    if not len(answers_Q) or (answers_Q < 0).any():
        raise InputError("a calibration needs questions, and the right answer to each of them.")
    target_QC = _targets(scores_QC, answers_Q)
    temperature = 1.0 if method == PLAIN else _temperature(scores_QC, target_QC)
    plain = Calibration(method, weight, normalization, temperature, shots=shots, style=style)
    if method != "isotonic":
        return plain
    from sklearn.isotonic import IsotonicRegression

    there_QC = ~np.isnan(scores_QC)
    softmax_QC = plain.probabilities(scores_QC)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(softmax_QC[there_QC], target_QC[there_QC])
    steps = tuple(zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True))
    return replace(plain, steps=steps)


def _targets(scores_QC: Floats, answers_Q: Ints) -> Floats:
    """[Q, C] probability that each choice should have; 0 where there is no choice."""
    right_QC = np.arange(scores_QC.shape[1]) == answers_Q[:, None]
    there_QC = ~np.isnan(scores_QC)
    # With targets of 1 and 0, a few questions that are all answered rightly would make every answer certain: Platt's
    # targets (1999, section 2.2) leave some probability for a wrong one.
    doubt = 1 / (len(answers_Q) + 2)
    others_Q1 = there_QC.sum(axis=1, keepdims=True) - 1
    target_QC = np.where(right_QC, np.where(others_Q1 > 0, 1 - doubt, 1.0), doubt / np.maximum(others_Q1, 1))
    return np.where(there_QC, target_QC, 0.0)


def _temperature(scores_QC: Floats, target_QC: Floats) -> float:
    """The temperature that gives the targets the highest likelihood."""
    from scipy.optimize import minimize_scalar

    def surprise(log_temperature: float) -> float:
        divided_QC = scores_QC / np.exp(log_temperature)
        high_Q = np.nanmax(divided_QC, axis=1)
        log_total_Q = high_Q + np.log(np.nansum(np.exp(divided_QC - high_Q[:, None]), axis=1))
        return float((log_total_Q - np.nansum(target_QC * divided_QC, axis=1)).mean())

    bounds = (float(np.log(_COLDEST)), float(np.log(_HOTTEST)))
    # The loss has one minimum but is not convex: a grid finds its neighbourhood first.
    grid = np.linspace(*bounds, 65)[::-1]  # of equally good temperatures the highest, which claims least
    best = int(np.argmin([surprise(place) for place in grid]))
    around = (float(grid[min(len(grid) - 1, best + 1)]), float(grid[max(0, best - 1)]))
    return float(np.exp(minimize_scalar(surprise, bounds=around, method="bounded", options={"xatol": 1e-6}).x))


def fit_lone(
    scores_N: Floats,
    right_N: Floats,
    *,
    weight: float = 1.0,
    normalization: str = "raw",
    style: str | None = None,
    scored_by: str | None = None,
) -> Calibration:
    """Fit P(right) of lone candidates, whose labels are known: Platt scaling, as `scores_N / temperature + bias`.

    A logistic regression on the score, with Platt's targets (1999, section 2.2). Where a higher score does not make a
    candidate more probably right, all have the same probability.

    Args:
        scores_N: [N] scores.
        right_N: [N] 1 for a right candidate, 0 for a wrong one.
        weight, normalization, style, scored_by: Those of the scores; kept.

    Raises:
        InputError: There are not both right and wrong ones.

    >>> found = fit_lone(np.array([2.0, 1.0, -1.0, -2.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    >>> [round(float(p), 2) for p in found.probabilities(np.array([-1.5, 0.0, 1.5]))]
    [0.27, 0.5, 0.73]
    """
    rights, wrongs = float(right_N.sum()), float((1 - right_N).sum())
    if not rights or not wrongs:
        raise InputError("a calibration of lone candidates needs right and wrong ones.")
    from sklearn.linear_model import LogisticRegression

    target_N = np.where(right_N > 0, (rights + 1) / (rights + 2), 1 / (wrongs + 2))
    centre, spread = float(scores_N.mean()), float(scores_N.std()) or 1.0
    inputs = np.tile((scores_N - centre) / spread, 2)[:, None]
    labels, shares = np.repeat([1, 0], len(scores_N)), np.concatenate([target_N, 1 - target_N])
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(inputs, labels, sample_weight=shares)
    slope = float(fitted.coef_[0, 0]) / spread
    bias = float(fitted.intercept_[0]) - slope * centre
    if slope <= 1 / _HOTTEST:
        share = float(target_N.mean())
        slope, bias = 1 / _HOTTEST, float(np.log(share / (1 - share))) - centre / _HOTTEST
    temperature = max(1 / slope, _COLDEST)
    return Calibration(PLATT, weight, normalization, temperature, style=style, scored_by=scored_by, bias=bias)
