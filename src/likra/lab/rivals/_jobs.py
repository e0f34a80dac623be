"""The jobs of rivals: of one seed each; or of all seeds, at a learning rate that is chosen first."""

import importlib
from pathlib import Path
from typing import Any

from likra.lab.rival import RIVALS
from likra.lab.rivals._tuning import chosen
from likra.lab.runner.heads import cost_of, keep_pair, stack_of
from likra.lab.runner.jobs import Job, Note, run_job
from likra.lab.runner.learning import train_to_sizes
from likra.lab.runner.task import Task, config_of, seed_folder


def run(settings: dict[str, Any], folder: Path, note: Note) -> None:
    """Train Likra's two adapters if `pair` says so, then run the rivals that `rivals` names with their modules.

    With `tune` the learning rate is chosen first, and then each seed is a job within the job's folder.
    """
    for module in settings["rivals"].values():
        importlib.import_module(module)  # a rival of another package registers itself
    if "tune" in settings:
        rate = chosen(settings, __name__, folder, note)
        for seed in settings["seeds"]:
            own = {name: value for name, value in settings.items() if name != "tune"}
            own |= {"seeds": [seed], "config": {**settings["config"], "learning_rate": rate}}
            place = seed_folder(folder, settings["seeds"], seed)
            if place == folder:
                run(own, folder, note)  # the mark of a finished job is this job's own
            else:
                run_job(Job.of(__name__, own), place, note)
        return
    if settings["pair"]:
        _train_pair(settings, folder, note)
    for name in settings["rivals"]:
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
