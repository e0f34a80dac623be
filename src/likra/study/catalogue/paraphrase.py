"""Whether the ratio leans on surface words: the same questions with every choice in other words."""

import numpy as np

from likra.judge.bootstrap import estimate
from likra.likelihood.table import BASE
from likra.study.cells import Store
from likra.study.outcome import METHODS, Outcome
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "Answers in other words"
TESTS: tuple[str, ...] = ("own", "reworded")


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("paraphrase", task)
        drawn = outcome.resampled()
        for size in plan.sizes:
            for method in METHODS:
                credits = {test: outcome.credit(method, size, test=test) for test in TESTS}
                means = {test: drawn.means(credit_SQ) for test, credit_SQ in credits.items()}
                for test, mean_R in means.items():
                    sheet.add("accuracy", estimate(mean_R), method=method, test=test, size=size)
                moved = estimate(means["reworded"] - means["own"])
                sheet.add("difference", moved, method=method, test="reworded-own", size=size)
                # An untrained ratio is a tie of all choices: it picks none.
                if size > 0 or method in ("base", "sft"):
                    picks = [np.nanargmax(outcome.scores(method, size, test=test), axis=2) for test in TESTS]
                    # A choice whose text stands in two places may have other words in each.
                    first_QC = outcome.table(BASE, plan.seeds[0], size).distinct_QC
                    own_SQ, reworded_SQ = (first_QC[np.arange(len(first_QC)), pick_SQ] for pick_SQ in picks)
                    same_SQ = (own_SQ == reworded_SQ).astype(np.float64)
                    sheet.add("agreement", estimate(drawn.means(same_SQ)), method=method, size=size)
        result += sheet.rows
    return result
