"""The studies: each knows the cells it needs and turns them into rows of results."""

import dataclasses
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from likra.errors import InputError
from likra.questions.negatives import NEGATIVE_KINDS
from likra.study.cells import Cell, Store
from likra.study.course import check_sizes
from likra.study.mechanism import voices_of
from likra.study.plan import Plan
from likra.study.results import RESULTS, Row, load_rows, save_rows, without
from likra.study.task import TESTS, Task

#: Study -> what it shows; the words are the command line's too.
STUDIES: dict[str, str] = {
    "curve": "accuracy of SFT, Base-Likra and Likra against size; the jump; the worth of a negative (Figures 1 and 3)",
    "models": "accuracy over several base models and benchmarks (Table 1)",
    "likelihoods": "log-likelihood of right and wrong answers under each head, as training goes on (Figures 2 and 6)",
    "weights": "accuracy against the weight of the negative head (Figure 4)",
    "negatives": "kinds of negatives: incorrect, irrelevant, unrelated, all, mined (Figure 5)",
    "rivals": "the same answers given to SFT, PMI, DPO, NCA, KTO, unlikelihood, a reward head, merged weights, Likra",
    "distractors": "near-miss or random negatives in training against near-miss or random distractors in the test",
    "coverage": "the gain by groups of questions, and on control models",
    "scaling": "accuracy gained per unit of extra compute, against a larger base",
    "mechanism": "what changes in the model at the jump",
    "paraphrase": "whether the ratio leans on surface words: test answers reworded",
}


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
    cells = [cell for name, plan in plans for cell in study(name).cells(plan)]
    ran = store.run(cells, ray=ray, shown=shown)
    rows = [row for name, plan in plans for row in study(name).rows(plan, store)]
    path = out / RESULTS
    kept = without(load_rows(path), rows) if path.exists() else []
    rows = sorted([*kept, *rows], key=lambda row: list(STUDIES).index(row["study"]))
    save_rows(rows, path)
    return rows, ran


def _check(name: str, plan: Plan) -> None:
    """Raise InputError for what would stop a study only after hours of work."""
    for kind in plan.kinds if name == "negatives" else ():
        if kind not in (*NEGATIVE_KINDS, "mined"):
            raise InputError(f"--kinds {kind}: must be one of {', '.join((*NEGATIVE_KINDS, 'mined'))}.")
    for task in plan.tasks:
        check_sizes(plan.sizes, len(task.drawn(plan.sizes[-1], 0)), plan.recipe)
        for test in study(name).TESTS:
            task.test_prompter.pairs(task.test(test)[0])
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
