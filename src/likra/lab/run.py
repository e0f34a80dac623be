"""Studies that are run in one folder: their jobs, their results, their report."""

import dataclasses
import datetime
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from likra import __version__
from likra.errors import InputError
from likra.lab.runner.jobs import Store
from likra.lab.runner.learning import check_sizes
from likra.lab.runner.plan import Plan
from likra.lab.runner.ray_cluster import run_on_ray
from likra.lab.runner.results import RESULTS, joined, load_table, save_table, without
from likra.lab.runner.task import TESTS, Task
from likra.lab.study import STUDIES
from likra.scoring.likelihoods import rounding_in
from likra.utils.files import write_json

_FACTS = "facts.json"


def run_studies(
    plans: Sequence[tuple[str, Plan]], out: Path, *, ray: str | None = None, shown: bool = True
) -> tuple[pd.DataFrame, int]:
    """Run some studies in one folder; a job that several of them need is run once, now or before.

    Results of other studies, or on other models or data, that are in the folder's `results.parquet` stay there.

    Args:
        plans: Studies with what each is run on.
        out: The folder: jobs are kept in `cells/`, results go to `results.parquet`.
        ray: Address of a Ray cluster, or None.
        shown: Whether to show progress.

    Returns:
        All results of the folder, and how many jobs were run (those that were finished before are not).

    Raises:
        InputError: A study cannot be run so, or another process runs the same jobs.
    """
    store, plans = Store(out), together(plans)
    for name, plan in plans:
        check(name, plan)
    path = out / RESULTS
    with store.locked():
        before = [load_table(path)] if path.exists() else []  # first, for the file may be damaged
        jobs = [job for name, plan in plans for job in STUDIES[name].jobs(plan)]
        ran = run_on_ray(jobs, store, ray, shown=shown) if ray else store.run(jobs, shown=shown)
        found = joined([STUDIES[name].rows(plan, store) for name, plan in plans], STUDIES.names())
        table = joined([*(without(old, found) for old in before), found], STUDIES.names())
        save_table(table, path)
    return table, ran


def check(name: str, plan: Plan) -> None:
    """Raise InputError for a cause that would stop a study only after hours of work."""
    study = STUDIES[name]
    for task in plan.tasks:
        task.test()
        check_sizes(plan.sizes, len(task.source.questions.get("train", [])), plan.config)
        if plan.sizes[-1] == 0:
            raise InputError("--sizes: give at least one above 0.")
        for test in study.tests_of(task):
            if task.has(test):
                task.prompter_of(test).pairs(task.test(test)[0])
        study.check(plan, task)


def together(plans: Sequence[tuple[str, Plan]]) -> list[tuple[str, Plan]]:
    """The plans of studies that are run together: each task is scored on the test sets that any of them needs."""
    tasks: list[Task] = []
    for _, plan in plans:
        tasks += [task for task in plan.tasks if task not in tasks]
    tests = []
    for task in tasks:
        own = [(STUDIES[name], plan) for name, plan in plans if task in plan.tasks]
        wanted = {test for study, plan in own for test in study.tests_of(task) if plan.dry or task.has(test)}
        tests.append((task, tuple(test for test in (*TESTS, *task.elsewhere) if test in wanted)))
    return [(name, dataclasses.replace(plan, tests=tuple(tests))) for name, plan in plans]


def facts_of(plans: Sequence[tuple[str, Plan]]) -> dict[str, Any]:
    """What a reader must know to repeat studies, label -> value: one per study, model and source, and the software."""
    import torch
    import transformers

    facts = {
        f"{name}: {task.model}, {task.data}": _one(name, plan, task) for name, plan in plans for task in plan.tasks
    }
    facts["software"] = f"likra {__version__}, torch {torch.__version__}, transformers {transformers.__version__}"
    facts["machine"] = f"{platform.machine()}, {torch.get_num_threads()} threads" + (
        f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    )
    facts["finished"] = datetime.date.today().isoformat()
    return facts


def _one(name: str, plan: Plan, task: Task) -> str:
    config = plan.config
    said = [
        f"{task.shots} shots",
        *([f"template {task.style}"] if task.style else []),
        f"{task.limit or 'all'} test questions",
        f"sizes {', '.join(map(str, plan.sizes))}",
        f"seeds {', '.join(map(str, plan.seeds))}",
        f"Adam, {STUDIES[name].training(plan)}, batch {config.per_device_train_batch_size}",
        f"LoRA rank {config.lora.r}, alpha {config.lora.lora_alpha:g} on {config.lora.target_modules}",
        f"weight {plan.weight:g}",
        f"scores divided by: {plan.normalisation}",
        *(["bf16 autocast"] if config.bf16 else []),
        *(f"{option} {value}" for option, value in task.loading.items() if value),
        STUDIES[name].facts(plan, task),
    ]
    return "; ".join(filter(None, said))


def worst_rounding(folder: Path) -> float | None:
    """The largest rounding that was measured in the tables of a folder (`likra.scoring.rounding`), if any was."""
    found = (rounding_in(path) for path in folder.rglob("*.parquet"))
    return max((share for share in found if share is not None), default=None)


def write_facts(facts: dict[str, Any], folder: Path) -> None:
    """Keep facts in a folder."""
    write_json(folder / _FACTS, facts)


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of a folder; none where they are missing."""
    path = folder / _FACTS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
