"""A study: what it needs, its jobs, and what it makes of their results. Each is one module of `likra.lab.studies`."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from likra.lab.registry import Registry
from likra.lab.report.text import Section, Table, name_of, slug
from likra.lab.runner.jobs import Job, Store
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, joined, pick
from likra.lab.runner.task import Task

if TYPE_CHECKING:
    from likra.lab.report.canvas import Drawn


class Study:
    """One study. A subclass gives it a name by `@study("name")`, and says at least what it measures.

    Its module is read whenever studies are listed, so it loads no torch: the work of jobs lies in modules of its own.

    Attributes:
        name: Its name on the command line and in results.
        about: What it shows, in a sentence or two.
        title: Its heading in a report.
        tests: The test sets it needs, of `likra.lab.runner.task.TESTS`.
    """

    name: str
    about: str
    title: str
    tests: tuple[str, ...] = ("own",)

    def configure(self, plan: Plan) -> Plan:
        """The plan with the options of this study alone.

        Keyword parameters that a subclass adds, with typer's annotations, become options of `likra study NAME`.
        """
        return plan

    def check(self, plan: Plan, task: Task) -> None:
        """Raise InputError for a cause that would stop the study only after hours of work."""

    def tests_of(self, task: Task) -> tuple[str, ...]:
        """The test sets that it needs of one task; default: `tests`."""
        return self.tests

    def facts(self, plan: Plan, task: Task) -> str:
        """What a reader must know to repeat it, besides what all studies say; empty if there is nothing."""
        return ""

    def training(self, plan: Plan) -> str:
        """How its heads are trained: learning rate and epochs."""
        return f"learning rate {plan.config.learning_rate:g}, one epoch"

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        """The jobs of one task: for each kind of job, seed -> job. Default: a positive and a negative adapter."""
        return [plan.pair(task)]

    def jobs(self, plan: Plan) -> list[Job]:
        """All its jobs."""
        return [job for task in plan.tasks for kind in self.by_seed(plan, task) for job in kind.values()]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        """Add the results of one task to a sheet, from its finished jobs."""
        raise NotImplementedError

    def rows(self, plan: Plan, store: Store) -> pd.DataFrame:
        """The results of all tasks."""
        sheets = [Sheet(self.name, task) for task in plan.tasks]
        for task, sheet in zip(plan.tasks, sheets, strict=True):
            self.measure(Outcome(plan, store, task, self.by_seed(plan, task)), sheet)
        return joined([sheet.table() for sheet in sheets], [self.name])

    def draw(self, rows: pd.DataFrame) -> "list[Drawn]":
        """The figures of one model and source."""
        return []

    def figures(self, rows: pd.DataFrame) -> "list[Drawn]":
        """All figures; default: those of every model and source, named after them."""
        return [
            dataclasses.replace(drawn, name=f"{drawn.name}-{slug(model, data)}")
            for model, data in pairs_of(rows)
            for drawn in self.draw(pick(rows, model=model, data=data))
        ]

    def say(self, rows: pd.DataFrame) -> Section:
        """Sentences and tables about one model and source."""
        return Section()

    def section(self, rows: pd.DataFrame) -> Section:
        """Sentences and tables about all models and sources."""
        result = Section()
        for model, data in pairs_of(rows):
            own = pick(rows, model=model, data=data)
            one, name = self.say(own), name_of(own)
            result.sentences.extend(f"{name}: {sentence}" for sentence in one.sentences)
            result.tables.extend(Table(f"{name}: {table.caption}", table.header, table.rows) for table in one.tables)
        return result


STUDIES: Registry[Study] = Registry("study", "likra.lab.studies")
study = STUDIES.register


def pairs_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(model, data) of the rows, in their order."""
    return list(rows[["model", "data"]].drop_duplicates().itertuples(index=False, name=None))


def with_options(plan: Plan, tasks: Sequence[Task] | None = None, **options: Any) -> Plan:
    """A plan with the options of one study, and with other tasks if there are some."""
    return dataclasses.replace(plan, tasks=tuple(tasks or plan.tasks), options={**plan.options, **options})
