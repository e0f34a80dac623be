"""Records of JSON and JSONL files."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from likra.data.forms import Record
from likra.data.sources.text_file import opened
from likra.errors import InputError


def jsonl_records(path: Path) -> Iterator[tuple[str, Record]]:
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                yield where, _object(_parsed(line.rstrip("\n"), where), where)


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: malformed JSON ({error.msg} at column {error.colno}); fix it.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: JSON that cannot be read ({error}); fix it.") from None


def json_records(path: Path) -> Iterator[tuple[str, Record]]:
    try:
        with opened(path) as file:
            records = json.load(file)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: malformed JSON ({error.msg} at column {error.colno}); fix it "
            "(or name the file .jsonl if it has one object a line)."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: JSON that cannot be read ({error}); fix it.") from None
    if not isinstance(records, list):
        raise InputError(f"{path}: is a JSON {type(records).__name__}, not a list of objects.")
    for index, record in enumerate(records):
        where = f"{path}, item {index}"
        yield where, _object(record, where)


def _object(record: Any, where: str) -> Record:
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: is {type(record).__name__}, not a JSON object with fields.")
    return record
