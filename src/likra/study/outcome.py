"""What finished cells say: scores and credit of methods, by size, over seeds and questions."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from likra.errors import InputError
from likra.judge.accuracy import credit
from likra.judge.bootstrap import Estimate, Resampled, estimate
from likra.judge.scores import normalise, ratio
from likra.likelihood.table import BASE, Floats, Likelihoods
from likra.study.cells import Cell, Store
from likra.study.heads import table_path
from likra.study.plan import Plan
from likra.study.task import NEGATIVE, POSITIVE, Task

#: Methods that the heads of a pair give: base, sft, base_likra and likra (`likra.judge.METHOD_TITLES`).
METHODS = ("base", "sft", "base_likra", "likra")


class Outcome:
    """The heads of one task, all seeds, at every size.

    Shapes: S seeds, Q test questions, C candidates.

    Args:
        plan: The plan.
        store: Where its finished cells are.
        task: The task.
        cells: The cells whose heads are asked, one mapping seed -> cell for each kind of cell.
    """

    def __init__(self, plan: Plan, store: Store, task: Task, cells: Iterable[dict[int, Cell]]) -> None:
        self.plan, self.task = plan, task
        self._folders: dict[tuple[str, int], Path] = {}
        for by_seed in cells:
            for seed, cell in by_seed.items():
                for head in (*cell["heads"], BASE):
                    self._folders.setdefault((head, seed), store.path(cell))

    def table(self, head: str, seed: int, size: int, test: str = "own") -> Likelihoods:
        """The table that one head of one seed stands in."""
        return _load(table_path(self._folders[head, seed], test, size))

    def logprobs(self, head: str, size: int, test: str = "own") -> Floats:
        """Log-likelihoods [S, Q, C] of one head, in nats."""
        return np.stack([self.table(head, seed, size, test).head(head) for seed in self.plan.seeds])

    def scores(
        self, method: str, size: int, *, test: str = "own", negatives: str = NEGATIVE, weight: float | None = None
    ) -> Floats:
        """Scores [S, Q, C] of one of `METHODS`; candidates with the same text count once (`Likelihoods.once`)."""
        weight = self.plan.weight if weight is None else weight
        right = self.logprobs(POSITIVE if method in ("sft", "likra") else BASE, size, test)
        if method in ("base_likra", "likra"):
            # What a head differs by from the base is taken within its own cell, where both were read alike: so heads
            # of two cells that are both untrained differ by exactly 0.
            own_base = np.stack([self.table(negatives, s, size, test).head(BASE) for s in self.plan.seeds])
            base = self.logprobs(BASE, size, test)
            right = ratio(right, base + (self.logprobs(negatives, size, test) - own_base), weight)
        table = self.table(BASE, self.plan.seeds[0], size, test)
        return table.once(np.stack([normalise(scores_QC, table, self.plan.normalisation) for scores_QC in right]))

    def credit(
        self, method: str, size: int, *, test: str = "own", negatives: str = NEGATIVE, weight: float | None = None
    ) -> Floats:
        """Credit [S, Q]: 1 for a right answer, 1/k for a k-way tie."""
        scores_SQC = self.scores(method, size, test=test, negatives=negatives, weight=weight)
        return credits(scores_SQC, self.table(BASE, self.plan.seeds[0], size, test))

    @property
    def groups(self) -> list[str]:
        """Group of each test question, empty where it has none."""
        return [question.group or "" for question in self.task.test()]

    def resampled(self) -> Resampled:
        """Draws of seeds and questions; the same for everything that is measured on this task."""
        return Resampled(len(self.plan.seeds), len(self.task.test()))


def credits(scores_SQC: Floats, table: Likelihoods) -> Floats:
    """Credit [S, Q] of some scores; candidates with the same text are one answer."""
    return np.stack([credit(scores_QC, table.answers_Q) for scores_QC in table.once(scores_SQC)])


def mean(credit_SQ: Floats, drawn: Resampled) -> Estimate:
    """The mean over seeds and questions with its interval."""
    return estimate(drawn.means(credit_SQ))


@lru_cache(maxsize=512)
def _load(path: Path) -> Likelihoods:
    try:
        return Likelihoods.load(path)
    except InputError:
        raise InputError(f"{path}: is damaged; remove its folder and repeat the command.") from None
