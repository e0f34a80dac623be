"""Whether the ratio leans on surface words: the same questions with every choice in other words."""

import dataclasses
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, TEST_TITLES, Section, accuracies, points, share
from likra.lab.runner.outcome import METHODS, Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, one, pick
from likra.lab.runner.task import Task
from likra.lab.study import Study, study, with_options
from likra.lab.world import WORLD
from likra.scoring.likelihoods import BASE
from likra.scoring.scores import METHOD_TITLES

SHOWN = ("base", "sft", "likra")


@study("paraphrase")
class Paraphrase(Study):
    about = "Whether the ratio leans on surface words: test answers reworded."
    title = "Answers in other words"
    tests = ("own", "reworded")

    def configure(
        self,
        plan: Plan,
        *,
        reworded: Annotated[
            str | None,
            typer.Option(
                metavar="SOURCE",
                help="The test questions with every choice in other words, by the same ids. "
                "[default for world: world-reworded]",
            ),
        ] = None,
    ) -> Plan:
        def asked(task: Task) -> Task:
            return dataclasses.replace(task, reworded=reworded or ("world-reworded" if task.data == WORLD else None))

        return with_options(plan, [asked(task) for task in plan.tasks])

    def facts(self, plan: Plan, task: Task) -> str:
        return f"reworded by {task.reworded}"

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        drawn = outcome.drawn
        for size in outcome.plan.sizes:
            for method in METHODS:
                means = {test: outcome.means(method, size, test=test) for test in self.tests}
                for test, mean_R in means.items():
                    sheet.add("accuracy", mean_R, method=method, test=test, size=size)
                moved = means["reworded"] - means["own"]
                sheet.add("difference", moved, method=method, test="reworded-own", size=size)
                # An untrained ratio is a tie of all choices: it picks none.
                if size > 0 or method in ("base", "sft"):
                    picks = [np.nanargmax(outcome.scores(method, size, test=test), axis=2) for test in self.tests]
                    # A choice whose text stands in two places may have other words in each.
                    first_QC = outcome.table(BASE, outcome.plan.seeds[0], size).distinct_QC
                    own_SQ, reworded_SQ = (first_QC[np.arange(len(first_QC)), pick_SQ] for pick_SQ in picks)
                    same_SQ = (own_SQ == reworded_SQ).astype(np.float64)
                    sheet.add("agreement", drawn.means(same_SQ), method=method, size=size)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy")
        figure, axes = canvas.blank()
        at = canvas.size_axis(axes, canvas.sizes_of(found))
        for method in SHOWN:
            title, colour = METHOD_TITLES[method], canvas.COLOURS[method]
            canvas.line(axes, at, canvas.by_size(found, method=method, test="own"), label=title, colour=colour)
            some = canvas.by_size(found, method=method, test="reworded")
            canvas.line(axes, at, some, label=f"{title}, reworded", colour=colour, marker="x", linestyle=":")
        canvas.accuracy_axis(axes, found)
        canvas.legend_below(figure, axes, ncols=3)
        return [canvas.drawn("paraphrase", "The same questions, answers in other words", figure, rows)]

    def say(self, rows: pd.DataFrame) -> Section:
        last, sentences = rows["size"].max(), []
        for method in SHOWN:
            moved, same = (one(rows, quantity=name, method=method, size=last) for name in ("difference", "agreement"))
            sentences.append(
                f"in other words, {METHOD_TITLES[method]} changes by {points(moved)} points "
                f"(after {last} {QUESTIONS}); it picks the same answer for {share(same)} percent of the questions."
            )
        tables = [accuracies(pick(rows, test=test), METHOD_TITLES) for test in self.tests]
        named = [
            dataclasses.replace(table, caption=f"{table.caption}; {TEST_TITLES[test]}")
            for test, table in zip(self.tests, tables, strict=True)
        ]
        return Section(sentences, named)
