"""What a study is run on, and the cells that this takes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from likra.heads.recipe import Recipe
from likra.study.cells import Cell
from likra.study.task import NEGATIVE, POSITIVE, TESTS, Task

SIZES = (0, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Plan:
    """What a study is run on.

    Attributes:
        tasks: Models with their data.
        sizes: Numbers of training questions, rising.
        seeds: Seeds; each draws its own questions, negatives and first weights.
        recipe: How heads are trained; its seed is not used.
        weight: w of the negative head.
        normalisation: What scores are divided by, one of `likra.judge.NORMALISATIONS`.
        tests: Test sets that the heads of each task are judged on, of `likra.study.task.TESTS`; `own` where none are
            named. Studies that are run together name the same ones, and so share their cells.
        kinds: Kinds of negatives that the study `negatives` compares.
        dry: Whether cells are only counted, so that their models and data need not be at hand.
        voices: File for `mechanism`; None: the embedded models' own.
    """

    tasks: tuple[Task, ...]
    sizes: tuple[int, ...] = SIZES
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    weight: float = 1.0
    normalisation: str = "raw"
    tests: tuple[tuple[Task, tuple[str, ...]], ...] = ()
    kinds: tuple[str, ...] = (NEGATIVE, "irrelevant", "unrelated", "all", "mined")
    voices: str | None = None
    dry: bool = False

    def settings(self, task: Task, seed: int, uses: Sequence[str] = ()) -> dict[str, Any]:
        """What every cell of one seed has in common."""
        recipe = dataclasses.replace(self.recipe, seed=0).as_dict()
        return {**task.settings(uses, dry=self.dry), "seed": seed, "sizes": list(self.sizes), "recipe": recipe}

    def both(self, task: Task) -> dict[int, Cell]:
        """seed -> the cell of a positive and a negative head."""
        return self.heads(task, (POSITIVE, NEGATIVE))

    def heads(self, task: Task, heads: tuple[str, ...], among: tuple[str, ...] = tuple(TESTS)) -> dict[int, Cell]:
        """seed -> the cell that trains some heads in one stack, judged on the task's test sets `among` these."""
        shared = next((names for other, names in self.tests if other == task), ("own",))
        more = {"heads": list(heads), "tests": [test for test in shared if test in among]}
        uses = [use for use in ("unrelated", "reworded") if use in heads or use in more["tests"]]
        return {seed: Cell.of("heads", {**self.settings(task, seed, uses), **more}) for seed in self.seeds}

    def of_work(self, work: str, task: Task, **more: Any) -> dict[int, Cell]:
        """seed -> the cell of another kind of work."""
        return {seed: Cell.of(work, {**self.settings(task, seed), **more}) for seed in self.seeds}


def pair_cells(plan: Plan) -> list[Cell]:
    """The cells of a study that needs a positive and a negative head, and nothing else."""
    return [cell for task in plan.tasks for cell in plan.both(task).values()]
