"""The controls of a curve: accuracies without the question, and what reading the question adds to each method."""

import numpy as np
import pandas as pd

from likra.data.controls import BLIND, CONTROLS
from likra.lab.report.text import Table, pivot, points, share
from likra.lab.runner.outcome import METHODS, Outcome, credits
from likra.lab.runner.results import Sheet, each, pick
from likra.lab.runner.task import NEGATIVE, POSITIVE
from likra.scoring.likelihoods import BASE, Floats
from likra.scoring.scores import METHOD_TITLES
from likra.scoring.shallow import shallow_scores

#: The control that reads the answers alone, beside those of `likra.data.controls`.
SHALLOW = "shallow"
CONTROL_TITLES = {BLIND: "blind", "shuffled": "shuffled", SHALLOW: "shallow"}
_TITLES = {
    **{f"{method}, {test}": f"{title}, {test}" for method, title in METHOD_TITLES.items() for test in CONTROLS},
    SHALLOW: "shallow",
}


def add_controls(outcome: Outcome, sheet: Sheet, size: int, own: dict[str, Floats]) -> None:
    """Add the controls of one size, where the task's prompts allow them, and each method's reading gain.

    Args:
        outcome: The heads.
        sheet: Where rows are added: `control` (the accuracy of a method judged so), and `reading_gain` (its accuracy
            less its blind accuracy).
        size: Training questions.
        own: method -> means [1 + R] of its accuracy, of the questions as they are (`Resampled.means`).
    """
    drawn = outcome.drawn
    for test in filter(outcome.task.has, CONTROLS):
        for method in METHODS:
            credit_SQ = outcome.credit(method, size, test=test)
            mean_R = drawn.means(credit_SQ)
            sheet.add("control", mean_R, test=test, method=method, size=size, count=credit_SQ.shape[1])
            if test == BLIND:
                sheet.add("reading_gain", own[method] - mean_R, method=method, size=size)
    add_shallow(outcome, sheet, size)


def add_shallow(outcome: Outcome, sheet: Sheet, size: int) -> None:
    """Add the accuracy of the classifier that reads the answers alone, at one size; nothing at 0."""
    if size:
        seeds = outcome.plan.seeds
        table = outcome.table(BASE, seeds[0], size)
        scores_SQC = np.stack([_shallow(outcome, size, seed) for seed in seeds])
        credit_SQ = credits(scores_SQC, table)
        mean_R, count = outcome.drawn.means(credit_SQ), credit_SQ.shape[1]
        sheet.add("control", mean_R, test=SHALLOW, method=SHALLOW, size=size, count=count)


def _shallow(outcome: Outcome, size: int, seed: int) -> Floats:
    """Scores [Q, C] by a classifier of the very answers that a seed's heads learn from."""
    plan, task = outcome.plan, outcome.task
    right, wrong = (task.answers(head, plan.sizes, size, seed, stacked=plan.stacked) for head in (POSITIVE, NEGATIVE))
    return shallow_scores(right, wrong, task.test())


def control_tables(rows: pd.DataFrame) -> list[Table]:
    """The accuracies of the controls, and the reading gains."""
    found = pick(rows, quantity="control")
    named = found.assign(
        method=[row["test"] if row["test"] == SHALLOW else f"{row['method']}, {row['test']}" for row in each(found)]
    )
    gains = pick(rows, quantity="reading_gain")
    tables = []
    if not found.empty:
        tables.append(pivot(named, "controls: accuracy in percent, 95% interval", "method", _TITLES, share))
    if not gains.empty:
        caption = "reading gain: accuracy minus blind accuracy, in points, 95% interval"
        tables.append(pivot(gains, caption, "method", METHOD_TITLES, points))
    return tables
