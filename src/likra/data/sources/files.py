"""Records of a file or a folder of files: JSONL, JSON, CSV or Parquet."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from likra.data.forms import Record
from likra.data.sources.columns import ROWS, first_line, readable_rows
from likra.data.sources.csv_file import csv_records
from likra.data.sources.json_file import json_records, jsonl_records
from likra.data.sources.source import SPLITS
from likra.data.sources.splits import SPLIT_NAMES, split_of
from likra.errors import InputError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
_BUFFER = 2**16  # bytes of a Parquet file's column that are read at once

#: A located record: where it stands (for messages), the split that it belongs to if that is known, and its fields.
Located = tuple[str, str | None, Record]


def holds_data(folder: Path) -> bool:
    """Whether a folder is one of questions, rather than of a model or of heads."""
    if not folder.is_dir() or any((folder / name).exists() for name in ("config.json", "likra.json")):
        return False
    return bool(_parts(folder))


def _parts(folder: Path) -> dict[Path, str | None]:
    """The data files of a folder and, where it has one for each split (as MMLU), its folders; with their splits."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and _files(path))
    splits = {path: split_of(path.name) for path in inner}
    return {path: split_of(path.stem) for path in _files(folder)} | (splits if any(splits.values()) else {})


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir())


def folder_records(folder: Path, names: Sequence[str] = ()) -> Iterator[Located]:
    """The records of a folder's files; the names of files or inner folders tell the splits."""
    splits = _parts(folder)
    if not splits:
        raise InputError(f"{folder}: holds no {', '.join(SUFFIXES)} file.")
    named = sum(split is not None for split in splits.values())
    if named not in (0, len(splits)):
        odd = next(path for path in splits if splits[path] is None)
        raise InputError(
            f"{odd}: names no split, but other files of its folder do; put train, dev or test in its name."
        )
    for path, split in splits.items():
        for file in _files(path) if path.is_dir() else [path]:
            yield from file_records(file, split, names)


def file_records(path: Path, split: str | None, names: Sequence[str] = ()) -> Iterator[Located]:
    """The records of a file; a field `split` counts where no split is given, and `names` are fields of text in CSV."""
    readers: dict[str, Callable[[Path], Iterator[tuple[str, Record]]]] = {
        ".jsonl": jsonl_records,
        ".json": json_records,
        ".csv": partial(csv_records, names=names),
        ".parquet": _parquet,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InputError(f"{path}: files of type {path.suffix or 'none'} are not read; use {', '.join(SUFFIXES)}.")
    for where, record in readers[suffix](path):
        yield where, split or own_split(where, record), record


def own_split(where: str, record: Record) -> str | None:
    """The split that the field `split` of a record names, if it has one."""
    own = record.get("split")
    if own is None:
        return None
    if not isinstance(own, str) or own not in SPLIT_NAMES:
        raise InputError(f"{where}: field 'split' is {own!r}; use one of {', '.join(SPLITS)}.")
    return SPLIT_NAMES[own]


def _parquet(path: Path) -> Iterator[tuple[str, Record]]:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path, buffer_size=_BUFFER)
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise ValueError("two of its columns have one name")
    except MemoryError:
        raise
    except Exception as error:  # pyarrow's share no base class, and it passes on those of others
        raise InputError(f"{path}: is not a readable Parquet file ({first_line(error)}).") from None
    # Each by itself, for one that cannot be read must not take others with it.
    streams = {name: file.iter_batches(ROWS, columns=[name]) for name in names}
    columns = itertools.repeat(lambda name: next(streams[name]).column(0))
    for index, row in enumerate(readable_rows(str(path), names, columns)):
        yield f"{path}, row {index}", row
