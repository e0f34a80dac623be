"""Records that a program has in memory: lists of dicts, pandas DataFrames, and data sets of the library `datasets`.

They are told by what they offer, so that neither library is imported for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from likra.data.forms import Record
from likra.data.sources.columns import ROWS, readable_rows
from likra.data.sources.files import Located, own_split
from likra.data.sources.splits import split_of
from likra.errors import InputError

#: What the source of such records is called.
NAME = "the data"


def is_records(data: Any) -> bool:
    """Whether data is records in memory that `memory_records` reads.

    >>> is_records([{"question": "Which gas?"}]), is_records(["Which gas?"]), is_records("quiz.jsonl")
    (True, False, False)
    """
    listed = isinstance(data, list | tuple) and bool(data) and isinstance(data[0], Mapping)
    return listed or _is_frame(data) or _is_dataset(data) or _is_splits(data)


def memory_records(data: Any) -> Iterator[Located]:
    """The records of data for which `is_records` holds; they are counted from 0, as Python counts them.

    Raises:
        InputError: One of them is not a dict, or has a field that cannot be read.
    """
    if _is_splits(data):
        yield from split_records("", data)
        return
    for index, record in enumerate(_rows(data, "")):
        where = f"record {index}"
        if not isinstance(record, Mapping):
            raise InputError(f"{where}: is {type(record).__name__}, not a dict with fields.")
        yield where, own_split(where, record), record


def split_records(name: str, splits: Mapping[str, Any]) -> Iterator[Located]:
    """The records of data sets by split. One that is alone has no split: likra makes its own.

    Raises:
        InputError: None of several is train, validation or test, or a field cannot be read.
    """
    alone = len(splits) == 1
    known = {split: None if alone else split_of(split) for split in splits}
    if not alone and not any(known.values()):
        raise InputError(f"{name or NAME}: its splits are {', '.join(splits)}; none is train, validation or test.")
    for split, rows in splits.items():
        if alone or known[split] is not None:
            part = f"{name} {split}".strip()
            for index, row in enumerate(_rows(rows, part)):
                yield f"{part}, {'row' if name else 'record'} {index}", known[split], row


def _is_frame(data: Any) -> bool:
    return all(hasattr(data, name) for name in ("iloc", "columns", "to_dict"))


def _is_dataset(data: Any) -> bool:
    return all(hasattr(data, name) for name in ("column_names", "features", "with_format"))


def _is_splits(data: Any) -> bool:
    return isinstance(data, Mapping) and bool(data) and all(map(_is_dataset, data.values()))


def _rows(data: Any, where: str) -> Iterable[Record]:
    if _is_frame(data):
        return _frame_rows(data)
    if _is_dataset(data) and hasattr(data, "__len__"):  # one that is streamed is read row by row
        arrow = data.with_format("arrow")
        tables = (arrow[first : first + ROWS] for first in range(0, len(data), ROWS))
        return readable_rows(where or NAME, data.column_names, (table.column for table in tables))
    rows: Iterable[Record] = data
    return rows


def _frame_rows(frame: Any) -> Iterator[Record]:
    """The rows of a DataFrame, with Python's own values, and None where a value is missing."""
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise InputError(f"{NAME}: two columns of the DataFrame have one name; rename one of them.")
    columns = [frame.iloc[:, place].astype(object) for place in range(len(names))]
    values = [column.where(column.notna(), None).tolist() for column in columns]
    for row in zip(*values, strict=True):
        yield dict(zip(names, map(_plain, row), strict=True))


def _plain(value: Any) -> Any:
    """A value of numpy, which cells of a DataFrame may hold, as Python's own."""
    return value.tolist() if type(value).__module__ == "numpy" else value
