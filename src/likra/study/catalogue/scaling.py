"""Accuracy gained per unit of extra compute over a ladder of base models, against simply taking a larger base."""

import math

from likra.judge.bootstrap import estimate
from likra.likelihood.table import Floats
from likra.study.cells import Store
from likra.study.heads import facts_of
from likra.study.outcome import METHODS, Outcome
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet
from likra.study.task import Task

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "Compute"
TESTS: tuple[str, ...] = ("own",)

#: Readings of each question that a method needs.
READERS = {"base": 1, "sft": 1, "base_likra": 2, "likra": 2}


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    before: dict[str, tuple[float, Floats]] = {}
    costs = {id(task): facts_of(store.path(plan.both(task)[plan.seeds[0]])).flops for task in plan.tasks}
    last: Task | None = None
    for task in sorted(plan.tasks, key=lambda task: (task.data, costs[id(task)])):
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("scaling", task)
        drawn, size = outcome.resampled(), plan.sizes[-1]
        if last is None or last.data != task.data:
            before = {}
        now = {}
        for method in METHODS:
            cost = READERS[method] * costs[id(task)]
            mean_R = drawn.means(outcome.credit(method, size))
            now[method] = cost, mean_R
            sheet.add("accuracy", estimate(mean_R), method=method, size=size, at=cost)
        for method, other in (("likra", "sft"), ("base_likra", "base")):
            # Twice the compute is one doubling.
            gained_R = now[method][1] - now[other][1]
            sheet.add("per_doubling", estimate(gained_R), method=f"{method}-{other}", size=size, at=now[other][0])
        for method in ("base", "sft"):
            if method in before and now[method][0] > before[method][0]:
                doublings = math.log2(now[method][0] / before[method][0])
                gained_R = (now[method][1] - before[method][1]) / doublings
                sheet.add(
                    "per_doubling", estimate(gained_R), method=f"larger {method}", size=size, at=before[method][0]
                )
        before, last = now, task
        result += sheet.rows
    return result
