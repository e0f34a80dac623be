"""The rows of pyarrow's columns, some at a time."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from likra.data.forms import Record, matters
from likra.errors import InputError

#: Gives a column by its name.
ColumnOf = Callable[[str], Any]

#: Rows that are read at once.
ROWS = 1024


def readable_rows(where: str, names: Sequence[str], columns: Iterable[ColumnOf]) -> Iterator[Record]:
    """The rows of pyarrow's columns, without columns that cannot be read and need not be.

    Args:
        where: What is read, for messages.
        names: The columns.
        columns: For some rows after another, what gives a column of them by its name; StopIteration ends them.
    """
    first, left = 0, [*names]
    for column in columns:
        try:
            values = _readable(where, left, column, first)
        except StopIteration:
            return
        left = [*values]
        if not left:
            return
        rows = list(zip(*values.values(), strict=True))
        for row in rows:
            yield dict(zip(left, row, strict=True))
        first += len(rows)


def _readable(where: str, names: Sequence[str], column: ColumnOf, first: int) -> dict[str, list[Any]]:
    """The columns of some rows that can be read, the first row being that of this number."""
    found: dict[str, list[Any]] = {}
    for name in names:
        row = None
        try:
            values = column(name)
            try:
                found[name] = values.to_pylist()
            except Exception:
                for row, value in enumerate(values, start=first):  # noqa: B007  # where it fails
                    value.as_py()
                raise
        except (MemoryError, StopIteration):
            raise
        except Exception as error:  # pyarrow's share no base class, and it passes on those of others
            if matters(name):
                place = "" if row is None else f", row {row}"
                raise InputError(
                    f"{where}{place}: field {name!r} cannot be read ({type(error).__name__}: {first_line(error)}); "
                    "fix it."
                ) from None
    return found


def first_line(error: Exception) -> str:
    return textwrap.shorten((str(error).splitlines() or [""])[0], 160)
