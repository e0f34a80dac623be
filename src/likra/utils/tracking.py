"""Figures of runs, logged to TensorBoard, Weights & Biases or Trackio by accelerate's trackers.

accelerate's `Accelerator.end_training` would end the group of processes that `likra.utils.parallel` joined, so the
trackers are used without an `Accelerator`.
"""

import contextlib
import datetime
import importlib
import importlib.util
import json
import math
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likra.errors import InputError
from likra.utils import parallel
from likra.utils.files import check_writable, refusal, write_json

#: Tracker -> the packages of which it needs one; the first is what to install.
TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}
PROJECT = "likra"
_RECORD = "tracking.json"


@dataclass(frozen=True)
class Tracking:
    """Where the figures of runs are logged.

    Attributes:
        report_to: Names of `TRACKERS`; none: nothing is logged.
        about: What the runs are about (the name of the heads, say): TensorBoard's folder of them, the others' group.
        folder: Where TensorBoard's files go, in `folder/about/RUN`; the others have places of their own.

    Raises:
        InputError: A tracker is unknown or not installed, or the folder cannot be written to.

    Example:
        >>> with Tracking().run("train") as run:
        ...     run.log({"train/loss/positive": 2.5}, step=1)  # to nowhere
    """

    report_to: tuple[str, ...] = ()
    about: str = PROJECT
    folder: Path = Path("runs")

    def __post_init__(self) -> None:
        for name in self.report_to:
            if name not in TRACKERS:
                raise InputError(f"report_to must be one of {', '.join(TRACKERS)}, got {name!r}.")
            if not any(importlib.util.find_spec(package) for package in TRACKERS[name]):
                package = TRACKERS[name][0]
                raise InputError(f"report_to {name}: {package} is not installed; pip install {package}")
        if "tensorboard" in self.report_to:
            check_writable(self.folder / self.about)

    @contextlib.contextmanager
    def run(self, kind: str, config: Mapping[str, Any] | None = None, state: Path | None = None) -> Iterator["Tracked"]:
        """A run, which ends with the block. Of several processes only the first logs.

        Args:
            kind: What it does (`train`, `eval`): the beginning of its name.
            config: What it is called with, JSON-able.
            state: Folder of the state that a killed run goes on from, where it has one.
        """
        tracked = Tracked(self if parallel.rank() == 0 else NOWHERE, kind, config or {}, state)
        try:
            yield tracked
        except BaseException:
            tracked.finish()
            raise
        tracked.finish(whole=True)


#: Nothing is logged.
NOWHERE = Tracking()


class Tracked:
    """A run that is logged. Made by `Tracking.run`.

    Where a killed run goes on, TensorBoard's files do too, and have each step once. Of what the others had taken it is
    not known what they had kept, so they get a new run that has all steps.
    """

    def __init__(self, where: Tracking, kind: str, config: Mapping[str, Any], state: Path | None) -> None:
        self._where, self._config = where, config
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        self._name = f"{kind}-{now}-{secrets.token_hex(2)}"
        self._record = state / _RECORD if state else None
        self._last = -1  # the last step that was logged
        self._files, self._in_files = self._name, -1  # TensorBoard's run, and the last step in its files
        self._trackers: list[Any] | None = None

    def go_on(self, before: Iterable[tuple[Mapping[str, float], int]]) -> None:
        """Be the run that was killed, whose state has been found to be this one's.

        Args:
            before: Figures and numbers of the steps that are in the state.
        """
        if self._record and self._record.exists():
            known = json.loads(self._record.read_text(encoding="utf-8"))
            self._files, self._in_files = known["run"], known["step"]
            self._last = known["step"] if known["whole"] else -1
        for figures, step in before:
            self.log(figures, step)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Log the figures of a step, unless it was logged. Steps rise. What is not finite is left out.

        Raises:
            InputError: A tracker cannot be started.
        """
        if step <= self._last or not self._where.report_to:
            return
        if self._trackers is None:  # not before there is something to log: a run that is refused leaves no trace
            self._trackers = []
            for name in self._where.report_to:
                self._trackers.append(self._started(name))
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        for tracker in self._trackers:
            if tracker.name != "tensorboard" or step > self._in_files:
                tracker.log(finite, step=step)
        self._last, self._in_files = step, max(step, self._in_files)
        self._remember(whole=False)

    def finish(self, *, whole: bool = False) -> None:
        """End the run; `whole` if it has come to its end."""
        for tracker in self._trackers or ():
            with _saying(tracker.name):
                if tracker.name == "trackio":  # its own, or it would end the run once more, aloud, when Python ends
                    importlib.import_module("trackio").finish()
                else:
                    tracker.finish()
        if whole and self._trackers:
            self._remember(whole=True)
        self._trackers = None

    def _remember(self, *, whole: bool) -> None:
        if self._record:
            write_json(self._record, {"run": self._files, "step": self._in_files, "whole": whole})

    def _started(self, name: str) -> Any:
        from accelerate import PartialState, tracking

        PartialState()  # which accelerate's loggers ask for
        about, new = self._where.about, self._in_files < 0
        grouped = {"name": self._name, "group": about, "config": dict(self._config)}
        try:
            with _saying(name):
                if name == "tensorboard":
                    # Readers drop what a killed run may have written after the last step that is known to be logged.
                    purge = None if new else self._in_files + 1
                    tracker = tracking.TensorBoardTracker(self._files, self._where.folder / about, purge_step=purge)
                elif name == "wandb":
                    tracker = tracking.WandBTracker(os.environ.get("WANDB_PROJECT", PROJECT), **grouped)
                else:
                    tracker = tracking.TrackioTracker(PROJECT, **grouped)
                tracker.start()
        except Exception as error:  # each has errors of its own
            reason = refusal(error) or str(error).strip().partition("\n")[0].rstrip(".")
            hint = "; WANDB_MODE=offline keeps runs on this machine" if name == "wandb" else ""
            raise InputError(f"report_to {name}: cannot be started ({reason}){hint}.") from error
        if name == "tensorboard" and new:  # which has no place for it but a text, or a run of its own
            tracker.log({"config": f"```\n{json.dumps(self._config, indent=2)}\n```"}, step=0)
        return tracker


@contextlib.contextmanager
def _saying(name: str) -> Iterator[None]:
    """What Trackio prints belongs on standard error; the others write there, or nothing."""
    with contextlib.redirect_stdout(sys.stderr) if name == "trackio" else contextlib.nullcontext():
        yield
