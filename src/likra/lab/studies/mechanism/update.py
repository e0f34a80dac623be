"""How the update of each head grows: its direction, rank and blocks by size, as rows, a sentence and a figure."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import HEAD_TITLES, QUESTIONS, Table, pivot, plain
from likra.lab.runner.results import Sheet, one, pick
from likra.lab.runner.task import NEGATIVE
from likra.lab.studies.mechanism.findings import entries
from likra.scoring.bootstrap import over_seeds


def add_updates(found: Sequence[dict[str, Any]], sheet: Sheet) -> None:
    """Add norm, cosine with the last update, stable rank and the blocks' shares, per head and size."""
    for entry, of_seeds in entries(found, "geometry"):
        labels = {"method": entry["head"], "size": entry["size"]}
        for quantity in ("norm", "cosine", "rank"):
            sheet.add(quantity, over_seeds([one[quantity] for one in of_seeds]), **labels)
        for block in entry["blocks"]:
            shares = [one["blocks"].get(block, 0.0) for one in of_seeds]
            sheet.add("block_share", over_seeds(shares), part=block, **labels)


def update_sentence(rows: pd.DataFrame) -> str:
    """How early the negative head's update has its last direction, and how its rank changes."""
    cosines, ranks = (pick(rows, quantity=name, method=NEGATIVE) for name in ("cosine", "rank"))
    first, last = cosines["size"].min(), cosines["size"].max()
    return (
        f"after {first} {QUESTIONS} the negative head's update already has a cosine of "
        f"{plain(one(cosines, size=first))} with its last one; its stable rank goes from "
        f"{plain(one(ranks, size=first))} to {plain(one(ranks, size=last))}."
    )


def update_tables(rows: pd.DataFrame) -> list[Table]:
    """Cosine with the last update and stable rank, by size and head."""
    captions = {"cosine": "cosine of the update with the last one", "rank": "stable rank of the update"}
    return [
        pivot(pick(rows, quantity=quantity), caption, "method", HEAD_TITLES, plain)
        for quantity, caption in captions.items()
    ]


def update_figure(rows: pd.DataFrame) -> canvas.Drawn:
    sizes = canvas.sizes_of(pick(rows, quantity="accuracy", method="sft"))
    figure, both = canvas.blank(7.6, 4.0, columns=2)
    labels = {"cosine": "cosine with the last update", "rank": "stable rank of the update"}
    for axes, (quantity, label) in zip(both, labels.items(), strict=True):
        for head, (colour, marker) in canvas.HEADS.items():
            some = canvas.by_size(rows, quantity=quantity, method=head)
            at = [sizes.index(size) for size in some["size"]]
            canvas.line(axes, at, some, label=HEAD_TITLES[head], colour=colour, marker=marker)
        canvas.size_axis(axes, sizes, QUESTIONS)
        axes.set_ylabel(label)
    canvas.legend(both[0], loc="lower right")
    note = "Bands: over seeds (Student's t)."
    return canvas.drawn("mechanism-update", "The update of each head as it learns", figure, rows, note)
