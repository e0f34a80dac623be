"""Progress bars, on standard error, for anything that may take longer than a few seconds."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from likra import parallel


class Move(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextlib.contextmanager
def progress_bar(label: str, unit: str, *, shown: bool = True) -> Iterator[Move]:
    """A bar that is moved by calling the yielded function with (done, total).

    Args:
        label: What is going on.
        unit: What is counted, in the plural.
        shown: Whether to show it at all.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit} {{task.fields[note]}}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown or parallel.rank() > 0,
    )
    with bar:
        task = bar.add_task(label, total=None, note="")

        def move(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield move
