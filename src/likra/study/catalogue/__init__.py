"""The studies: each knows the cells it needs and turns them into rows of results."""

import dataclasses
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from likra.errors import InputError
from likra.judge.calibration import FOLDS
from likra.mining import check_style
from likra.study.about import STUDIES
from likra.study.cells import Cell, Store
from likra.study.course import check_sizes
from likra.study.mechanism import voices_of
from likra.study.plan import Plan
from likra.study.results import RESULTS, Row, load_rows, save_rows, without
from likra.study.task import TESTS, Task
from likra.study.trl import check_trl


class Study(Protocol):
    """What a module of the catalogue has."""

    TITLE: str
    TESTS: tuple[str, ...]

    def cells(self, plan: Plan) -> list[Cell]:
        """The cells that the study needs."""

    def rows(self, plan: Plan, store: Store) -> list[Row]:
        """The results, from finished cells."""


def study(name: str) -> Study:
    """One study of the catalogue.

    Raises:
        InputError: There is none of that name.
    """
    if name not in STUDIES:
        raise InputError(f"{name}: is no study; the studies are {', '.join(STUDIES)}.")
    return importlib.import_module(f"likra.study.catalogue.{name}")


def run_studies(
    plans: Sequence[tuple[str, Plan]], out: Path, *, ray: str | None = None, shown: bool = True
) -> tuple[list[Row], int]:
    """Run some studies in one folder; what they have in common is run once, now or before.

    Results of other studies, or on other models or data, that are in the folder's `results.parquet` stay there.

    Args:
        plans: Studies with what each is run on.
        out: The folder: cells are kept in `cells/`, results go to `results.parquet`.
        ray: Address of a Ray cluster, or None.
        shown: Whether to show progress.

    Returns:
        All rows of the folder, and how many cells were run (those that were finished before are not).
    """
    store, plans = Store(out), together(plans)
    for name, plan in plans:
        _check(name, plan)
    path = out / RESULTS
    with store.locked():
        before = load_rows(path) if path.exists() else []  # first, for it may be no such file
        cells = [cell for name, plan in plans for cell in study(name).cells(plan)]
        ran = store.run(cells, ray=ray, shown=shown)
        rows = [row for name, plan in plans for row in study(name).rows(plan, store)]
        kept = without(before, rows)
        order = list(STUDIES)
        rows = sorted([*kept, *rows], key=lambda row: (order.index(row["study"]), row["data"], row["model"]))
        save_rows(rows, path)
    return rows, ran


def _check(name: str, plan: Plan) -> None:
    """Raise InputError for what would stop a study only after hours of work."""
    if name == "rivals":
        check_trl()
    for task in plan.tasks:
        source = task.source
        task.test()
        check_sizes(plan.sizes, len(source.questions.get("train", [])), plan.recipe)
        if plan.sizes[-1] == 0:
            raise InputError("--sizes: give at least one above 0.")
        for test in study(name).TESTS:
            task.test_prompter.pairs(task.test(test)[0])
        for kind in {"negatives": plan.kinds, "distractors": ("irrelevant",)}.get(name, ()):
            task.check_kind(kind)
        if name == "generation":
            check_style(task.source.style)
        if name == "calibration" and len(task.test()) < FOLDS:
            raise InputError(f"{task.data}: {len(task.test())} test questions are too few; give at least {FOLDS}.")
        if name == "mechanism":
            voices_of(task.model, plan.voices)


def together(plans: Sequence[tuple[str, Plan]]) -> list[tuple[str, Plan]]:
    """The plans of studies that are run together: each task is judged on the test sets that any of them needs."""
    tasks: list[Task] = []
    for _, plan in plans:
        tasks += [task for task in plan.tasks if task not in tasks]
    tests = []
    for task in tasks:
        wanted = {test for name, plan in plans if task in plan.tasks for test in study(name).TESTS}
        tests.append((task, tuple(test for test in TESTS if test in wanted)))
    return [(name, dataclasses.replace(plan, tests=tuple(tests))) for name, plan in plans]
