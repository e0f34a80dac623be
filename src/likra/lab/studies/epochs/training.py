"""The job of the study `epochs`: one run of several epochs, read after some of them."""

from pathlib import Path
from typing import Any

from likra.lab.runner.heads import keep_tables, stack_of
from likra.lab.runner.jobs import Note
from likra.lab.runner.learning import train_to_epochs
from likra.lab.runner.task import Task, config_of


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train a positive and a negative head, and keep a table of the test questions after each number of `epochs`."""
    task, epochs, [seed] = Task.of(settings), settings["epochs"], settings["seeds"]
    learned, stack = stack_of(settings, folder)
    names = {folder: {head: head for head in stack.names}}

    def at_epoch(number: int) -> None:
        keep_tables(task, stack, names, "own", number, epochs[0], unit="epochs")

    try:
        how: dict[str, Any] = {"state": folder / "state", "memory": task.memory, "progress": note}
        train_to_epochs(stack, learned, config_of(settings), epochs, at_epoch, seed=seed, **how)
    finally:
        stack.remove()
