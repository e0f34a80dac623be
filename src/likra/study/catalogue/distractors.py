"""Near-miss or random training negatives against near-miss or random test distractors, all four cells."""

from likra.judge.bootstrap import estimate
from likra.study.cells import Cell, Store
from likra.study.outcome import Outcome
from likra.study.plan import Plan
from likra.study.results import Row, Sheet
from likra.study.task import NEGATIVE, Task

TITLE = "Quality of negatives against quality of distractors"
TESTS: tuple[str, ...] = ("own", "random")
KINDS = (NEGATIVE, "irrelevant")


def _both_kinds(plan: Plan, task: Task) -> list[dict[int, Cell]]:
    return [plan.both(task), plan.heads(task, ("irrelevant",), TESTS)]


def cells(plan: Plan) -> list[Cell]:
    return [cell for task in plan.tasks for kind in _both_kinds(plan, task) for cell in kind.values()]


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, _both_kinds(plan, task)), Sheet("distractors", task)
        drawn = outcome.resampled()
        for size in plan.sizes:
            means = {
                (kind, test): drawn.means(outcome.credit("likra", size, test=test, negatives=kind))
                for kind in KINDS
                for test in TESTS
            }
            for (kind, test), mean_R in means.items():
                sheet.add("accuracy", estimate(mean_R), method="likra", negatives=kind, test=test, size=size)
            for test in TESTS:
                for method in ("base", "sft"):
                    mean_R = drawn.means(outcome.credit(method, size, test=test))
                    sheet.add("accuracy", estimate(mean_R), method=method, test=test, size=size)
                better_R = means[NEGATIVE, test] - means["irrelevant", test]
                sheet.add("difference", estimate(better_R), method="incorrect-irrelevant", test=test, size=size)
            matched_R = (means[NEGATIVE, "own"] - means["irrelevant", "own"]) - (
                means[NEGATIVE, "random"] - means["irrelevant", "random"]
            )
            sheet.add("interaction", estimate(matched_R), method="likra", size=size)
        result += sheet.rows
    return result
