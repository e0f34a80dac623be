"""Records of CSV files, as spreadsheets and MMLU write them."""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from likra.data.forms import Record, count_known
from likra.data.sources.text_file import opened
from likra.errors import InputError

_HEAD = 100_000  # characters, enough for a first line


def csv_records(path: Path, names: Sequence[str] = ()) -> Iterator[tuple[str, Record]]:
    """The records of a CSV file, with the lines where they end.

    Args:
        path: The file.
        names: Fields that are known to be there, which are read as text.
    """
    csv.field_size_limit(2**31 - 1)
    with opened(path) as file:
        head = file.read(_HEAD)
        file.seek(0)
        named = re.match('"?sep=(.)"?\n', head, re.IGNORECASE)  # a spreadsheet's own note
        if named:
            file.readline()
        reader = csv.reader(file, delimiter=named[1] if named else _delimiter(head, names))
        yield from _records(path, _rows(path, reader, before=int(bool(named))), names)


def _rows(path: Path, reader: Any, before: int) -> Iterator[tuple[str, list[str]]]:
    """The rows that are not blank, with the lines where they end; so many lines come before them."""
    try:
        for row in reader:
            if any(row):  # a spreadsheet writes a blank line as one of empty cells
                yield f"{path}, line {reader.line_num + before}", row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + before}: is not CSV ({error}); fix it.") from None


def _records(path: Path, rows: Iterator[tuple[str, list[str]]], names: Sequence[str]) -> Iterator[tuple[str, Record]]:
    where, header = next(rows, ("", []))
    if not header:
        return
    if _is_mmlu(header) and not any(name in header for name in names):
        for at, row in itertools.chain([(where, header)], rows):
            if len(row) != len(header):
                raise InputError(f"{at}: has {len(row)} values, but the first line has {len(header)}; fix it.")
            question, *choices, answer = row
            labels = [chr(ord("A") + place) for place in range(len(choices))]
            yield at, {"question": question, "choices": choices, "labels": labels, "answer": answer}
        return
    header = [name.strip() for name in header]
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise InputError(f"{path}: its header has the field {twice!r} twice; name each field once.")
    unpaired = "completion" in header
    for where, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{where}: has more or fewer values than the header has fields ({len(row)}, not {len(header)}); fix "
                "the line, or separate the values by commas."
            )
        yield (
            where,
            {
                key: value if key in names else _csv_value(key, value, where, unpaired)
                for key, value in zip(header, row, strict=True)
            },
        )


def _delimiter(head: str, names: Sequence[str]) -> str:
    """The separator of a CSV file that begins so: the one of spreadsheets' separators that fits its header best."""

    def first(delimiter: str) -> list[str]:
        try:
            return next((row for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if any(row)), [])
        except csv.Error:
            return []

    marks = (",", ";", "\t", "|")

    def fits(mark: str) -> tuple[int, int, bool]:
        header = [name.strip() for name in first(mark)]
        return sum(name in header for name in names), count_known(header), _is_mmlu(header)

    return max(marks, key=fits)  # the first of equals


def _is_mmlu(row: Sequence[str]) -> bool:
    """Whether a CSV file's first line is a question, its choices, and a letter, as in MMLU's files, and no header."""
    letters = [chr(ord("A") + place) for place in range(len(row) - 2)]
    return len(letters) > 1 and row[-1] in letters and not count_known(row)


def _csv_value(key: str, value: str, where: str, unpaired: bool) -> Any:
    if key in ("choices", "options", "labels", "endings"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(f'{where}: field {key!r} is not a JSON list; in CSV write ["one", "two"].') from None
    if unpaired and key == "label" and value.lower() in ("true", "false", "0", "1"):
        return value.lower() in ("true", "1")
    return value
