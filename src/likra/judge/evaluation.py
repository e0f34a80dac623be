"""One judgement of a table: every method's accuracy at one weight and normalisation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from likra.judge.accuracy import Accuracy, accuracy, credit
from likra.judge.paired import Comparison, mcnemar
from likra.judge.scores import method_scores
from likra.likelihood.table import Floats, Likelihoods


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of base, SFT, Base-Likra and Likra on one table (those that its heads allow).

    Candidates with the same text are one answer.

    Attributes:
        likelihoods: The table.
        positive, negative: Names of the heads in it, or None.
        weight: w of the negative head.
        normalisation: One of `NORMALISATIONS`.
    """

    likelihoods: Likelihoods
    positive: str | None = "positive"
    negative: str | None = "negative"
    weight: float = 1.0
    normalisation: str = "raw"

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
            normalisation=self.normalisation,
        )

    @property
    def best(self) -> str:
        """The best method that the heads allow: the last of `METHOD_TITLES` that there is."""
        return list(self.scores)[-1]

    @cached_property
    def credits(self) -> dict[str, Floats]:
        """method -> [Q] credit."""
        return {method: credit(value, self.likelihoods.answers_Q) for method, value in self.scores.items()}

    @cached_property
    def methods(self) -> dict[str, Accuracy]:
        """method -> accuracy with its interval."""
        return {method: accuracy(value) for method, value in self.credits.items()}

    def compare(self, first: str, second: str) -> Comparison:
        """Paired test of two methods."""
        return mcnemar(self.credits[first], self.credits[second])

    def as_json(self) -> dict[str, Any]:
        """What `likra eval --json` prints."""
        return {
            "questions": len(self.likelihoods.questions),
            "weight": self.weight,
            "normalisation": self.normalisation,
            "methods": {method: value.as_json() for method, value in self.methods.items()},
        }
