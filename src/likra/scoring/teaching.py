"""What teaching has changed: how much better the heads are on some records after it than before, and in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from likra.scoring.bootstrap import estimate
from likra.scoring.cross_validation import Recipe, joined
from likra.scoring.estimate import Estimate
from likra.scoring.evaluation import Evaluation
from likra.scoring.folds_interval import fold_accuracy, fold_difference, wider
from likra.scoring.likelihoods import NEGATIVE, POSITIVE, Likelihoods
from likra.scoring.ranking import OverPrompts
from likra.scoring.verification import Verification

#: Begins the names of the columns of heads as they were before teaching.
BEFORE = "before-"


@dataclass(frozen=True)
class Change:
    """How well heads do on some records before and after teaching, and what lies between the two.

    Attributes:
        measure: `accuracy`; of unpaired records `AUROC`.
        before, after: Its values.
        difference: After minus before, paired over the records.
        records: How many records there are.
    """

    measure: str
    before: Estimate
    after: Estimate
    difference: Estimate
    records: int

    @property
    def is_worse(self) -> bool:
        """Whether it has fallen beyond the interval."""
        return self.difference.high < 0

    @property
    def words(self) -> str:
        """It, for people."""
        low, value, high = (100 * end for end in (self.difference.low, self.difference.value, self.difference.high))
        return (
            f"{self.measure} {100 * self.before.value:.1f}% before, {100 * self.after.value:.1f}% after, "
            f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"
        )

    def as_json(self) -> dict[str, Any]:
        estimates = {"before": self.before, "after": self.after, "difference": self.difference}
        return {
            "measure": self.measure,
            "records": self.records,
            **{name: one.as_json() for name, one in estimates.items()},
        }


@dataclass(frozen=True)
class Compared:
    """Records as heads judge them before and after teaching, none of which these heads have learned.

    Attributes:
        table: Likelihoods under the base, the heads as they were (`before-positive`, ...), and as they are. Of
            unpaired records its `meta["labels"]` says which are right.
        folds: How many pairs of heads judged a part each; None where one pair judged all.
        weight: w in L+ - w * L-.
    """

    table: Likelihoods
    folds: int | None
    weight: float

    @property
    def lone(self) -> bool:
        """Whether the records are unpaired."""
        return "labels" in self.table.meta

    def evaluation(self, *, before: bool = False, **scoring: Any) -> Evaluation:
        """Of questions: their scores; `scoring` as the fields of `Evaluation`."""
        positive, negative = self._columns(before)
        return Evaluation(self.table, positive, negative, **{"weight": self.weight, **scoring})

    def verification(self, *, before: bool = False, **scoring: Any) -> Verification:
        """Of unpaired records: their scores (but for PMI's)."""
        positive, negative = self._columns(before)
        return Verification(self.table, self.table, positive, negative, **{"weight": self.weight, **scoring})

    def _columns(self, before: bool) -> tuple[str | None, str | None]:
        names = [f"{BEFORE}{role}" if before else role for role in (POSITIVE, NEGATIVE)]
        positive, negative = (name if name in self.table.heads else None for name in names)
        return positive, negative

    @cached_property
    def change(self) -> Change:
        """What teaching has changed."""
        count = len(self.table.questions)
        if self.lone:
            return Change("AUROC", *self._areas(), count)
        groups = [question.asked for question in self.table.questions]
        both = (self.evaluation(before=True), self.evaluation())
        before_Q, after_Q = (one.credits[one.best] for one in both)
        before, after = (fold_accuracy(credit_Q, groups, self.folds) for credit_Q in (before_Q, after_Q))
        return Change("accuracy", before, after, fold_difference(after_Q, before_Q, groups, self.folds), count)

    def _areas(self) -> tuple[Estimate, Estimate, Estimate]:
        """AUROC before and after, and their difference in the same draws of prompts."""
        both = (self.verification(before=True), self.verification())
        drawn, right_N = OverPrompts(both[0].prompts_N), both[0].right_N
        before_R, after_R = (drawn.ranking(one.scores[one.best], right_N)[0] for one in both)
        before, after = (wider(drawn.share(values_R), self.folds) for values_R in (before_R, after_R))
        difference = wider(estimate(after_R - before_R), self.folds, least=-1.0)
        if not difference.low < difference.high:
            # All draws agree. As if the two were independent (Newcombe 1998), which is wide for what is paired.
            down = math.hypot(after.value - after.low, before.high - before.value)
            up = math.hypot(after.high - after.value, before.value - before.low)
            value = difference.value
            difference = Estimate(value, max(-1.0, value - down), min(1.0, value + up))
        return before, after, difference


def together(compared: Sequence[Compared]) -> Compared:
    """Several of one kind as one, with the records of all."""
    tables = [one.table for one in compared]
    ends = np.cumsum([len(table.questions) for table in tables])
    places = np.split(np.arange(ends[-1]), ends[:-1])
    pieces = [(rows, table.heads, table) for rows, table in zip(places, tables, strict=True)]
    whole = joined(pieces, int(ends[-1]), tables[0].heads)
    if compared[0].lone:
        whole.meta["labels"] = [label for table in tables for label in table.meta["labels"]]
    return Compared(whole, compared[0].folds, compared[0].weight)


@dataclass(frozen=True)
class Teaching:
    """What a teaching found.

    Attributes:
        recipe: How the corrections were learned.
        folds: In how many folds the corrections were judged.
        gained: On the corrections, each judged by heads that had not learned it.
        lost: On old records, those of each kind (questions, unpaired) by themselves; empty where it is not known.
        fresh: Whether the old records are ones that the heads had never learned; else the old training was repeated
            without each fold of them.
        why_not: Why it is not known what was lost; empty where it is.
        replayed, kept: How many old records were learned again, and how many there were to choose from.
        known: How many corrections ask what the heads had learned before: of these the figure before is not one of
            records that they never learned.
        calibration: What became of the calibrations, in sentences.
    """

    recipe: Recipe
    folds: int
    gained: Change
    lost: tuple[Change, ...]
    fresh: bool
    why_not: str
    replayed: int
    kept: int
    known: int = 0
    calibration: tuple[str, ...] = field(default=())

    @property
    def worse(self) -> list[str]:
        """On what the heads are worse than before beyond the interval: the corrections, the old records; most often
        nothing."""
        found = ["the corrections"] if self.gained.is_worse else []
        return [*found, "the old records"] if any(change.is_worse for change in self.lost) else found

    @property
    def sentences(self) -> list[str]:
        """All of it in words."""
        told = [
            f"On the {self.gained.records} corrections, each judged by heads that had not learned it "
            f"({self.folds} folds): {self.gained.words}."
        ]
        if self.known:
            told.append(
                f"{self.known} of them ask what the heads had learned before, so that they knew these already, by the "
                "old answers."
            )
        for change in self.lost:
            how = (
                f"On {change.records} old records that the heads have never learned"
                if self.fresh
                else f"On {change.records} old records, each judged by heads that never learned it (the old training "
                "was repeated without each fold)"
            )
            told.append(f"{how}: {change.words}.")
        if any(change.difference.value < 0 and not change.is_worse for change in self.lost):
            told.append(
                "On the old records they do worse, though with so few it may be chance. With a few hundred records in "
                "all, `likra tune` on the old ones and the corrections together is the careful way."
            )
        if not self.lost:
            told.append(f"It is not known what was lost on the old records: {self.why_not}.")
        told.append(
            f"Learned: the corrections ({self.recipe.words}), and once more {self.replayed} of {self.kept} old records."
            if self.kept
            else f"Learned: the corrections alone ({self.recipe.words}); these heads keep no old records."
        )
        return [*told, *self.calibration]

    def as_json(self) -> dict[str, Any]:
        return {
            "corrections": self.gained.records,
            "folds": self.folds,
            **vars(self.recipe),
            "known": self.known,
            "replay": self.replayed,
            "gained": self.gained.as_json(),
            "lost": [change.as_json() for change in self.lost],
            "lost_on": ("records never learned" if self.fresh else "folds") if self.lost else None,
            "worse_on": self.worse,
        }
