"""What changes in the model at the jump, as numbers."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from likra.judge.bootstrap import estimate, over_seeds
from likra.likelihood.table import BASE
from likra.study.cells import Cell, Store
from likra.study.mechanism import FINDINGS, voices_of
from likra.study.outcome import METHODS, Outcome
from likra.study.plan import Plan
from likra.study.results import Row, Sheet
from likra.study.task import NEGATIVE, POSITIVE, Task

TITLE = "What changes at the jump"
TESTS: tuple[str, ...] = ("own",)


def _cells(plan: Plan, task: Task) -> dict[int, Cell]:
    heads = {"heads": [POSITIVE, NEGATIVE], "tests": ["own"]}
    voices = {} if plan.dry else voices_of(task.model, plan.voices)
    return plan.of_work("mechanism", task, **heads, voices=voices)


def cells(plan: Plan) -> list[Cell]:
    return [cell for task in plan.tasks for cell in _cells(plan, task).values()]


def rows(plan: Plan, store: Store) -> list[Row]:
    return [row for task in plan.tasks for row in _rows(plan, store, task)]


def _rows(plan: Plan, store: Store, task: Task) -> list[Row]:
    by_seed = _cells(plan, task)
    outcome, sheet = Outcome(plan, store, task, [by_seed]), Sheet("mechanism", task)
    found = [json.loads((store.path(cell) / FINDINGS).read_text(encoding="utf-8")) for cell in by_seed.values()]
    drawn = outcome.resampled()

    def accuracy(credits: Sequence[Sequence[float]], **labels: Any) -> None:
        sheet.add("accuracy", estimate(drawn.means(np.array(credits))), **labels)

    for size in plan.sizes:
        for method in METHODS:
            sheet.add("accuracy", estimate(drawn.means(outcome.credit(method, size))), method=method, size=size)
    for place, entry in enumerate(found[0]["geometry"]):
        of_seeds = [of_seed["geometry"][place] for of_seed in found]
        labels = {"method": entry["head"], "size": entry["size"]}
        for quantity in ("norm", "cosine", "rank"):
            sheet.add(quantity, over_seeds([one[quantity] for one in of_seeds]), **labels)
        for block in entry["blocks"]:
            share = over_seeds([one["blocks"].get(block, 0.0) for one in of_seeds])
            sheet.add("block_share", share, part=block, **labels)
    for place, entry in enumerate(found[0]["axis"]):
        of_seeds = [of_seed["axis"][place] for of_seed in found]
        for quantity in ("position", "alignment", "chance"):
            for block in range(len(entry.get(quantity, []))):
                values = over_seeds([one[quantity][block] for one in of_seeds])
                sheet.add(quantity, values, method=entry["head"], size=entry["size"], part=str(block))
        if entry["head"] != BASE:
            start = [
                next(at for at in one["axis"] if at["head"] == BASE and at["size"] == entry["size"]) for one in found
            ]
            for block in range(len(entry["position"])):
                # From distances between the voices to shares of the hidden states' own length.
                moved = [
                    (now["position"][block] - base["position"][block]) * one["scale"][block]
                    for now, base, one in zip(of_seeds, start, found, strict=True)
                ]
                sheet.add("shift", over_seeds(moved), method=entry["head"], size=entry["size"], part=str(block))
    for block in range(len(found[0]["scale"])):
        sheet.add("axis_length", over_seeds([of_seed["scale"][block] for of_seed in found]), part=str(block))
    transplants = [of_seed["transplant"] for of_seed in found]
    for name in transplants[0]["credits"]:
        accuracy([one["credits"][name] for one in transplants], method="transplant", part=name)
    for place, tried in enumerate(transplants[0]["tried"]):
        values = over_seeds([one["tried"][place]["accuracy"] for one in transplants])
        labels = {"part": str(tried["block"]), "at": tried["strength"]}
        sheet.add("accuracy_in_training", values, method="transplant", **labels)
    for name in found[0]["named"]:
        accuracy([one["named"][name] for one in found], method="named", part=name)
    for place, step in enumerate(found[0]["first_step"]):
        credits = [one["first_step"][place]["credits"] for one in found]
        accuracy(credits, method="first_step", size=step["examples"], at=float(step["times"]))
    return sheet.rows
