"""Figure 5: kinds of negatives."""

from likra.judge.bootstrap import estimate, paired_p_value
from likra.study.cells import Cell, Store
from likra.study.outcome import Outcome
from likra.study.plan import Plan
from likra.study.results import Row, Sheet
from likra.study.task import NEGATIVE, Task

TITLE = "Kinds of negatives"
TESTS: tuple[str, ...] = ("own",)


def _by_kind(plan: Plan, task: Task) -> list[dict[int, Cell]]:
    # Random distractors are asked of irrelevant negatives by the study of distractors, which shares those cells.
    others = [
        plan.heads(task, (kind,), ("own", "random") if kind == "irrelevant" else ("own",))
        for kind in plan.kinds
        if kind != NEGATIVE
    ]
    return [plan.both(task), *others]


def cells(plan: Plan) -> list[Cell]:
    return [cell for task in plan.tasks for kind in _by_kind(plan, task) for cell in kind.values()]


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, _by_kind(plan, task)), Sheet("negatives", task)
        drawn = outcome.resampled()
        for size in plan.sizes:
            sft_SQ = outcome.credit("sft", size)
            sheet.add("accuracy", estimate(drawn.means(sft_SQ)), method="sft", size=size)
            own_SQ = outcome.credit("likra", size)
            for kind in plan.kinds:
                credit_SQ = outcome.credit("likra", size, negatives=kind)
                means_R = drawn.means(credit_SQ)
                sheet.add("accuracy", estimate(means_R), method="likra", negatives=kind, size=size)
                sheet.add(
                    "difference",
                    estimate(means_R - drawn.means(sft_SQ)),
                    method="likra-sft",
                    negatives=kind,
                    size=size,
                    p=paired_p_value(credit_SQ, sft_SQ),
                )
                if kind != NEGATIVE:
                    sheet.add(
                        "difference",
                        estimate(drawn.means(own_SQ) - means_R),
                        method="incorrect-other",
                        negatives=kind,
                        size=size,
                        p=paired_p_value(own_SQ, credit_SQ),
                    )
        result += sheet.rows
    return result
