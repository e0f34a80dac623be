"""Results as one tidy table: a row per number, with its interval. Figures, reports and verdicts read nothing else."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from likra.errors import InputError
from likra.files import new_file
from likra.judge.accuracy import accuracy
from likra.judge.bootstrap import Estimate
from likra.likelihood.table import Floats
from likra.study.task import Task

Row = dict[str, Any]
RESULTS = "results.parquet"

#: Column -> what stands in it. Labels that say nothing of a row are empty.
COLUMNS: dict[str, str] = {
    "study": "name of the study",
    "model": "base model",
    "data": "source of the questions",
    "test": "test set: own, random, reworded",
    "negatives": "kind of negatives",
    "method": "method, or head",
    "part": "what the number is a part of: a group of questions, a block of the model, right or wrong answers",
    "size": "training questions; -1 where there is no size",
    "at": "where on another axis: a weight, a strength, a cost",
    "seed": "seed; -1 for all of them together",
    "quantity": "what is measured",
    "value": "the number",
    "low": "lower end of its 95% interval",
    "high": "upper end",
    "p": "two-sided p-value of a paired test, for differences",
    "count": "questions, or what else was counted",
}
_TEXT = ("study", "model", "data", "test", "negatives", "method", "part", "quantity")
_WHOLE = ("size", "seed", "count")
_DIGITS = 9  # decimals kept: far below any interval, and above the last bits of sums


class Sheet:
    """Collects the rows of one study and task."""

    def __init__(self, study: str, task: Task) -> None:
        self.rows: list[Row] = []
        self._common = {"study": study, "model": task.model, "data": task.data}

    def add(self, quantity: str, value: Estimate | float, **labels: Any) -> None:
        """Add one number, with its interval where it has one."""
        found = value if isinstance(value, Estimate) else Estimate(value, math.nan, math.nan)
        row = {**dict.fromkeys(_TEXT, ""), "size": -1, "at": math.nan, "seed": -1, "p": math.nan, "count": -1}
        row |= {**self._common, "quantity": quantity, **labels}
        row |= {"value": found.value, "low": found.low, "high": found.high}
        self.rows.append(row)

    def add_seeds(self, quantity: str, credit_SQ: Floats, seeds: Sequence[int], **labels: Any) -> None:
        """Add each seed's accuracy with its Wilson interval over the questions."""
        for seed, credit_Q in zip(seeds, credit_SQ, strict=True):
            one = accuracy(credit_Q)
            self.add(quantity, Estimate(one.accuracy, one.low, one.high), seed=seed, count=one.questions, **labels)


def save_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as Parquet. The same results are the same file, byte for byte."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: pa.string() if name in _TEXT else pa.int64() if name in _WHOLE else pa.float64() for name in COLUMNS}
    data = {
        name: [round(row[name], _DIGITS) if types[name] == pa.float64() else row[name] for row in rows]
        for name in COLUMNS
    }
    with new_file(path) as work:
        parquet.write_table(pa.table(data, schema=pa.schema(list(types.items()))), work)


def load_rows(path: Path) -> list[Row]:
    """Read what `save_rows` wrote.

    Raises:
        InputError: It is missing, or not such a file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise InputError(f"{path}: there is no such file; run a study with --out {path.parent} first.")
    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowInvalid):
        raise InputError(f"{path}: is no readable file of results; remove it and run its studies again.") from None
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise InputError(f"{path}: is no file of results; it lacks the column {missing[0]}.")
    return list(table.select(list(COLUMNS)).to_pylist())


def where(rows: Iterable[Row], **labels: Any) -> list[Row]:
    """The rows that have these labels; a label may be a set of them."""
    return [
        row
        for row in rows
        if all(row[key] in value if isinstance(value, set) else row[key] == value for key, value in labels.items())
    ]


def without(rows: Iterable[Row], others: Iterable[Row]) -> list[Row]:
    """The rows of studies, models and sources that `others` has none of."""
    had = {(row["study"], row["model"], row["data"]) for row in others}
    return [row for row in rows if (row["study"], row["model"], row["data"]) not in had]


def estimate_of(rows: Iterable[Row], **labels: Any) -> Estimate | None:
    """The number with these labels over all seeds, or None where there is none."""
    found = where(rows, **{"seed": -1, **labels})
    return Estimate(found[0]["value"], found[0]["low"], found[0]["high"]) if found else None
