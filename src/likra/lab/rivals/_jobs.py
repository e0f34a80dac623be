"""The jobs of rivals: of one seed each; or of all seeds, at a learning rate that is chosen first."""

import importlib
from pathlib import Path
from typing import Any

from likra.lab.rival import RIVALS
from likra.lab.rivals._tuning import chosen
from likra.lab.runner.heads import cost_of, stack_of, train_pair
from likra.lab.runner.jobs import Job, Note, run_job
from likra.lab.runner.task import Task, seed_folder


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
    task = Task.of(settings)
    learned, stack = stack_of(settings, folder)
    try:
        train_pair(settings, learned, stack, folder, note)
    finally:
        stack.remove()
    cost_of(task, task.base(), learned).save(folder)
