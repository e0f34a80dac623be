"""How studies were made: what a reader of their report must know to repeat them."""

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

FACTS = "facts.json"


def facts_of(plans: Sequence[tuple[str, Plan]]) -> dict[str, Any]:
    """Label -> value."""
    facts: dict[str, Any] = {}
    for name, plan in plans:
        tasks = "; ".join(
            f"{task.model} on {task.data}, {task.shots} shots, {task.limit or 'all'} test questions"
            for task in plan.tasks
        )
        recipe = plan.recipe
        facts[f"{name}{'' if name not in facts else ' (again)'}"] = (
            f"{tasks}; sizes {', '.join(map(str, plan.sizes))}; seeds {', '.join(map(str, plan.seeds))}; Adam, "
            f"learning rate "
            f"{recipe.learning_rate:g}, batch {recipe.batch_size}, one epoch, LoRA rank {recipe.rank}, alpha "
            f"{recipe.alpha:g} "
            f"on {recipe.targets}; weight {plan.weight:g}; scores divided by: {plan.normalisation}"
        )
    facts["software"] = f"likra {__version__}, torch {torch.__version__}, transformers {transformers.__version__}"
    facts["machine"] = f"{platform.machine()}, {torch.get_num_threads()} threads" + (
        f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    )
    return facts


def write_facts(facts: dict[str, Any], folder: Path) -> None:
    write_json(folder / FACTS, facts)


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of a folder; none where they are missing."""
    path = folder / FACTS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
