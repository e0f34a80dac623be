"""Which method to take, by a cross-validation: one table, and in words which and why."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from likra.scoring.accuracy import credit
from likra.scoring.budget import Automation, choose
from likra.scoring.calibration import fit
from likra.scoring.calibration_error import confidence
from likra.scoring.cross_validation import BESIDE_TITLES, CrossValidation, Setting
from likra.scoring.estimate import Estimate
from likra.scoring.folds_interval import fold_accuracy, fold_difference
from likra.scoring.likelihoods import Floats
from likra.scoring.scores import METHOD_TITLES

#: Method -> the adapters that it needs; of equally good methods the first is taken.
NEEDS: dict[str, tuple[str, ...]] = {
    "sft": ("positive",),
    "base_likra": ("negative",),
    "likra": ("positive", "negative"),
}


@dataclass(frozen=True)
class Tuning:
    """What a cross-validation says of a user's data.

    Attributes:
        found: The cross-validation.
    """

    found: CrossValidation

    @cached_property
    def rows(self) -> dict[str, Estimate]:
        """method -> accuracy, best first: of trained ones at the settings that the other folds chose."""
        own = {method: choice.accuracy for method, choice in self.found.chosen.items()}
        beside = {method: self.found.methods[method] for method in self.found.beside}
        return dict(sorted((own | beside).items(), key=lambda row: -row[1].value))

    @property
    def method(self) -> str:
        """The method of heads that is taken: the best by the folds, of equally good ones the first of `NEEDS`."""
        return self._taken[0]

    @property
    def setting(self) -> Setting:
        """What it is trained and scored with: what all records choose."""
        return self._taken[1]

    @cached_property
    def _taken(self) -> tuple[str, Setting]:
        return self.found.taken(self._heads)

    @property
    def _heads(self) -> list[str]:
        return [method for method in NEEDS if method in self.found.chosen]

    @cached_property
    def _by_fold(self) -> list[tuple[str, Setting]]:
        """What would be taken without each fold."""
        return [self.found.taken(self._heads, without=fold) for fold in range(self.found.folds)]

    @cached_property
    def honest(self) -> Estimate:
        """The accuracy of taking it: of each record by the method and setting that the other folds would take."""
        return fold_accuracy(self._credit_Q, self.found.groups, self.found.folds)

    @cached_property
    def _credit_Q(self) -> Floats:
        found_Q = np.zeros(len(self.found.fold_Q))
        for fold, (method, setting) in enumerate(self._by_fold):
            own_Q = self.found.fold_Q == fold
            found_Q[own_Q] = credit(self.found.scores(method, setting), self.found.likelihoods.answers_Q)[own_Q]
        return found_Q

    @property
    def scores_QC(self) -> Floats:
        """[Q, C] out-of-fold scores of what is taken, at the one setting that it is trained with."""
        return self.found.scores(self.method, self.setting)

    def automation(self, budget: float, method: str) -> Automation:
        """What can be automated, by confidences that no choice has seen.

        Those of a fold are of the method and setting that the other folds would take, calibrated by the other folds.

        Args:
            budget: As in `choose`.
            method: That of the calibration that is kept.
        """
        answers_Q, sure_Q = self.found.likelihoods.answers_Q, np.zeros(len(self.found.fold_Q))
        for fold, taken in enumerate(self._by_fold):
            own_Q, scores_QC = self.found.fold_Q == fold, self.found.scores(*taken)
            fitted = fit(scores_QC[~own_Q], answers_Q[~own_Q], method)
            sure_Q[own_Q] = confidence(fitted.probabilities(scores_QC[own_Q]), scores_QC[own_Q])
        return choose(sure_Q, self._credit_Q, budget, self.found.groups)

    @property
    def conclusion(self) -> list[str]:
        """In words: what is better than heads, if something is; which heads are taken, and why."""
        said = []
        best = next(iter(self.rows))
        if best not in NEEDS and self.rows[best].value > self.rows[self.method].value:
            told, clear = self._against(best, self.method)
            said.append(
                f"{title_of(best)} is better here than any heads{'' if clear else ', as far as so few tell'}: {told}."
            )
        if "base" in self.rows and self.rows["base"].value >= self.rows[self.method].value:
            said.append("No heads are better here than the untrained base.")
        others = [self._against(self.method, other) for other in self._heads if other != self.method]
        why = {
            "sft": "no gain from the negative head is seen here",
            "base_likra": "no gain from the positive head is seen here",
            "likra": "with both heads accuracy is highest",
        }[self.method]
        beaten = "".join(f"; {told}" for told, _ in others)
        said.append(f"Of the heads, {title_of(self.method)} is taken ({self.setting.words}): {why}{beaten}.")
        return said

    def _against(self, first: str, second: str) -> tuple[str, bool]:
        """How much better one method is than another, in points; and whether that is beyond chance."""
        lead = fold_difference(self._credit(first), self._credit(second), self.found.groups, self.found.folds)
        low, value, high = (100 * number for number in (lead.low, lead.value, lead.high))
        told = f"{title_of(first)} minus {title_of(second)} {value:+.1f} points ({low:+.1f} to {high:+.1f})"
        return told, lead.low > 0

    def _credit(self, method: str) -> Floats:
        if method not in self.found.chosen:
            return self.found.credits[method]
        return credit(self.found.chosen[method].scores_QC, self.found.likelihoods.answers_Q)

    def as_json(self) -> dict[str, Any]:
        return {
            "questions": len(self.found.fold_Q),
            "folds": self.found.folds,
            "methods": {method: value.as_accuracy() for method, value in self.rows.items()},
            "taken": {"method": self.method, **self.setting.as_json(), **self.honest.as_accuracy()},
            "conclusion": self.conclusion,
        }


def title_of(method: str) -> str:
    return (METHOD_TITLES | BESIDE_TITLES)[method]
