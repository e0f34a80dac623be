"""What finished jobs say: scores and credit of methods, by size, over seeds and questions."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from likra.data.controls import BLIND
from likra.errors import InputError
from likra.lab.runner.jobs import Job, Store
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, seed_folder, table_path
from likra.scoring.accuracy import credit
from likra.scoring.bootstrap import Resampled
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import normalise, ratio

#: Methods that the heads of a pair give: base, sft, base_likra and likra (`likra.scoring.METHOD_TITLES`).
METHODS = ("base", "sft", "base_likra", "likra")
#: L+ - w * L_base: the base in the negative head's place, which no wrong answer is needed for.
SFT_BASE, SFT_BASE_TITLE = "sft_base", "SFT minus Base"
#: The base's likelihood with the question less that without it, both in the prompt template (the domain-conditional PMI
#: of Holtzman et al. 2021, arXiv 2104.08315): free of any training.
PMI_DC, PMI_DC_TITLE = "pmi_dc", "Base minus blind Base"


class Outcome:
    """The heads of one task, all seeds, at every size.

    Shapes: S seeds, Q test questions, C candidates.

    Args:
        plan: The plan.
        store: Where its finished jobs are.
        task: The task.
        jobs: The jobs that are read, one mapping seed -> job for each kind of job.
    """

    def __init__(self, plan: Plan, store: Store, task: Task, jobs: Sequence[dict[int, Job]]) -> None:
        self.plan, self.task, self._store = plan, task, store
        #: For each kind of job: the folder of each seed.
        self.folders = [
            [seed_folder(store.path(job), job["seeds"], seed) for seed, job in by_seed.items()] for by_seed in jobs
        ]
        #: The same by the name of the job (of kinds that share a name, the last).
        self.named = {
            next(iter(by_seed.values()))["name"]: found for by_seed, found in zip(jobs, self.folders, strict=True)
        }
        self._folders: dict[tuple[str, int], Path] = {}
        for by_seed, folders in zip(jobs, self.folders, strict=True):
            for (seed, job), folder in zip(by_seed.items(), folders, strict=True):
                for head in (*job.get("heads", ()), BASE):
                    self._folders.setdefault((head, seed), folder)

    def beside(self, task: Task, jobs: Sequence[dict[int, Job]]) -> "Outcome":
        """The heads of another task with the same test questions, in the same store."""
        return Outcome(self.plan, self._store, task, jobs)

    def table(self, head: str, seed: int, size: int, test: str = "own") -> Likelihoods:
        """The table that one head of one seed stands in."""
        return _load(table_path(self._folders[head, seed], test, size))

    def logprobs(self, head: str, size: int, test: str = "own") -> Floats:
        """Log-likelihoods [S, Q, C] of one head, in nats."""
        return np.stack([self.table(head, seed, size, test).head(head) for seed in self.plan.seeds])

    def scores(
        self, method: str, size: int, *, test: str = "own", negatives: str = NEGATIVE, weight: float | None = None
    ) -> Floats:
        """Scores [S, Q, C] of one of `METHODS`, of `SFT_BASE`, or of `PMI_DC`.

        Candidates with the same text count once (`Likelihoods.once`).
        """
        weight = self.plan.weight if weight is None else weight
        right = self.logprobs(POSITIVE if method in ("sft", "likra", SFT_BASE) else BASE, size, test)
        if method == SFT_BASE:
            right = ratio(right, self.logprobs(BASE, size, test), weight)
        if method == PMI_DC:
            right = ratio(right, self.logprobs(BASE, size, BLIND))
        if method in ("base_likra", "likra"):
            # What a head differs by from the base is taken within its own job, where both were read alike: so heads
            # of two jobs that are both untrained differ by exactly 0.
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

    def means(self, method: str, size: int, **how: Any) -> Floats:
        """Accuracy [1 + R] of a method: of all seeds and questions, then of each resample; `how` as in `credit`."""
        return self.drawn.means(self.credit(method, size, **how))

    @property
    def groups(self) -> list[str]:
        """Group of each test question, empty where it has none."""
        return [question.group or "" for question in self.task.test()]

    @cached_property
    def drawn(self) -> Resampled:
        """Draws of seeds and questions; the same for everything that is measured on this task."""
        return Resampled(len(self.plan.seeds), len(self.task.test()))


def credits(scores_SQC: Floats, table: Likelihoods) -> Floats:
    """Credit [S, Q] of some scores; candidates with the same text are one answer."""
    return np.stack([credit(scores_QC, table.answers_Q) for scores_QC in table.once(scores_SQC)])


@lru_cache(maxsize=512)
def _load(path: Path) -> Likelihoods:
    try:
        return Likelihoods.load(path)
    except InputError:
        raise InputError(f"{path}: is damaged; remove its folder and repeat the command.") from None
