"""The gain by groups of questions (well, little or never covered in pretraining), on a model and on its controls."""

import numpy as np

from likra.judge.bootstrap import estimate
from likra.likelihood.table import Floats
from likra.study.catalogue.curve import steps_of
from likra.study.cells import Store
from likra.study.outcome import METHODS, Outcome
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "What pretraining covered"
TESTS: tuple[str, ...] = ("own",)


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("coverage", task)
        drawn = outcome.resampled()
        groups_Q = np.array(outcome.groups)
        trained = [size for size in plan.sizes if size > 0]
        for group in ("", *sorted(set(outcome.groups) - {""})):
            inside_Q = (groups_Q == group) if group else np.ones(len(groups_Q), dtype=bool)
            labels = {"part": group or "all", "count": int(inside_Q.sum())}
            means: dict[tuple[str, int], Floats] = {}
            for size in plan.sizes:
                for method in METHODS:
                    credit_SQ = outcome.credit(method, size)
                    means[method, size] = drawn.means(np.where(inside_Q, credit_SQ, np.nan))
                    sheet.add("accuracy", estimate(means[method, size]), method=method, size=size, **labels)
                for method, other in (("likra", "base"), ("likra", "sft"), ("base_likra", "base")):
                    difference = estimate(means[method, size] - means[other, size])
                    sheet.add("difference", difference, method=f"{method}-{other}", size=size, **labels)
            steps = steps_of(means, "likra", trained)
            sheet.add("jump", estimate(steps.max(axis=0)), method="likra", **labels)
            sheet.add("jump_at", estimate(np.array(trained)[steps.argmax(axis=0)]), method="likra", **labels)
        result += sheet.rows
    return result
