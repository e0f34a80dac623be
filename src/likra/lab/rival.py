"""A rival: another way to learn from the same right and wrong answers. Each is one module of `likra.lab.rivals`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likra.lab.registry import Registry
from likra.lab.runner.jobs import Note
from likra.scoring.likelihoods import Floats, Likelihoods


@dataclass(frozen=True)
class Method:
    """A way to score answers, and its cost in forward passes over a token (a backward pass counts one: the base is
    frozen).

    Attributes:
        name: Its name in results.
        title: Its name for people.
        training: Passes per training token.
        answers: Which answers it trains on: `right`, `wrong`, `both`, or none of them (empty).
        readings: Readings of each question when it scores.
        normalised: Whether its scores are divided by length where a study divides scores.
    """

    name: str
    title: str
    training: int = 0
    answers: str = ""
    readings: int = 1
    normalised: bool = True


class Rival:
    """One rival. A subclass gets its name by `@rival("name")`; its module loads no torch before `run`.

    Attributes:
        name: Its name.
        methods: Its methods; a rival may give several.
        own_job: Whether it is trained by a job of its own. Else it runs in the job that trains Likra's two adapters,
            whose folder then holds their weights and tables at every size.
    """

    name: str
    methods: tuple[Method, ...]
    own_job: bool = True

    def check(self) -> None:
        """Raise InputError where something that it needs is not installed."""

    def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
        """Do its work for one seed, and keep the results in a job's folder; `settings` are the job's."""
        raise NotImplementedError

    def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
        """Scores [Q, C] of its methods at one size; a method that a task does not allow is left out.

        Args:
            folder: The folder of its job.
            size: Training questions seen.
            pair: The table of the base and of Likra's two adapters at that size.
        """
        raise NotImplementedError


RIVALS: Registry[Rival] = Registry("rival", "likra.lab.rivals")
rival = RIVALS.register
