"""Writing files and folders whole or not at all, with no other process writing there meanwhile."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likra.errors import InputError

#: Numbers of system errors in the messages of libraries in other languages (safetensors, tokenizers, pyarrow).
_NUMBER = re.compile(r"[(\[](?:os error|errno) (\d+)[)\]]", re.IGNORECASE)

#: The file in a folder that `locked` keeps.
LOCK = ".lock"


def refusal(error: BaseException) -> str | None:
    """The operating system's reason for an error ("No space left on device"); None if the error is of another kind."""
    if found := _NUMBER.search(str(error)):
        return os.strerror(int(found[1]))
    return (error.strerror or str(error)) if isinstance(error, OSError) else None


def check_free(folder: Path) -> None:
    """Raise InputError unless a new folder can be made there, in place of nothing or of an empty directory."""
    if folder.name in ("", ".."):
        raise InputError(f"{folder}: is not a name for a new folder; give one.")
    if folder.is_file():
        raise InputError(f"{folder}: is a file, not a folder; choose another one or remove it.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: the output folder exists and is not empty; choose another one or remove it.")
    if folder.is_mount():
        raise InputError(f"{folder}: is a mount point, which cannot be replaced; give a folder in it.")
    check_writable(_real(folder))


def check_writable(path: Path) -> None:
    """Raise InputError unless a file or folder can be made at `path`."""
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise InputError(f"{path}: cannot be written, because {parent} is a file.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written, because {parent} may not be written to.")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`: becomes `folder` if the block ends well, else vanishes.

    The user's umask decides who may read it and its files.

    Raises:
        InputError: The folder is not empty, or the system refuses to write it.
    """
    check_free(folder)
    place = _real(folder)
    work = place.with_name(f".{place.name[:40]}-{secrets.token_hex(4)}")
    try:
        with _writing(folder, work):
            place.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir()
            yield work
            allowed = work.stat().st_mode & 0o666
            for path in work.rglob("*"):
                if path.is_file():  # safetensors lets nobody else read its files, and a server may be another user
                    path.chmod(allowed)
            if place.is_dir():
                place.rmdir()
            work.replace(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces `path` when the block ends well.

    Raises:
        InputError: The system refuses to write it.
    """
    work = path.with_name(f".{path.name[:40]}.tmp-{secrets.token_hex(4)}")
    try:
        with _writing(path, work):
            path.parent.mkdir(parents=True, exist_ok=True)
            work.touch()
            allowed = work.stat().st_mode & 0o666
            yield work
            work.chmod(allowed)
            work.replace(path)
    finally:
        with contextlib.suppress(OSError):
            work.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: Path, work: Path) -> Iterator[None]:
    """Turn a system error while `path` is written, under the name `work`, into an InputError that names `path`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # libraries share no base class for these
        reason = refusal(error)
        at = getattr(error, "filename", None)
        own = at is None or work in (Path(at), *Path(at).parents) or Path(at) in (path, *path.parents)
        if reason is None or not own:
            raise
        raise InputError(f"{path}: cannot be written ({reason}); fix that, or choose another place.") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with new_file(path) as work:
        # Text that is not Unicode (half a character in a file's name) becomes an escape, which JSON knows too.
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        work.write_text(text, encoding="utf-8", errors="backslashreplace")


def unfinished(out: Path) -> Path:
    """The folder beside `out` for unfinished work: the same for every spelling of `out`."""
    place = _real(out)
    return place.with_name(f"{place.name}.partial")


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other processes from writing the new folder `out` while the block runs, by a lock in `unfinished(out)`.

    Raises:
        InputError: Another process is writing it, or has written it since it was looked at.
    """
    with locked(unfinished(out)):
        check_free(out)
        yield


@contextlib.contextmanager
def locked(folder: Path, seconds: float = 0) -> Iterator[None]:
    """Keep other processes from working in a folder, which is made, and removed again where nothing was left in it.

    However the process ends, the system frees the lock.

    Args:
        folder: The folder.
        seconds: How long to wait for another process.

    Raises:
        InputError: Another process is at work there.
    """
    from filelock import FileLock, Timeout

    file = folder / LOCK
    check_writable(file)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, timeout=seconds)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another run is writing there; wait for it, or choose another folder.") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()
            folder.rmdir()
        lock.release()


def _real(path: Path) -> Path:
    """The target of a path that is a link, because a folder cannot replace the link itself."""
    return path.resolve() if path.is_symlink() else path


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
