"""Figures 2 and 6: log-likelihood of right and wrong answers under each head, as training goes on."""

import numpy as np

from likra.judge.bootstrap import estimate
from likra.likelihood.table import Floats
from likra.study.cells import Cell, Store
from likra.study.outcome import Outcome
from likra.study.plan import NEGATIVE, Plan
from likra.study.results import Row, Sheet
from likra.study.task import POSITIVE

TITLE = "Likelihoods of right and wrong answers"
TESTS: tuple[str, ...] = ("own",)


def cells(plan: Plan) -> list[Cell]:
    return [cell for task in plan.tasks for cell in plan.both(task).values()]


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("likelihoods", task)
        drawn = outcome.resampled()
        answers_Q = np.array([question.answer for question in task.test()])
        for head in (POSITIVE, NEGATIVE):
            first: dict[str, Floats] = {}
            for size in plan.sizes:
                logprob_SQC = outcome.logprobs(head, size)
                right_QC = np.arange(logprob_SQC.shape[2]) == answers_Q[:, None]
                right_SQ = np.nansum(np.where(right_QC, logprob_SQC, 0.0), axis=2)
                wrong_SQ = np.nanmean(np.where(right_QC, np.nan, logprob_SQC), axis=2)
                means = {"right": drawn.means(right_SQ), "wrong": drawn.means(wrong_SQ)}
                first = first or means
                for part, mean_R in means.items():
                    sheet.add("logprob", estimate(mean_R), method=head, part=part, size=size)
                    sheet.add("change", estimate(mean_R - first[part]), method=head, part=part, size=size)
                gap_R = means["right"] - means["wrong"]
                sheet.add("gap", estimate(gap_R), method=head, size=size)
                moved_R = gap_R - (first["right"] - first["wrong"])
                sheet.add("gap_change", estimate(moved_R), method=head, size=size)
        result += sheet.rows
    return result
