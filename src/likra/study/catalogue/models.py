"""Table 1: several base models and benchmarks, after the largest number of training questions."""

from likra.judge.bootstrap import estimate, paired_p_value
from likra.study.cells import Store
from likra.study.outcome import METHODS, Outcome
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "Base models and benchmarks"
TESTS: tuple[str, ...] = ("own",)


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("models", task)
        drawn, size = outcome.resampled(), plan.sizes[-1]
        credits = {method: outcome.credit(method, size) for method in METHODS}
        means = {method: drawn.means(credit_SQ) for method, credit_SQ in credits.items()}
        for method in METHODS:
            count = credits[method].shape[1]
            sheet.add("accuracy", estimate(means[method]), method=method, size=size, count=count)
            sheet.add_seeds("accuracy", credits[method], plan.seeds, method=method, size=size)
        for method, other in (("sft", "base"), ("likra", "sft")):
            p = paired_p_value(credits[method], credits[other])
            difference = estimate(means[method] - means[other])
            sheet.add("difference", difference, method=f"{method}-{other}", size=size, p=p)
        result += sheet.rows
    return result
