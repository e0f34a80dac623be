"""The choice of a learning rate, on training questions alone; once for a job, for all its seeds and sizes.

Two-fold cross-validation: of the first seed's training questions, as many as the largest size has, one half is learned
from and the other is judged, and the other way round. The rate is taken that gives the highest accuracy on them; among
equally good ones that of the highest log score (the mean log of the softmax of the scores at the right answer), then
the lowest. Likra's two adapters share one rate, chosen by Likra's accuracy; a rival with several methods is trained
once, at the rate at which the best of them is best.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from likra.errors import TrainingDiverged
from likra.lab.rival import RIVALS
from likra.lab.runner.jobs import Job, Note, run_job
from likra.lab.runner.outcome import credits
from likra.lab.runner.task import NEGATIVE, POSITIVE, Task, seed_folder, table_path
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.scoring.scores import normalise, ratio
from likra.utils.files import write_json

FOLDS = (0, 1)
#: File in each seed's folder: the rate that was chosen, and what was measured of all.
CHOSEN = "learning_rate.json"


def chosen(settings: dict[str, Any], work: str, folder: Path, note: Note) -> float:
    """The learning rate of a job; kept in each of its seeds' folders.

    Args:
        settings: The job's; `tune` has the `rates`, and the `weight` and `normalisation` of the scores.
        work: Name of the module that trains.
        folder: The job's. The trials are kept in its state, so that a job that was killed goes on from them.
        note: Tells how far it is.
    """
    paths = [seed_folder(folder, settings["seeds"], seed) / CHOSEN for seed in settings["seeds"]]
    if not all(path.exists() for path in paths):
        found = {rate: _tried(settings, rate, work, folder, note) for rate in sorted(settings["tune"]["rates"])}
        best = max(found, key=lambda rate: (found[rate], -rate))
        tried = [{"learning_rate": rate, "accuracy": a, "log_score": log} for rate, (a, log) in found.items()]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"chosen": best, "tried": tried})
    return float(json.loads(paths[0].read_text(encoding="utf-8"))["chosen"])


def _tried(settings: dict[str, Any], rate: float, work: str, folder: Path, note: Note) -> tuple[float, float]:
    """Accuracy and log score at one rate, of the method of which they are best."""
    seed, size = settings["seeds"][0], settings["sizes"][-1]
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for half in FOLDS:
        task = {**settings["task"], "fold": [seed, size, half]}
        own = {name: value for name, value in settings.items() if name != "tune"}
        own |= {"task": task, "seeds": [seed], "sizes": [(size + half) // 2], "tests": ["own"]}
        own |= {"config": {**settings["config"], "learning_rate": rate}}
        own["rivals"] = {} if settings["pair"] else settings["rivals"]
        place = folder / "state" / f"{rate:g}-{half}"
        try:
            run_job(Job.of(work, own), place, _with(note, f"(trying {rate:g}, half {half + 1})"))
        except TrainingDiverged:
            return -np.inf, -np.inf
        for method, values in _scores(settings, own, half, folder, place).items():
            found.setdefault(method, []).append(values)
    measured = [
        tuple(round(float(np.mean(np.concatenate(part))), 9) for part in zip(*halves, strict=True))
        for halves in found.values()
    ]
    accuracy, log_score = max(measured)
    return accuracy, log_score


def _with(note: Note, prefix: str) -> Note:
    return lambda done, total, text="": note(done, total, f"{prefix} {text}".rstrip())


def _scores(
    settings: dict[str, Any], own: dict[str, Any], half: int, folder: Path, place: Path
) -> dict[str, tuple[Floats, Floats]]:
    """Method -> credit and log score of each question that was judged."""
    tune, [size] = settings["tune"], own["sizes"]
    if settings["pair"]:
        table = Likelihoods.load(table_path(place, "own", size))
        scores = {"likra": ratio(table.head(POSITIVE), table.head(NEGATIVE), tune["weight"])}
        divided = {"likra"}
    else:
        [name] = settings["rivals"]
        table = _base_table(Task.of(own), folder / "state" / f"base-{half}.parquet")
        scores = RIVALS[name].scores(place, size, table)
        divided = {method.name for method in RIVALS[name].methods if method.normalised}
    if tune["normalisation"] != "raw":
        scores = {
            method: normalise(values, table, tune["normalisation"]) if method in divided else values
            for method, values in scores.items()
        }
    return {m: (credits(values[None], table)[0], log_scores(values, table)) for m, values in scores.items()}


def log_scores(scores_QC: Floats, table: Likelihoods) -> Floats:
    """The log of the softmax of each question's scores at its right answer, [Q] in nats."""
    once_QC = table.once(scores_QC)
    log_QC = log_softmax(np.where(np.isnan(once_QC), -np.inf, once_QC), axis=1)
    found_Q: Floats = log_QC[np.arange(len(log_QC)), table.answers_Q]
    return found_Q


def _base_table(task: Task, path: Path) -> Likelihoods:
    """The base's likelihoods of the questions that are judged."""
    from likra.engine.loglikelihood import score

    if not path.exists():
        table = score(task.base(), None, task.test(), task.test_prompter, memory=task.memory)
        dataclasses.replace(table, meta={**table.meta, "style": task.source.style}).save(path)
    return Likelihoods.load(path)


def rate_of(folder: Path, config: Mapping[str, Any]) -> float:
    """The learning rate at which one seed was trained: the one that was chosen, or the configuration's."""
    path = folder / CHOSEN
    return float(json.loads(path.read_text(encoding="utf-8"))["chosen"]) if path.exists() else config["learning_rate"]
