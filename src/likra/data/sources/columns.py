"""The rows of pyarrow's columns."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from likra.data.forms import Record, matters
from likra.errors import InputError


def readable_rows(where: str, names: Sequence[str], column: Callable[[str], Any]) -> Iterator[Record]:
    """The rows of pyarrow's columns, without those that cannot be read and need not be."""
    columns: dict[str, list[Any]] = {}
    for name in names:
        row = None
        try:
            values = column(name)
            try:
                columns[name] = values.to_pylist()
            except Exception:
                for row, value in enumerate(values):  # noqa: B007  # where it fails
                    value.as_py()
                raise
        except MemoryError:
            raise
        except Exception as error:  # as above
            if matters(name):
                place = "" if row is None else f", row {row}"
                raise InputError(
                    f"{where}{place}: field {name!r} cannot be read ({type(error).__name__}: {first_line(error)}); "
                    "fix it."
                ) from None
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def first_line(error: Exception) -> str:
    return textwrap.shorten((str(error).splitlines() or [""])[0], 160)
