"""Writing files and folders so that nothing is ever left half-written."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likra.errors import InputError


def check_free(folder: Path) -> None:
    """Raise InputError unless a new folder can be made there, in place of nothing or of an empty directory."""
    if folder.name in ("", ".."):
        raise InputError(f"{folder}: is no name for a new folder; give one.")
    if folder.is_file():
        raise InputError(f"{folder}: is a file, not a folder; choose another one or remove it.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: the output folder exists and is not empty; choose another one or remove it.")
    check_writable(folder)


def check_writable(path: Path) -> None:
    """Raise InputError unless a file or folder can be made at `path`."""
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise InputError(f"{path}: cannot be written, for {parent} is a file.")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{path}: cannot be written, for {parent} may not be written to.")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`: becomes `folder` if the block ends well, else vanishes."""
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield work
        work.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield work
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with new_file(path) as work:
        work.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
