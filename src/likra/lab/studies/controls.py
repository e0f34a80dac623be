"""Whether heads read the question, in training and in judging, and whether what they learned holds on other sources."""

import dataclasses
from typing import Annotated

import pandas as pd
import typer

from likra.data.controls import BLIND, CONTROLS
from likra.errors import InputError
from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, Table, pivot, points, share
from likra.lab.runner.jobs import Job, Store
from likra.lab.runner.outcome import METHODS, Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, joined, one, pick
from likra.lab.runner.task import Task
from likra.lab.studies._controls import CONTROL_TITLES, SHALLOW, add_shallow
from likra.lab.studies._transfer import add_transfer, by_model, cells_table, judged_by, matrix, said_of, unseen
from likra.lab.study import Study, study, with_options
from likra.scoring.scores import METHOD_TITLES

#: How heads were trained -> its title.
TRAINED = {"usual": "trained with the question", BLIND: "trained blind"}
#: Test set -> how its questions are asked.
_ASKED = {"own": "own question", BLIND: "no question", "shuffled": "another question"}
_LEARNED = ("sft", "base_likra", "likra")
_STYLES = {"own": "-", BLIND: "--", "shuffled": ":"}


@study("controls")
class Controls(Study):
    about = "Heads judged and trained without the question, and judged on other sources than their own (--to)."
    title = "Controls and transfer"
    tests = ("own", *CONTROLS)

    def configure(
        self,
        plan: Plan,
        *,
        to: Annotated[
            list[str] | None,
            typer.Option(
                "--to",
                metavar="SOURCE",
                help="Judge on this source too, and judge heads that are trained on it on all others; may be given "
                "again. Several --data are judged on each other without it.",
            ),
        ] = None,
    ) -> Plan:
        sources = dict.fromkeys([*(task.data for task in plan.tasks), *(to or ())])
        others = [tuple(source for source in sources if source != task.data) for task in plan.tasks]
        return with_options(
            plan, [dataclasses.replace(task, to=to) for task, to in zip(plan.tasks, others, strict=True)]
        )

    def tests_of(self, task: Task) -> tuple[str, ...]:
        return (*self.tests, *task.elsewhere)

    def check(self, plan: Plan, task: Task) -> None:
        task.prompter_of(BLIND)
        for trained in (task, *_beside(plan, task)):
            trained.drawn(plan.sizes[-1], plan.seeds[0])
            for judged in judged_by(trained):
                if not unseen(plan, trained, judged).any():
                    raise InputError(
                        f"{judged.data}: each of its {len(judged.test())} test questions is one that heads learn from "
                        f"{trained.data}, so nothing is left to judge them on; leave out one of the two sources."
                    )

    def facts(self, plan: Plan, task: Task) -> str:
        also = f"judged on {', '.join(task.to)} too; " if task.to else ""
        return f"{also}test questions that heads learned are left out of what they are judged on in the matrix"

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        beside = [_alone(plan, other).pair(other) for other in _beside(plan, task)]
        return [plan.pair(task), _blind_pair(plan, task), *beside]

    def rows(self, plan: Plan, store: Store) -> pd.DataFrame:
        """The results of all tasks, and of heads that are trained on sources of `Task.to` alone."""
        sheets: dict[tuple[str, str], pd.DataFrame] = {}
        for task in plan.tasks:
            sheet, outcome = Sheet(self.name, task), Outcome(plan, store, task, [plan.pair(task)])
            blind = Outcome(plan, store, task, [_blind_pair(plan, task)])
            for size in plan.sizes:
                _add_size(outcome, blind, sheet, size)
            add_transfer(outcome, sheet)
            sheets[task.model, task.data] = sheet.table()
            for other in _beside(plan, task):
                if (other.model, other.data) not in sheets:
                    sheet, alone = Sheet(self.name, other), _alone(plan, other)
                    add_transfer(Outcome(alone, store, other, [alone.pair(other)]), sheet)
                    sheets[other.model, other.data] = sheet.table()
        return joined(list(sheets.values()), [self.name])

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy")
        if found.empty:
            return []  # heads that were trained for the matrix alone
        shallow = canvas.by_size(rows, quantity="control", test=SHALLOW)
        base = canvas.by_size(found, method="base", test="own")
        figure, both = canvas.blank(7.6, 4.4, columns=2, sharey=True)
        for axes, (trained, title) in zip(both, TRAINED.items(), strict=True):
            sizes = canvas.sizes_of(found)
            at = canvas.size_axis(axes, sizes, QUESTIONS)
            for test, style in _STYLES.items():
                some = canvas.by_size(found, method="likra", part=trained, test=test)
                label = f"{METHOD_TITLES['likra']}, {_ASKED[test]}"
                canvas.method_line(axes, at, some, "likra", label=label, linestyle=style)
            canvas.method_line(axes, at, base, "base")
            places = [sizes.index(size) for size in shallow["size"]]
            canvas.line(axes, places, shallow, label="answers alone (shallow)", colour=canvas.GREEN, marker="x")
            axes.set_title(title, fontsize=13)
        canvas.accuracy_axis(both[0], pd.concat([found, shallow]))
        canvas.legend_below(figure, both[0])
        return [canvas.drawn("controls", "Likra with and without the question", figure, rows)]

    def figures(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        return [*super().figures(rows), *filter(None, (matrix(some) for some in by_model(rows)))]

    def say(self, rows: pd.DataFrame) -> Section:
        found, cells = pick(rows, quantity="accuracy"), pick(rows, quantity="transfer", test="own", method="likra")
        sentences, tables = [], []
        if not found.empty:
            last = found["size"].max()
            for trained, title in TRAINED.items():
                likra = pick(found, part=trained, method="likra", size=last)
                asked = ", ".join(f"{share(one(likra, test=test))} with {how}" for test, how in _ASKED.items())
                gain = one(rows, quantity="reading_gain", part=trained, method="likra", size=last)
                sentences.append(
                    f"Likra {title} on {last} {QUESTIONS} reaches {asked}, in percent; reading the question gains "
                    f"{points(gain)} points."
                )
            tables = [*_accuracies(found), *_gains(rows)]
        return Section([*sentences, *(said_of(rows, cell) for cell in each(cells))], tables)

    def section(self, rows: pd.DataFrame) -> Section:
        result = super().section(rows)
        result.tables.extend(cells_table(some) for some in by_model(rows))
        return result


def _beside(plan: Plan, task: Task) -> list[Task]:
    """The tasks of sources that a task's heads are judged on and that are not studied themselves."""
    same = [other for other in plan.tasks if other.model == task.model]
    sources = sorted({source for other in same for source in (other.data, *other.to)})
    studied = {other.data for other in same}
    return [
        dataclasses.replace(task, data=source, to=tuple(other for other in sources if other != source), reworded=None)
        for source in dict.fromkeys(task.to)
        if source not in studied
    ]


def _alone(plan: Plan, other: Task) -> Plan:
    """The plan by which heads are trained for the matrix alone: judged once, when they have learned everything."""
    tests = tuple(test for test in ("own", BLIND, *other.elsewhere) if plan.dry or other.has(test))
    return dataclasses.replace(plan, tasks=(other,), sizes=plan.sizes[-1:], tests=((other, tests),))


def _blind_pair(plan: Plan, task: Task) -> dict[int, Job]:
    """seed -> the job that trains heads on the same answers without their questions."""
    blind = dataclasses.replace(task, blind=True, to=())
    return dataclasses.replace(plan, tests=((blind, Controls.tests),)).pair(blind)


def _add_size(outcome: Outcome, blind: Outcome, sheet: Sheet, size: int) -> None:
    """Add the accuracies of one size, by how heads were trained and how they are asked, and what reading gains."""
    for trained, found in zip(TRAINED, (outcome, blind), strict=True):
        for method in METHODS if trained == "usual" else _LEARNED:
            labels = {"part": trained, "method": method, "size": size}
            means = {test: outcome.drawn.means(found.credit(method, size, test=test)) for test in Controls.tests}
            for test, mean_R in means.items():
                sheet.add("accuracy", mean_R, test=test, count=len(outcome.task.test()), **labels)
            sheet.add("reading_gain", means["own"] - means[BLIND], **labels)
    add_shallow(outcome, sheet, size)


def _accuracies(found: pd.DataFrame) -> list[Table]:
    """By size: each method as it is asked, one table for each way of training."""
    titles = {
        f"{method}, {test}": METHOD_TITLES[method] + ("" if test == "own" else f", {CONTROL_TITLES[test]}")
        for method in METHODS
        for test in Controls.tests
    }
    named = found.assign(method=[f"{row['method']}, {row['test']}" for row in each(found)])
    return [
        pivot(pick(named, part=part), f"accuracy in percent, 95% interval; heads {title}", "method", titles, share)
        for part, title in TRAINED.items()
    ]


def _gains(rows: pd.DataFrame) -> list[Table]:
    """By size: what reading gains each method, and the classifier that reads the answers alone."""
    gains = pick(rows, quantity="reading_gain")
    caption = "reading gain: accuracy minus blind accuracy, in points, 95% interval"
    tables = [
        pivot(pick(gains, part=part), f"{caption}; heads {title}", "method", METHOD_TITLES, points)
        for part, title in TRAINED.items()
    ]
    shallow = pick(rows, quantity="control", test=SHALLOW)
    return [*tables, pivot(shallow, "answers alone: accuracy in percent", "test", {SHALLOW: "shallow"}, share)]
