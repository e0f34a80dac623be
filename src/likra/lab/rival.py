"""A rival: another way to learn from the same right and wrong answers. Each is one module of `likra.lab.rivals`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likra.lab.registry import Registry
from likra.lab.runner.cost import Cost
from likra.lab.runner.jobs import Job, Note
from likra.lab.runner.outcome import Outcome, credits
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import Task
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import normalise

#: Which job runs a rival.
JOBS = {
    "pair": "the job that trains Likra's two adapters, whose folder holds their weights and tables at every size",
    "seed": "a job of its own for each seed; it trains at the learning rate of the job's settings",
    "seeds": "one job of its own for all seeds; there is no learning rate to choose",
    "task": "one job of its own for a model and its data: neither seeds, sizes nor training matter",
}
_WORK = "likra.lab.rivals._jobs"


@dataclass(frozen=True)
class Method:
    """A way to score answers, and its cost in forward passes over a token (a backward pass counts one: the base is
    frozen).

    Attributes:
        name: Its name in results.
        title: Its name for people.
        training: Passes per training token; 0 for a method that needs no training.
        answers: Which answers it trains on: `right`, `wrong`, `both`, or none of them (empty).
        readings: Readings of each question when it scores.
        normalised: Whether its scores are divided by length where a study divides scores.
    """

    name: str
    title: str
    training: int = 0
    answers: str = ""
    readings: float = 1
    normalised: bool = True


class Rival:
    """One rival. A subclass gets its name by `@rival("name")`; its module loads no torch before `run`.

    Attributes:
        name: Its name.
        methods: Its methods; a rival may give several.
        job: Which job runs it, one of `JOBS`.
    """

    name: str
    methods: tuple[Method, ...]
    job: str = "seed"

    def check(self, task: Task) -> None:
        """Raise InputError where something that it needs is not installed, or not in a task."""

    def settings(self, plan: Plan) -> dict[str, Any]:
        """What else of a plan its results depend on, as JSON-able settings of its own job."""
        return {}

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Do its work in a job's folder, and keep the results there; `settings` are the job's (of one seed, unless
        `job` says otherwise)."""
        raise NotImplementedError

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        """Scores [Q, C] of its methods at one size; a method that a task does not allow is left out.

        Args:
            folder: The folder of its job; that of one seed, if its job has several.
            size: Training questions seen.
            pair: The table of the base and of Likra's two adapters at that size. (Where a learning rate is chosen for
                this rival, of the base alone.)
        """
        raise NotImplementedError

    def cost(self, method: Method, folder: Path, pair: Cost) -> Cost:
        """The tokens that one of its methods reads; default: as many as Likra does.

        Args:
            method: The method.
            folder: As in `scores`.
            pair: What Likra reads.
        """
        return pair


RIVALS: Registry[Rival] = Registry("rival", "likra.lab.rivals")
rival = RIVALS.register


def jobs_of(plan: Plan, task: Task, name: str, **more: Any) -> dict[int, Job]:
    """seed -> the job of a rival that has one of its own.

    Args:
        plan, task: What it is run on.
        name: The rival.
        **more: Further settings.
    """
    one = RIVALS[name]
    own = {"pair": False, "rivals": {name: type(one).__module__}, **one.settings(plan), **more}
    if one.job == "task":
        return plan.once(name, _WORK, task, **own)
    return plan.own_pair(name, _WORK, task, together=one.job == "seeds" or "tune" in more, **own)


def credits_of(outcome: Outcome, name: str) -> dict[str, Floats]:
    """Method -> credit [S, Q] of a rival that needs no training, the same for every seed."""
    plan, methods = outcome.plan, {method.name: method for method in RIVALS[name].methods}
    table = outcome.table(BASE, plan.seeds[0], plan.sizes[0])
    found = {}
    for method, scores_QC in RIVALS[name].scores(outcome.named[name][0], 0, table).items():
        divided = normalise(scores_QC, table, plan.normalisation) if methods[method].normalised else scores_QC
        found[method] = np.repeat(credits(divided[None], table), len(plan.seeds), axis=0)
    return found


def pair_job(plan: Plan, task: Task, beside: dict[str, str], **more: Any) -> dict[int, Job]:
    """seed -> the job that trains Likra's two adapters, and runs the rivals `beside` (name -> module)."""
    return plan.own_pair("rivals", _WORK, task, together="tune" in more, pair=True, rivals=beside, **more)
