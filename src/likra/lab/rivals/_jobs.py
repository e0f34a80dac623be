"""The jobs of rivals: those of one seed that are trained together."""

import importlib
from pathlib import Path
from typing import Any

from likra.lab.rival import RIVALS
from likra.lab.runner.heads import cost_of, keep_pair, stack_of
from likra.lab.runner.jobs import Note
from likra.lab.runner.learning import train_to_sizes
from likra.lab.runner.task import Task, config_of


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train Likra's two adapters if `pair` says so, then run the rivals that `rivals` names with their modules."""
    if settings["pair"]:
        _train_pair(settings, folder, note)
    for name, module in settings["rivals"].items():
        importlib.import_module(module)  # a rival of another package registers itself
        RIVALS[name].run(settings, folder, note)


def _train_pair(settings: dict[str, Any], folder: Path, note: Note) -> None:
    task, sizes = Task.of(settings), settings["sizes"]
    learned, stack = stack_of(settings, folder)

    def at_size(size: int) -> None:
        keep_pair(task, stack, size, sizes[0], folder)

    try:
        state = folder / "state"
        train_to_sizes(
            stack, learned, config_of(settings), sizes, at_size, state=state, memory=task.memory, progress=note
        )
    finally:
        stack.remove()
    cost_of(task, task.base(), learned).save(folder)
