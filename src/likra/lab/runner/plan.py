"""What a study is run on, and the jobs that this takes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from likra.lab.runner.jobs import Job
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task

if TYPE_CHECKING:
    from likra.training.config import TrainingConfig

SIZES = (0, 8, 16, 32, 64, 128, 256, 512)
PAIR = (POSITIVE, NEGATIVE)
_HEADS = "likra.lab.runner.heads"


def _default_config() -> "TrainingConfig":
    from likra.training.config import TrainingConfig  # loads torch, which a list of studies must not

    return TrainingConfig()


@dataclass(frozen=True)
class Plan:
    """What a study is run on.

    Attributes:
        tasks: Models with their data.
        sizes: Numbers of training questions, rising.
        seeds: Seeds; each draws its own questions, negatives and first weights.
        config: How adapters are trained; its seed is not used.
        weight: w of the negative adapter.
        normalisation: What scores are divided by, one of `likra.scoring.NORMALIZATIONS`.
        tests: Test sets that the adapters of each task are scored on, of `likra.lab.runner.task.TESTS` and of
            `Task.elsewhere`; `own` where none are named. Studies that are run together name the same ones, and so share
            their jobs.
        options: The options of one study alone, by name; see `Study.configure`.
        stacked: Whether one job trains the adapters of all seeds in one stack, in the order in which `likra train`
            reads its examples, and keeps their weights.
        dry: Whether jobs are only counted, so that their models and data need not be at hand.
    """

    tasks: tuple[Task, ...]
    sizes: tuple[int, ...] = SIZES
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    config: "TrainingConfig" = dataclasses.field(default_factory=_default_config)
    weight: float = 1.0
    normalisation: str = "raw"
    tests: tuple[tuple[Task, tuple[str, ...]], ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stacked: bool = False
    dry: bool = False

    def pair(self, task: Task) -> dict[int, Job]:
        """seed -> the job that trains a positive and a negative adapter."""
        return self.heads(task, PAIR)

    def own_pair(self, name: str, work: str, task: Task, *, together: bool = False, **more: Any) -> dict[int, Job]:
        """seed -> a job of some name and work, which trains a positive and a negative adapter for itself.

        Args:
            name, work, task: The job's.
            together: Whether one job does all seeds, one after the other.
            **more: Further settings.
        """
        alone = dataclasses.replace(self, stacked=together)
        return alone.jobs(name, work, task, heads=list(PAIR), tests=["own"], stacked=False, **more)

    def once(self, name: str, work: str, task: Task, **more: Any) -> dict[int, Job]:
        """seed -> the one job of some name and work for a task, whatever the seeds, sizes and training."""
        settings = {"name": name, **task.settings(dry=self.dry), "seeds": [], "sizes": [], **more}
        return dict.fromkeys(self.seeds, Job.of(work, settings))

    def heads(self, task: Task, heads: tuple[str, ...], among: tuple[str, ...] | None = None) -> dict[int, Job]:
        """seed -> the job that trains some adapters in one stack, scored on the task's test sets (`among` these)."""
        shared = next((names for other, names in self.tests if other == task), ("own",))
        tests = [test for test in shared if among is None or test in among]
        uses: list[str] = [use for use in ("unrelated", "reworded") if use in heads or use in tests]
        if not task.elsewhere.keys().isdisjoint(tests):
            uses.append("to")
        return self.jobs("heads", _HEADS, task, uses, heads=list(heads), tests=tests, stacked=self.stacked)

    def jobs(self, name: str, work: str, task: Task, uses: Sequence[str] = (), **more: Any) -> dict[int, Job]:
        """seed -> a job of some name and work; one job for all seeds if they are stacked."""
        config = dataclasses.replace(self.config, seed=0).as_dict()
        common = {
            "name": name,
            **task.settings(uses, dry=self.dry),
            "sizes": list(self.sizes),
            "config": config,
            **more,
        }
        groups = [self.seeds] if self.stacked else [(seed,) for seed in self.seeds]
        by_group = {group: Job.of(work, {**common, "seeds": list(group)}) for group in groups}
        return {seed: job for group, job in by_group.items() for seed in group}
