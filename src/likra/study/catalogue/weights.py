"""Figure 4: accuracy against the weight of the negative head."""

import numpy as np

from likra.judge.bootstrap import estimate
from likra.study.cells import Store
from likra.study.outcome import Outcome
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "The weight of the negative head"
TESTS: tuple[str, ...] = ("own",)
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(16))


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("weights", task)
        drawn = outcome.resampled()
        for size in plan.sizes:
            if size == 0:
                continue
            means = np.stack([drawn.means(outcome.credit("likra", size, weight=weight)) for weight in WEIGHTS])
            for weight, mean_R in zip(WEIGHTS, means, strict=True):
                sheet.add("accuracy", estimate(mean_R), method="likra", size=size, at=weight)
            # argmax takes the smallest of equally good weights.
            sheet.add("best_weight", estimate(np.array(WEIGHTS)[means.argmax(axis=0)]), method="likra", size=size)
            one = WEIGHTS.index(1.0)
            sheet.add("gain_over_no_weight", estimate(means[one] - means[0]), method="likra", size=size)
            sheet.add("loss_at_one", estimate(means.max(axis=0) - means[one]), method="likra", size=size)
        result += sheet.rows
    return result
