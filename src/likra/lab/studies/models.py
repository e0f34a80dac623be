"""Table 1: several base models and benchmarks, after the largest number of training questions."""

import pandas as pd

from likra.data.controls import CONTROLS
from likra.lab.report import canvas
from likra.lab.report.text import Section, accuracies, p_value, points, short
from likra.lab.rival import credits_of, jobs_of
from likra.lab.runner.jobs import Job
from likra.lab.runner.options import OPTIONS_TITLES, options_credits, options_jobs
from likra.lab.runner.outcome import METHODS, Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, pick
from likra.lab.runner.task import Task
from likra.lab.studies._controls import add_controls, control_tables
from likra.lab.study import Study, pairs_of, study
from likra.scoring.bootstrap import paired_p_value
from likra.scoring.scores import METHOD_TITLES

_TITLES = {**METHOD_TITLES, "pmi": "PMI"}


@study("models")
class Models(Study):
    about = "Table 1: several base models, several benchmarks."
    title = "Base models and benchmarks"
    tests = ("own", *CONTROLS)

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        return [plan.pair(task), *options_jobs(plan, task), jobs_of(plan, task, "pmi")]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        drawn, size = outcome.drawn, outcome.plan.sizes[-1]
        credits = {method: outcome.credit(method, size) for method in METHODS}
        credits |= options_credits(outcome, size) | credits_of(outcome, "pmi")
        means = {method: drawn.means(credit_SQ) for method, credit_SQ in credits.items()}
        for method in credits:
            count = credits[method].shape[1]
            sheet.add("accuracy", means[method], method=method, size=size, count=count)
            sheet.add_seeds("accuracy", credits[method], outcome.plan.seeds, method=method, size=size)
        add_controls(outcome, sheet, size, means)
        for method, other in (("sft", "base"), ("likra", "sft"), ("likra", "pmi")):
            if other not in credits:
                continue  # data without prompts, from which nothing can be divided out
            p = paired_p_value(credits[method], credits[other])
            difference = means[method] - means[other]
            sheet.add("difference", difference, method=f"{method}-{other}", size=size, p=p)

    def figures(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy", seed=-1)
        pairs = pairs_of(found)
        figure, axes = canvas.blank(max(6.0, 1.6 * len(pairs) + 2), 4.2)
        for shift, (method, title) in enumerate(METHOD_TITLES.items()):
            for place, (model, data) in enumerate(pairs):
                row = pick(found, model=model, data=data, method=method)
                axes.errorbar(
                    [place + 0.16 * (shift - 1.5)],
                    row["value"].tolist(),
                    yerr=canvas.arms(row),
                    fmt=canvas.MARKERS[method] or "_",
                    color=canvas.COLOURS[method],
                    ms=7,
                    capsize=4,
                    label=title if place == 0 else None,
                )
        axes.set_xticks(range(len(pairs)), [f"{short(model)}\n{short(data)}" for model, data in pairs], fontsize=11)
        axes.set_xlabel("base model and source")
        canvas.accuracy_axis(axes, found)
        canvas.legend_below(figure, axes, ncols=4)
        return [canvas.drawn("models", f"Accuracy after {canvas.sizes_of(found)[-1]} training questions", figure)]

    def say(self, rows: pd.DataFrame) -> Section:
        sentences = []
        for row in each(pick(rows, quantity="difference")):
            first, _, other = row["method"].partition("-")
            titles = f"{_TITLES[first]} minus {_TITLES[other]}"
            sentences.append(f"{titles}: {points(row)} points, {p_value(row)}.")
        return Section(sentences, [accuracies(rows, _TITLES | OPTIONS_TITLES), *control_tables(rows)])
