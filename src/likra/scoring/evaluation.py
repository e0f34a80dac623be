"""The accuracy of every method on one table, at one weight and normalization."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from likra.errors import InputError
from likra.scoring.accuracy import accuracy, credit
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.scoring.paired import Comparison, mcnemar
from likra.scoring.scores import method_scores


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
    """

    likelihoods: Likelihoods
    positive: str | None = "positive"
    negative: str | None = "negative"
    weight: float = 1.0
    normalization: str = "raw"
    method: str | None = None

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

    def as_json(self) -> dict[str, Any]:
        """JSON of the accuracies."""
        return {
            "questions": self.count,
            "weight": self.weight,
            "normalization": self.normalization,
            "precision": self.likelihoods.meta.get("precision"),
            "rounding": self.likelihoods.meta.get("rounding"),
            "methods": {method: value.as_accuracy() for method, value in self.methods.items()},
        }
