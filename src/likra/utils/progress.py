"""Progress, on standard error, of anything that may take longer than a few seconds.

A bar on a terminal. Elsewhere (a log, a batch system) a line now and then.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from likra.utils import parallel

SECONDS = 30  # between two lines


class Move(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None: ...


@contextlib.contextmanager
def progress_bar(label: str, unit: str, *, shown: bool = True) -> Iterator[Move]:
    """Progress that is shown by calling the yielded function with (done, total); a total of None is not known.

    Args:
        label: Name of the task.
        unit: What is counted, in the plural.
        shown: Whether to show it at all.
    """
    console = Console(stderr=True)
    if not shown or parallel.rank() > 0:
        yield _nothing
    elif console.is_jupyter or (console.is_interactive and console.file.isatty()):
        with _bar(label, unit, console) as move:
            yield move
    else:
        with LOG.lines(label, unit) as move:
            yield move


def _nothing(done: int, total: int | None, note: str = "") -> None:
    """Show nothing."""


@contextlib.contextmanager
def _bar(label: str, unit: str, console: Console) -> Iterator[Move]:
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} {{task.fields[note]}}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task(label, total=None, note="")

        def move(done: int, total: int | None, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield move


class Log:
    """Progress as lines on standard error, at most one in `SECONDS`.

    Tasks that follow each other at once share these seconds: short ones write nothing each, but together they do.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._written = self._active = float("-inf")

    @contextlib.contextmanager
    def lines(self, label: str, unit: str) -> Iterator[Move]:
        """As `progress_bar`."""
        start = self._clock()
        if start - self._active >= SECONDS:
            self._written = start  # a new task: there was nothing to report until now
        self._active = start
        first: tuple[float, int] | None = None

        def move(done: int, total: int | None, note: str = "") -> None:
            nonlocal first
            now = self._active = self._clock()
            # Not from the start: a resumed run had done some before.
            if first is None or done < first[1]:  # the second half of a task is timed anew
                first = (now, done)
            if now - self._written < SECONDS:
                return
            self._written = now
            count = f"{done}" if total is None else f"{done}/{total}"
            text = f"{count} {unit}".rstrip() + (f" {note}" if note else "")
            if now > first[0] and done > first[1]:
                rate = (done - first[1]) / (now - first[0])
                text += f", {_rate(rate, unit)}"
                text += "" if total is None else f", {_time((total - done) / rate)} left"
            sys.stderr.write(f"likra: {label}: {text}\n")
            sys.stderr.flush()

        yield move
        self._active = self._clock()


LOG = Log()


def _rate(rate: float, unit: str) -> str:
    return f"{rate:.3g} {unit}".rstrip() + "/s" if rate >= 0.1 else f"{1 / rate:.3g} s each"


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
