"""Figure 5: kinds of negatives."""

import dataclasses
from typing import Annotated

import pandas as pd
import typer

from likra.lab.report import canvas
from likra.lab.report.text import KIND_TITLES, QUESTIONS, Section, p_value, pivot, points, share
from likra.lab.runner.jobs import Job
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, pick
from likra.lab.runner.task import NEGATIVE, Task
from likra.lab.study import Study, study, with_options
from likra.lab.world import WORLD
from likra.scoring.bootstrap import paired_p_value

KINDS = tuple(KIND_TITLES)
_COLOURS = (canvas.RED, canvas.ORANGE, canvas.GREEN, canvas.PINK, canvas.SKY)


@study("negatives")
class Negatives(Study):
    about = "Figure 5: incorrect, irrelevant, unrelated, all, and mined negatives."
    title = "Kinds of negatives"

    def configure(
        self,
        plan: Plan,
        *,
        kinds: Annotated[str, typer.Option(help="Kinds to compare, separated by commas.")] = ",".join(KINDS),
        unrelated_data: Annotated[
            str | None,
            typer.Option(metavar="SOURCE", help="Where `unrelated` ones come from. [default: an embedded one]"),
        ] = None,
    ) -> Plan:
        def asked(task: Task) -> Task:
            return dataclasses.replace(
                task, unrelated=unrelated_data or ("world-unrelated" if task.data == WORLD else WORLD)
            )

        named = tuple(kind.strip() for kind in kinds.split(","))
        return with_options(plan, [asked(task) for task in plan.tasks], kinds=named)

    def check(self, plan: Plan, task: Task) -> None:
        for kind in self._kinds(plan):
            task.check_kind(kind)

    def facts(self, plan: Plan, task: Task) -> str:
        return f"kinds {', '.join(self._kinds(plan))}; unrelated ones from {task.unrelated}"

    def _kinds(self, plan: Plan) -> tuple[str, ...]:
        return tuple(plan.options.get("kinds", KINDS))

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        # The study of distractors asks irrelevant negatives about random distractors, and shares those jobs.
        others = [
            plan.heads(task, (kind,), ("own", "random") if kind == "irrelevant" else ("own",))
            for kind in self._kinds(plan)
            if kind != NEGATIVE
        ]
        return [plan.pair(task), *others]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        drawn = outcome.drawn
        for size in outcome.plan.sizes:
            sft_SQ = outcome.credit("sft", size)
            sheet.add("accuracy", drawn.means(sft_SQ), method="sft", size=size)
            own_SQ = outcome.credit("likra", size)
            for kind in self._kinds(outcome.plan):
                labels = {"negatives": kind, "size": size}
                credit_SQ = outcome.credit("likra", size, negatives=kind)
                means_R = drawn.means(credit_SQ)
                sheet.add("accuracy", means_R, method="likra", **labels)
                gain, p = means_R - drawn.means(sft_SQ), paired_p_value(credit_SQ, sft_SQ)
                sheet.add("difference", gain, method="likra-sft", p=p, **labels)
                if kind != NEGATIVE:
                    lead, p = drawn.means(own_SQ) - means_R, paired_p_value(own_SQ, credit_SQ)
                    sheet.add("difference", lead, method="incorrect-other", p=p, **labels)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy")
        figure, axes = canvas.blank(6.4, 4.2)
        at = canvas.size_axis(axes, canvas.sizes_of(found))
        kinds = [kind for kind in KIND_TITLES if kind in set(found["negatives"])]
        for kind, colour, marker in zip(kinds, _COLOURS, canvas.CYCLE_MARKERS, strict=False):
            some = canvas.by_size(found, negatives=kind)
            canvas.line(axes, at, some, label=KIND_TITLES[kind], colour=colour, marker=marker)
        canvas.method_line(axes, at, canvas.by_size(found, method="sft"), "sft", label="no negatives (SFT)")
        canvas.accuracy_axis(axes, found)
        canvas.legend_below(figure, axes)
        return [canvas.drawn("negatives", "Likra with each kind of negatives", figure, rows)]

    def say(self, rows: pd.DataFrame) -> Section:
        found = pick(rows, quantity="accuracy", method="likra")
        table = pivot(found, "accuracy of Likra in percent, 95% interval", "negatives", KIND_TITLES, share)
        last = rows["size"].max()
        sentences = [
            f"after {last} {QUESTIONS}, {row['negatives']} negatives are {points(row)} points from SFT, {p_value(row)}."
            for row in each(pick(rows, quantity="difference", method="likra-sft", size=last))
        ]
        return Section(sentences, [table])
