"""How well scores tell right candidates from wrong ones where each stands alone: verification, thumbs up and down."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from likra.data.canonical import canonical
from likra.data.question import what_is_asked
from likra.data.unpaired import check_both_kinds
from likra.errors import InputError
from likra.scoring.abstention import NO_PROBABILITY
from likra.scoring.bootstrap import estimate
from likra.scoring.calibration import Calibration
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import BASE, Floats, Ints, Likelihoods
from likra.scoring.ranking import OverPrompts, best_threshold
from likra.scoring.scores import METHOD_TITLES, method_scores, normalise

PMI = "pmi"
#: Method -> its title, in the order in which they are shown.
VERIFICATION_TITLES = {"base": METHOD_TITLES["base"], PMI: "PMI", **METHOD_TITLES}


@dataclass(frozen=True)
class Verified:
    """How well one method tells right records from wrong ones.

    Attributes:
        auroc: Probability that a right record scores higher than a wrong one.
        average_precision: Mean precision over the recall of right records.
        threshold: Score from which a record is called right; None where there was nothing to choose it on.
        accuracy: Share of records that are called rightly so; None without a threshold.
        brier, ece: Mean squared error, and expected calibration error, of P(right); None without a calibration.
    """

    auroc: Estimate
    average_precision: Estimate
    threshold: float | None = None
    accuracy: Estimate | None = None
    brier: Estimate | None = None
    ece: Estimate | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON of what is known."""
        estimates = ("auroc", "average_precision", "accuracy", "brier", "ece")
        found = {name: one.as_json() for name in estimates if (one := getattr(self, name)) is not None}
        return found if self.threshold is None else {**found, "threshold": self.threshold}


@dataclass(frozen=True)
class Verification:
    """Unpaired records judged by base, PMI, SFT, Base-Likra and Likra (those that the adapters allow).

    PMI is the base's log-likelihood of a completion after its prompt, less that without it. All records count, those of
    a prompt too whose records are all right, or all wrong: scores are compared across prompts.

    Attributes:
        likelihoods: The table; its `meta["labels"]` says which records are right.
        alone: The same without the prompts.
        positive, negative: Names of the heads in them, or None.
        weight, normalization: Of the scores.
        method: The method that is calibrated and named first; default: the best that the heads allow.
        reference: Training records, on which thresholds are chosen; None where there are none.
        calibration: What turns these scores into P(right), if there is something.
    """

    likelihoods: Likelihoods
    alone: Likelihoods
    positive: str | None = "positive"
    negative: str | None = "negative"
    weight: float = 1.0
    normalization: str = "raw"
    method: str | None = None
    reference: "Verification | None" = None
    calibration: Calibration | None = None

    @cached_property
    def scores(self) -> dict[str, Floats]:
        """method -> [N] scores of the records."""
        how: dict[str, Any] = {"weight": self.weight, "normalization": self.normalization}
        own = method_scores(self.likelihoods, positive=self.positive, negative=self.negative, **how)
        gain_QC = self.likelihoods.head(BASE) - self.alone.head(BASE)
        if gain_QC.any():  # else no record has a prompt
            own[PMI] = normalise(gain_QC, self.likelihoods, self.normalization)
        return {method: own[method][:, 0] for method in VERIFICATION_TITLES if method in own}

    @property
    def right_N(self) -> Floats:
        """[N] 1 for a right record, 0 for a wrong one."""
        return np.array(self.likelihoods.meta["labels"], dtype=np.float64)

    @cached_property
    def prompts_N(self) -> Ints:
        """[N] number of each record's prompt, from 0; records without a prompt go by their completion."""
        asked = [what_is_asked(q.text) or canonical(q.choices[0]) for q in self.likelihoods.questions]
        number = {text: place for place, text in enumerate(dict.fromkeys(asked))}
        return np.array([number[text] for text in asked])

    @property
    def best(self) -> str:
        """`method`, or the last of `METHOD_TITLES` that the heads allow.

        Raises:
            InputError: The heads do not allow `method`.
        """
        if self.method is not None and self.method not in self.scores:
            raise InputError(f"method must be one of {', '.join(self.scores)} with these heads, got {self.method!r}.")
        return self.method or list(self.scores)[-1]

    @property
    def count(self) -> int:
        """Number of records."""
        return len(self.likelihoods.questions)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """method -> score from which a record is called right.

        The best of the training records; where there are none with both labels, that of P(right) = 1/2 for the method
        that is calibrated, and none for the others.
        """
        if self.reference is not None and 0 < self.reference.right_N.mean() < 1:
            right_N = self.reference.right_N
            return {method: best_threshold(scores_N, right_N) for method, scores_N in self.reference.scores.items()}
        return {} if self.calibration is None else {self.best: self.calibration.even}

    @property
    def threshold_of(self) -> str:
        """What thresholds were chosen on, in words; empty where there are none."""
        if not self.thresholds:
            return ""
        if self.reference is None or len(self.thresholds) < len(self.scores):
            return "P(right) is 1/2 by the calibration"
        return f"the accuracy on {self.reference.count} training records is best"

    @cached_property
    def probability_N(self) -> Floats | None:
        """[N] P(right) of each record; None without a calibration."""
        if self.calibration is None:
            return None
        return self.calibration.probabilities(self.scores[self.best][:, None])[:, 0]

    @cached_property
    def methods(self) -> dict[str, Verified]:
        """method -> how well it does.

        Raises:
            InputError: All records are right, or all are wrong.
        """
        right_N, drawn, found = self.right_N, self._drawn, {}
        for method, scores_N in self.scores.items():
            auroc, precision = (drawn.share(values_R) for values_R in self._rankings[method])
            threshold = self.thresholds.get(method)
            called_R = None if threshold is None else drawn.means(((scores_N >= threshold) == right_N).astype(float))
            brier = error = None
            if method == self.best and self.probability_N is not None:
                brier = drawn.share(drawn.means((self.probability_N - right_N) ** 2))
                error = drawn.calibration_error(self.probability_N, right_N)
            accuracy = None if called_R is None else drawn.share(called_R)
            found[method] = Verified(auroc, precision, threshold, accuracy, brier, error)
        return found

    @cached_property
    def _drawn(self) -> OverPrompts:
        return OverPrompts(self.prompts_N)

    @cached_property
    def _rankings(self) -> dict[str, tuple[Floats, Floats]]:
        """method -> AUROC and average precision, [1 + R] each."""
        check_both_kinds(self.likelihoods.meta["labels"])
        return {method: self._drawn.ranking(scores_N, self.right_N) for method, scores_N in self.scores.items()}

    @property
    def prompts(self) -> int:
        """Number of different prompts."""
        return self._drawn.count

    @cached_property
    def blind(self) -> dict[str, Estimate]:
        """method -> AUROC of its scores without the prompts: what is reached by the look of the completions.

        PMI has nothing left then, and is not among them.
        """
        return {
            method: self._drawn.share(self._drawn.ranking(scores_N, self.right_N)[0])
            for method, scores_N in replace(self, likelihoods=self.alone).scores.items()
        }

    def accepted(self, min_confidence: float) -> tuple[float, Estimate | None]:
        """The share of records whose P(right) is at least so high, and the share of right ones among those.

        Raises:
            InputError: There is no calibration.
        """
        if self.probability_N is None:
            raise InputError(NO_PROBABILITY)
        sure_N = (self.probability_N >= min_confidence).astype(float)
        if not sure_N.any():
            return 0.0, None
        with np.errstate(invalid="ignore", divide="ignore"):
            right_R = self._drawn.means(sure_N * self.right_N) / self._drawn.means(sure_N)
        return float(sure_N.mean()), self._drawn.share(right_R)

    def compare(self, first: str, second: str) -> Estimate:
        """By how much the first method's AUROC is higher, in the same draws of prompts."""
        return estimate(self._rankings[first][0] - self._rankings[second][0])

    def as_json(self) -> dict[str, Any]:
        """JSON of all methods."""
        return {
            "records": self.count,
            "prompts": self.prompts,
            "right": int(self.right_N.sum()),
            "weight": self.weight,
            "normalization": self.normalization,
            "precision": self.likelihoods.meta.get("precision"),
            "rounding": self.likelihoods.meta.get("rounding"),
            "threshold_of": self.threshold_of or None,
            "methods": {method: one.as_json() for method, one in self.methods.items()},
        }
