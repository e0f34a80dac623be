"""Figures 2 and 6: log-likelihood of right and wrong answers under each head, as training goes on."""

import numpy as np

from likra.judge.bootstrap import Resampled, estimate
from likra.likelihood.table import BASE, Floats, Ints
from likra.study.cells import Store
from likra.study.outcome import Outcome
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet
from likra.study.task import NEGATIVE, POSITIVE

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "Likelihoods of right and wrong answers"
TESTS: tuple[str, ...] = ("own",)


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("likelihoods", task)
        drawn = outcome.resampled()
        for size in plan.sizes:
            table = outcome.table(BASE, plan.seeds[0], size)
            before = _right_and_wrong(table.once(outcome.logprobs(BASE, size)), table.answers_Q, drawn)
            for head in (POSITIVE, NEGATIVE):
                means = _right_and_wrong(table.once(outcome.logprobs(head, size)), table.answers_Q, drawn)
                change = {part: means[part] - before[part] for part in means}
                for part, mean_R in means.items():
                    sheet.add("logprob", estimate(mean_R), method=head, part=part, size=size)
                    sheet.add("change", estimate(change[part]), method=head, part=part, size=size)
                apart_R = change["right"] - change["wrong"]
                sheet.add("gap", estimate(means["right"] - means["wrong"]), method=head, size=size)
                sheet.add("gap_change", estimate(apart_R), method=head, size=size)
                # What they come apart by, beyond half of what right answers gain.
                sheet.add("gap_excess", estimate(apart_R - change["right"] / 2), method=head, size=size)
        result += sheet.rows
    return result


def _right_and_wrong(logprob_SQC: Floats, answers_Q: Ints, drawn: Resampled) -> dict[str, Floats]:
    """Mean log-likelihood of right and of wrong answers, [1 + R] each."""
    right_QC = np.arange(logprob_SQC.shape[2]) == answers_Q[:, None]
    right_SQ = np.nansum(np.where(right_QC, logprob_SQC, 0.0), axis=2)
    wrong_SQ = np.nanmean(np.where(right_QC, np.nan, logprob_SQC), axis=2)
    return {"right": drawn.means(right_SQ), "wrong": drawn.means(wrong_SQ)}
