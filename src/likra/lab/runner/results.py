"""Results as one tidy pandas table: a row per number, with its interval. Reports and verdicts read nothing else."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likra.errors import InputError
from likra.lab.runner.task import Task
from likra.scoring.accuracy import accuracy
from likra.scoring.bootstrap import estimate
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats
from likra.utils.files import new_file

RESULTS = "results.parquet"

#: Column -> what stands in it. Labels that say nothing of a row are empty.
COLUMNS: dict[str, str] = {
    "study": "name of the study",
    "model": "base model",
    "data": "source of the questions",
    "test": "test set: own, random, reworded, blind, shuffled",
    "negatives": "kind of negatives",
    "method": "method, or head",
    "part": "a group of questions, a block of the model, right or wrong answers, a source that is judged on",
    "size": "training questions; -1 where there is no size",
    "at": "where on another axis: a weight, a strength, a cost, a number of epochs",
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
_RUN = ["study", "model", "data"]
_DIGITS = 9  # decimals kept: far below any interval, and above the last bits of sums


class Sheet:
    """Collects the rows of one study and task.

    >>> sheet = Sheet("curve", Task("model", "data"))
    >>> sheet.add("accuracy", Estimate(0.5, 0.4, 0.6), method="likra", size=8)
    >>> sheet.table()[["method", "size", "value"]].to_dict("records")
    [{'method': 'likra', 'size': 8, 'value': 0.5}]
    """

    def __init__(self, study: str, task: Task) -> None:
        self._rows: list[dict[str, Any]] = []
        self._common = {"study": study, "model": task.model, "data": task.data}

    def add(self, quantity: str, value: Estimate | Floats | float, **labels: Any) -> None:
        """Add one number, with its interval where it has one.

        Args:
            quantity: What is measured.
            value: The number; of means [1 + R] (`Resampled.means`), their estimate.
            **labels: Values of further columns (`COLUMNS`).
        """
        if isinstance(value, Estimate):
            found = value
        else:
            found = estimate(value) if isinstance(value, np.ndarray) else Estimate(value, math.nan, math.nan)
        row = {**dict.fromkeys(_TEXT, ""), "size": -1, "at": math.nan, "seed": -1, "p": math.nan, "count": -1}
        row |= {**self._common, "quantity": quantity, **labels}
        self._rows.append(row | {"value": found.value, "low": found.low, "high": found.high})

    def add_seeds(self, quantity: str, credit_SQ: Floats, seeds: Sequence[int], **labels: Any) -> None:
        """Add each seed's accuracy with its Wilson interval over the questions."""
        for seed, credit_Q in zip(seeds, credit_SQ, strict=True):
            one = accuracy(credit_Q)
            self.add(quantity, one, seed=seed, count=one.count, **labels)

    def table(self) -> pd.DataFrame:
        """The rows, with the columns `COLUMNS`."""
        return pd.DataFrame(self._rows, columns=list(COLUMNS))


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Write results as Parquet. The same results are the same file, byte for byte."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: pa.string() if name in _TEXT else pa.int64() if name in _WHOLE else pa.float64() for name in COLUMNS}
    data = {
        name: [round(value, _DIGITS) for value in table[name].tolist()]
        if kind == pa.float64()
        else table[name].tolist()
        for name, kind in types.items()
    }
    with new_file(path) as work:
        parquet.write_table(pa.table(data, schema=pa.schema(list(types.items()))), work)


def load_table(path: Path) -> pd.DataFrame:
    """Read what `save_table` wrote.

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
        raise InputError(f"{path}: is not a readable file of results; remove it and run its studies again.") from None
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise InputError(f"{path}: is not a file of results; it lacks the column {missing[0]}.")
    return pd.DataFrame(table.select(list(COLUMNS)).to_pylist(), columns=list(COLUMNS))


def pick(table: pd.DataFrame, **labels: Any) -> pd.DataFrame:
    """The rows that have these labels.

    >>> pick(pd.DataFrame({"method": ["sft", "likra"], "value": [0.4, 0.6]}), method="likra")["value"].tolist()
    [0.6]
    """
    for name, label in labels.items():
        table = table[table[name] == label]
    return table


def one(table: pd.DataFrame, **labels: Any) -> pd.Series:
    """The first row that has these labels, over all seeds unless one is named.

    Raises:
        KeyError: There is none.
    """
    found = pick(table, **{"seed": -1, **labels})
    if found.empty:
        raise KeyError(f"no result has {labels}")
    return found.iloc[0]


def each(table: pd.DataFrame) -> list[pd.Series]:
    """The rows, one after the other."""
    return [row for _, row in table.iterrows()]


def estimate_of(table: pd.DataFrame, **labels: Any) -> Estimate | None:
    """The number with these labels over all seeds, or None where there is none."""
    found = pick(table, **{"seed": -1, **labels})
    if found.empty:
        return None
    value, low, high = found.iloc[0][["value", "low", "high"]]
    return Estimate(float(value), float(low), float(high))


def without(table: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The rows of studies, models and sources that `others` has none of."""
    had = set(others[_RUN].itertuples(index=False, name=None))
    return table[[run not in had for run in table[_RUN].itertuples(index=False, name=None)]]


def joined(tables: Sequence[pd.DataFrame], studies: Sequence[str]) -> pd.DataFrame:
    """Some tables as one, in the order of these studies, then by source and model."""
    some = [table for table in tables if not table.empty]
    table = pd.concat(some, ignore_index=True) if some else pd.DataFrame(columns=list(COLUMNS))
    order = {name: place for place, name in enumerate(studies)}
    ranked = table.assign(order=table["study"].map(order))
    return ranked.sort_values(["order", "data", "model"], kind="stable", ignore_index=True)[list(COLUMNS)]
