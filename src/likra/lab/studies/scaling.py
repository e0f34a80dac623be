"""Accuracy gained per unit of extra compute over a ladder of base models, against simply taking a larger base."""

import dataclasses
import math

import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import Section, accuracies, points, slug
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Store
from likra.lab.runner.outcome import METHODS, Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, joined, pick
from likra.lab.study import Study, study
from likra.scoring.likelihoods import Floats
from likra.scoring.scores import METHOD_TITLES

#: Readings of each question that a method needs.
READINGS = {"base": 1, "sft": 1, "base_likra": 2, "likra": 2}

_TITLES = {
    "likra-sft": "holding SFT against a negative head",
    "base_likra-base": "holding the base against a negative head",
    "larger base": "the next larger base (from the one before)",
    "larger sft": "SFT on the next larger base (from the one before)",
}
#: Method -> its compute per question, and its accuracy, [1 + R].
_Step = dict[str, tuple[float, Floats]]


@study("scaling")
class Scaling(Study):
    about = "Accuracy gained per unit of extra compute over a ladder of models, against taking a larger base."
    title = "Compute"

    def rows(self, plan: Plan, store: Store) -> pd.DataFrame:
        """The results of all tasks: each is compared with the next smaller model on the same data."""
        outcomes = [Outcome(plan, store, task, self.by_seed(plan, task)) for task in plan.tasks]
        costs = {id(outcome): Cost.load(outcome.folders[0][0]).flops for outcome in outcomes}
        sheets, before, last = [], dict[str, tuple[float, Floats]](), ""
        for outcome in sorted(outcomes, key=lambda outcome: (outcome.task.data, costs[id(outcome)])):
            sheet = Sheet(self.name, outcome.task)
            before = _compare(outcome, costs[id(outcome)], before if outcome.task.data == last else {}, sheet)
            last = outcome.task.data
            sheets.append(sheet.table())
        return joined(sheets, [self.name])

    def figures(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        """One figure per source, all models in it."""
        return [
            dataclasses.replace(drawn, name=f"{drawn.name}-{slug(data)}")
            for data in rows["data"].drop_duplicates()
            for drawn in self.draw(pick(rows, data=data))
        ]

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy")
        figure, axes = canvas.blank()
        for method in METHODS:
            some = pick(found, method=method).sort_values("at", kind="stable")
            canvas.method_line(axes, [at / 1e6 for at in some["at"]], some, method)
        axes.set_xscale("log")
        axes.set_xlabel("compute per question (million operations)")
        canvas.accuracy_axis(axes, found)
        canvas.legend(axes)
        last = canvas.sizes_of(found)[-1]
        caption = f"Accuracy against the compute of judging, one point per base model, after {last} training questions"
        return [canvas.drawn("scaling", caption, figure, note=f"Likra reads each question twice. {canvas.BANDS}")]

    def say(self, rows: pd.DataFrame) -> Section:
        sentences = [
            f"{_TITLES[row['method']]} gains {points(row)} points per doubling of the compute of judging."
            for row in each(pick(rows, quantity="per_doubling"))
        ]
        return Section(sentences, [accuracies(rows, METHOD_TITLES)])


def _compare(outcome: Outcome, flops: float, before: _Step, sheet: Sheet) -> _Step:
    """Add one model's results, compared with those of the model before it; returns its compute and accuracies."""
    size = outcome.plan.sizes[-1]
    now: _Step = {}
    for method in METHODS:
        mean_R = outcome.means(method, size)
        now[method] = READINGS[method] * flops, mean_R
        sheet.add("accuracy", mean_R, method=method, size=size, at=now[method][0])
    for method, other in (("likra", "sft"), ("base_likra", "base")):
        # Twice the compute is one doubling.
        gained_R = now[method][1] - now[other][1]
        sheet.add("per_doubling", gained_R, method=f"{method}-{other}", size=size, at=now[other][0])
    for method in ("base", "sft"):
        if method in before and now[method][0] > before[method][0]:
            doublings = math.log2(now[method][0] / before[method][0])
            gained_R = (now[method][1] - before[method][1]) / doublings
            at = before[method][0]
            sheet.add("per_doubling", gained_R, method=f"larger {method}", size=size, at=at)
    return now
