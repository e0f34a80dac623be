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


def check_free(folder: Path, *, why: str = "choose another --out or remove it") -> None:
    """Raise InputError if `folder` exists and is not an empty directory."""
    if folder.is_file():
        raise InputError(f"{folder}: is a file, not a folder; {why}.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: the output folder exists and is not empty; {why}.")


def publish_folder(work: Path, folder: Path) -> None:
    """Move the finished folder `work` to `folder`, which must be free."""
    check_free(folder)
    if folder.is_dir():
        folder.rmdir()
    work.replace(folder)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`: becomes `folder` if the block ends well, else vanishes."""
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield work
        work.chmod(0o755)
        publish_folder(work, folder)
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
