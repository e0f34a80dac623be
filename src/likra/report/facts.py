"""How studies were made: what a reader of their report must know to repeat them."""

import datetime
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from likra import __version__
from likra.files import write_json
from likra.study.plan import Plan
from likra.study.task import Task

FACTS = "facts.json"


def facts_of(plans: Sequence[tuple[str, Plan]]) -> dict[str, Any]:
    """Label -> value: one per study, model and source, and the software and machine."""
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
    recipe = plan.recipe
    said = [
        f"{task.shots} shots",
        f"{task.limit or 'all'} test questions",
        f"sizes {', '.join(map(str, plan.sizes))}",
        f"seeds {', '.join(map(str, plan.seeds))}",
        f"Adam, learning rate {recipe.learning_rate:g}, batch {recipe.batch_size}, one epoch",
        f"LoRA rank {recipe.rank}, alpha {recipe.alpha:g} on {recipe.targets}",
        f"weight {plan.weight:g}",
        f"scores divided by: {plan.normalisation}",
        *(["bf16 autocast"] if recipe.bf16 else []),
        *(f"{option} {value}" for option, value in task.loading.items() if value),
    ]
    own = {
        "negatives": f"kinds {', '.join(plan.kinds)}; unrelated ones from {task.unrelated}",
        "paraphrase": f"reworded by {task.reworded}",
        "mechanism": f"voices: {plan.voices or 'the embedded ones'}",
    }
    return "; ".join([*said, *([own[name]] if name in own else [])])


def write_facts(facts: dict[str, Any], folder: Path) -> None:
    write_json(folder / FACTS, facts)


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of a folder; none where they are missing."""
    path = folder / FACTS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
