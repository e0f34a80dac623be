"""Section 3: whether more epochs help, at the same number of training questions."""

import dataclasses
from typing import Annotated

import pandas as pd
import typer

from likra.errors import InputError
from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, Table, p_value, points, share
from likra.lab.runner.jobs import Job, Store
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, joined, pick
from likra.lab.runner.task import Task
from likra.lab.study import Study, study, with_options
from likra.scoring.bootstrap import paired_p_value
from likra.scoring.scores import METHOD_TITLES

_WORK = "likra.lab.studies.epochs.training"
EPOCHS = (1, 2, 3, 5)
LEARNING = ("sft", "base_likra", "likra")


@study("epochs")
class Epochs(Study):
    about = "Section 3: SFT, Base-Likra, Likra after one and after more epochs of the same training questions."
    title = "More epochs"

    def configure(
        self,
        plan: Plan,
        *,
        epochs: Annotated[
            str, typer.Option(help="Numbers of epochs, separated by commas; 1, which all are compared with, is added.")
        ] = ",".join(map(str, EPOCHS)),
        questions: Annotated[
            str | None,
            typer.Option(
                help="Numbers of training questions, separated by commas. [default: the largest of --sizes]",
            ),
        ] = None,
    ) -> Plan:
        plan = with_options(plan, epochs=tuple(sorted({1, *_numbers("--epochs", epochs)})))
        if questions is not None:
            plan = with_options(plan, questions=tuple(sorted(_numbers("--questions", questions))))
        return plan

    def check(self, plan: Plan, task: Task) -> None:
        for questions in self._questions(plan):
            task.drawn(questions, plan.seeds[0])

    def training(self, plan: Plan) -> str:
        epochs, questions = (", ".join(map(str, some)) for some in (self._epochs(plan), self._questions(plan)))
        rate = f"learning rate {plan.config.learning_rate:g}"
        return f"{rate}, {epochs} epochs of {questions} training questions, shuffled anew for each epoch"

    def _epochs(self, plan: Plan) -> tuple[int, ...]:
        return tuple(plan.options.get("epochs", EPOCHS))

    def _questions(self, plan: Plan) -> tuple[int, ...]:
        return tuple(plan.options.get("questions", plan.sizes[-1:]))

    def _pair(self, plan: Plan, task: Task, questions: int) -> dict[int, Job]:
        """seed -> the job that trains on so many questions."""
        epochs = list(self._epochs(plan))
        return dataclasses.replace(plan, sizes=(questions,)).own_pair(self.name, _WORK, task, epochs=epochs)

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        return [self._pair(plan, task, questions) for questions in self._questions(plan)]

    def rows(self, plan: Plan, store: Store) -> pd.DataFrame:
        """The results of all tasks; a job's tables are told apart by epochs, in the place of sizes."""
        sheets = [Sheet(self.name, task) for task in plan.tasks]
        for task, sheet in zip(plan.tasks, sheets, strict=True):
            for questions in self._questions(plan):
                outcome = Outcome(plan, store, task, [self._pair(plan, task, questions)])
                _add_epochs(outcome, sheet, questions, self._epochs(plan))
        return joined([sheet.table() for sheet in sheets], [self.name])

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy", seed=-1)
        sizes = canvas.sizes_of(found)
        figure, several = canvas.blank(3.2 * len(sizes) + 2.4, 4.2, columns=len(sizes), sharey=True)
        for axes, size in zip([several] if len(sizes) == 1 else several, sizes, strict=True):
            epochs = sorted(set(pick(found, method="likra", size=size)["at"]))
            for method in ("base", *LEARNING):
                some = pick(found, method=method, size=size).sort_values("at", kind="stable")
                canvas.method_line(axes, some["at"].tolist(), some, method)
            axes.set_xticks(epochs, [f"{number:.0f}" for number in epochs])
            axes.set_xlabel("epochs")
            axes.set_title(f"{size} {QUESTIONS}", fontsize=13)
        first = several if len(sizes) == 1 else several[0]
        canvas.accuracy_axis(first, found)
        canvas.legend_below(figure, first, ncols=4)
        return [canvas.drawn("epochs", "Accuracy after one and after more epochs", figure, rows)]

    def say(self, rows: pd.DataFrame) -> Section:
        gained = pick(rows, quantity="difference")
        sentences = [
            f"{row['at']:.0f} epochs of {row['size']} {QUESTIONS} change {METHOD_TITLES[row['method']]} by "
            f"{points(row)} points from one epoch, {p_value(row)}."
            for row in each(gained[gained["at"] == gained["at"].max()])
        ]
        return Section(sentences, [_table(pick(rows, size=size, seed=-1), size) for size in canvas.sizes_of(rows)])


def _numbers(name: str, text: str) -> set[int]:
    try:
        numbers = {int(part) for part in text.split(",")}
    except ValueError:
        numbers = {0}
    if min(numbers) < 1:
        raise InputError(f"{name} {text}: give whole numbers from 1, separated by commas.")
    return numbers


def _add_epochs(outcome: Outcome, sheet: Sheet, questions: int, epochs: tuple[int, ...]) -> None:
    """Add the accuracies after each number of epochs, `at`, and what differs from one epoch."""
    seeds, drawn = outcome.plan.seeds, outcome.drawn
    for method in ("base", *LEARNING):
        once_SQ = outcome.credit(method, epochs[0])
        for number in epochs:
            credit_SQ = outcome.credit(method, number)
            labels = {"method": method, "size": questions, "at": float(number)}
            sheet.add("accuracy", drawn.means(credit_SQ), count=credit_SQ.shape[1], **labels)
            if method != "base":
                sheet.add_seeds("accuracy", credit_SQ, seeds, **labels)
                if number > epochs[0]:
                    gain_R, p = drawn.means(credit_SQ) - drawn.means(once_SQ), paired_p_value(credit_SQ, once_SQ)
                    sheet.add("difference", gain_R, p=p, **labels)


def _table(rows: pd.DataFrame, size: int) -> Table:
    """One line per number of epochs: each method's accuracy, and what it differs by from one epoch."""
    methods = ("base", *LEARNING)
    body = []
    for number in sorted(set(rows["at"])):
        cells = []
        for method in methods:
            own = pick(rows, method=method, at=number)
            gained = [f"; {points(row)}" for row in each(pick(own, quantity="difference"))]
            cells.append(share(each(pick(own, quantity="accuracy"))[0]) + "".join(gained))
        body.append([f"{number:.0f}", *cells])
    caption = f"accuracy in percent after {size} {QUESTIONS}, 95% interval; difference to one epoch in points"
    return Table(caption, ["epochs", *(METHOD_TITLES[method] for method in methods)], body)
