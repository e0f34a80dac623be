"""The accuracy of every method on one table, at one weight and normalization."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from likra.data.controls import BLIND
from likra.errors import InputError
from likra.scoring.accuracy import accuracy, credit
from likra.scoring.controls import Controls
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.scoring.paired import Comparison, mcnemar, paired_difference
from likra.scoring.scores import method_scores
from likra.scoring.shallow import shallow_scores


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of base, SFT, Base-Likra and Likra on one table (those that its adapters allow).

    Candidates with the same text are one answer.

    Attributes:
        likelihoods: The table.
        positive, negative: Names of the heads in it, or None.
        weight: w of the negative head.
        normalization: One of `NORMALIZATIONS`.
        method: The method that candidates are ranked by; default: the best that the heads allow.
        controls: What its controls are computed from; None where none were asked for.
    """

    likelihoods: Likelihoods
    positive: str | None = "positive"
    negative: str | None = "negative"
    weight: float = 1.0
    normalization: str = "raw"
    method: str | None = None
    controls: Controls | None = None

    @cached_property
    def scores(self) -> dict[str, Floats]:
        """method -> [Q, C] scores of the answers, each once (`Likelihoods.once`)."""
        return {method: self.likelihoods.once(scores_QC) for method, scores_QC in self.of_candidates.items()}

    @cached_property
    def of_candidates(self) -> dict[str, Floats]:
        """method -> [Q, C] scores of all candidates, copies too."""
        return method_scores(
            self.likelihoods,
            positive=self.positive,
            negative=self.negative,
            weight=self.weight,
            normalization=self.normalization,
        )

    @property
    def best(self) -> str:
        """What candidates are ranked by: `method`, or the last of `METHOD_TITLES` that the heads allow.

        Raises:
            InputError: The heads do not allow `method`.
        """
        if self.method is not None and self.method not in self.scores:
            raise InputError(f"method must be one of {', '.join(self.scores)} with these heads, got {self.method!r}.")
        return self.method or list(self.scores)[-1]

    @cached_property
    def credits(self) -> dict[str, Floats]:
        """method -> [Q] credit."""
        return {method: credit(value, self.likelihoods.answers_Q) for method, value in self.scores.items()}

    @cached_property
    def methods(self) -> dict[str, Estimate]:
        """method -> accuracy with its interval."""
        return {method: accuracy(value) for method, value in self.credits.items()}

    @property
    def count(self) -> int:
        """Number of questions."""
        return len(next(iter(self.credits.values())))

    def compare(self, first: str, second: str) -> Comparison:
        """Paired test of two methods."""
        return mcnemar(self.credits[first], self.credits[second])

    @property
    def chance(self) -> float:
        """The accuracy of guessing, where all answers to a question are equally likely, copies once."""
        return float((1 / (~np.isnan(self.scores[self.best])).sum(axis=1)).mean())

    @cached_property
    def controlled(self) -> dict[str, "Evaluation"]:
        """Control (blind, shuffled) -> the evaluation of the same questions asked so; none without `controls`."""
        tables = self.controls.tables if self.controls else {}
        return {name: replace(self, likelihoods=table, controls=None) for name, table in tables.items()}

    @cached_property
    def shallow(self) -> Estimate | None:
        """Accuracy of a classifier of answers alone; None without `controls`, or without answers to learn from."""
        if self.controls is None or not self.controls.answers.right or not self.controls.answers.wrong:
            return None
        answers, table = self.controls.answers, self.likelihoods
        scores_QC = shallow_scores(answers.right, answers.wrong, table.questions)
        return accuracy(credit(table.once(scores_QC), table.answers_Q))

    @cached_property
    def reading_gain(self) -> dict[str, Estimate]:
        """method -> its accuracy minus its blind accuracy, paired over questions; none without `controls`."""
        if BLIND not in self.controlled:
            return {}
        blind = self.controlled[BLIND].credits
        return {method: paired_difference(value, blind[method]) for method, value in self.credits.items()}

    def as_json(self) -> dict[str, Any]:
        """JSON of the accuracies, and of the controls where there are some."""
        return {
            "questions": self.count,
            "weight": self.weight,
            "normalization": self.normalization,
            "precision": self.likelihoods.meta.get("precision"),
            "rounding": self.likelihoods.meta.get("rounding"),
            "methods": {method: value.as_accuracy() for method, value in self.methods.items()},
            **(self._controls_as_json() if self.controls else {}),
        }

    def _controls_as_json(self) -> dict[str, Any]:
        controls: dict[str, Any] = {
            name: {method: value.as_accuracy() for method, value in judged.methods.items()}
            for name, judged in self.controlled.items()
        }
        if self.shallow:
            controls["shallow"] = self.shallow.as_accuracy()
        gains = {method: value.as_json() for method, value in self.reading_gain.items()}
        return {"controls": controls, "reading_gain": gains}
