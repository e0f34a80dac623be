"""Which method to take, by a cross-validation: one table, and in words which and why."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from likra.scoring.accuracy import credit
from likra.scoring.cross_validation import BESIDE_TITLES, Choice, CrossValidation
from likra.scoring.estimate import Estimate
from likra.scoring.folds_interval import fold_difference
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

    @cached_property
    def method(self) -> str:
        """The method of heads that is taken."""
        return self._taken[0]

    @property
    def choice(self) -> Choice:
        """The setting of that method."""
        return self.found.chosen[self.method]

    @property
    def honest(self) -> Estimate:
        """The accuracy of taking it: of each record by the method and setting that the other folds would take."""
        return self._taken[1]

    @cached_property
    def _taken(self) -> tuple[str, Estimate]:
        return self.found.chosen_among([method for method in NEEDS if method in self.found.chosen])

    @property
    def scores_QC(self) -> Floats:
        """[Q, C] out-of-fold scores of what is taken, at the one setting that it is trained with."""
        return self.found.scores(self.method, self.choice.setting)

    @property
    def conclusion(self) -> list[str]:
        """In words: what is better than heads, if something is; which heads are taken, and why."""
        said = []
        best = next(iter(self.rows))
        if best not in NEEDS and self.rows[best].value > self.rows[self.method].value:
            said.append(f"{title_of(best)} is better here than any heads: {self._against(best, self.method)}.")
        others = [method for method in NEEDS if method in self.rows and method != self.method]
        why = {
            "sft": "the negative head adds nothing here",
            "base_likra": "the positive head adds nothing here",
            "likra": "with both heads accuracy is highest",
        }[self.method]
        beaten = "".join(f"; {self._against(self.method, other)}" for other in others)
        said.append(f"Of the heads, {title_of(self.method)} is taken ({self.choice.setting.words}): {why}{beaten}.")
        return said

    def _against(self, first: str, second: str) -> str:
        """How much better one method is than another, in points."""
        lead = fold_difference(self._credit(first), self._credit(second), self.found.groups, self.found.folds)
        low, value, high = (100 * number for number in (lead.low, lead.value, lead.high))
        return f"{title_of(first)} minus {title_of(second)} {value:+.1f} points ({low:+.1f} to {high:+.1f})"

    def _credit(self, method: str) -> Floats:
        if method not in self.found.chosen:
            return self.found.credits[method]
        return credit(self.found.chosen[method].scores_QC, self.found.likelihoods.answers_Q)

    def as_json(self) -> dict[str, Any]:
        return {
            "questions": len(self.found.fold_Q),
            "folds": self.found.folds,
            "methods": {method: value.as_accuracy() for method, value in self.rows.items()},
            "taken": {"method": self.method, **self.choice.setting.as_json(), **self.honest.as_accuracy()},
            "conclusion": self.conclusion,
        }


def title_of(method: str) -> str:
    return (METHOD_TITLES | BESIDE_TITLES)[method]
