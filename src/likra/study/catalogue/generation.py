"""How often written answers are true: heads alone, together, merged, distilled, and the best of n."""

import dataclasses
import json

import numpy as np

from likra.judge.bootstrap import Resampled, estimate, paired_p_value
from likra.study.cells import Cell, Store
from likra.study.generation import AMOUNTS, ANSWERS, DISTILLED, MERGED
from likra.study.plan import Plan
from likra.study.results import Row, Sheet
from likra.study.task import Task

TITLE = "Answers written by both heads"
TESTS: tuple[str, ...] = ("own",)

#: Way of writing -> its title.
WAYS: dict[str, str] = {
    "base": "Base",
    "base_cut": "Base, cut-off only",
    "sft": "SFT",
    "likra-0": "SFT, cut-off only",
    "base_likra": "Base-Likra, a=1",
    **{f"likra-{amount:g}": f"Likra, a={amount:g}" for amount in AMOUNTS if amount},
    MERGED: "Merged, a=1",
    DISTILLED: "Distilled, a=1",
    "pick": "Base, best of 16 by the ratio",
}


def _cells(plan: Plan, task: Task) -> dict[int, Cell]:
    return dataclasses.replace(plan, sizes=plan.sizes[-1:]).of_work("generation", task)


def cells(plan: Plan) -> list[Cell]:
    return [cell for task in plan.tasks for cell in _cells(plan, task).values()]


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        sheet, size = Sheet("generation", task), plan.sizes[-1]
        found = [json.loads((store.path(cell) / ANSWERS).read_text("utf-8")) for cell in _cells(plan, task).values()]
        count = len(task.test())
        drawn = Resampled(len(plan.seeds), count)
        for decoding in ("greedy", "drawn"):
            ways = [way for way in WAYS if decoding in found[0][way]]
            shares = {
                (way, quantity): np.array([of_seed[way][decoding][quantity] for of_seed in found])
                for way in ways
                for quantity in ("true", "false")
            }
            for way in ways:
                labels = {"method": way, "part": decoding, "size": size, "count": count}
                for quantity in ("true", "false"):
                    sheet.add(quantity, estimate(drawn.means(shares[way, quantity])), **labels)
                # What a cut-off alone does not explain.
                if way != "likra-0":
                    own, rival = shares[way, "true"], shares["likra-0", "true"]
                    sheet.add(
                        "difference",
                        estimate(drawn.means(own) - drawn.means(rival)),
                        **labels,
                        p=paired_p_value(own, rival),
                    )
        result += sheet.rows
    return result
