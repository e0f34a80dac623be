"""Digests of files, kept in the cache so that a file that has not changed is not read again."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from likra.errors import InputError
from likra.utils.files import new_file, sha256
from likra.utils.keys import key

_SETTLED = 2.0  # seconds: a file written to since may be written to again within one tick of the file system's clock


def file_digests(paths: Sequence[Path], cache: Path) -> dict[str, str]:
    """The SHA-256 of files, by name.

    A digest is kept by the file's path, device, inode, size, and times of change (`mtime` and `ctime`, the second of
    which no program can set). A file that was written to in the last two seconds is read each time.

    Args:
        paths: Files of different names.
        cache: The folder of the cache.
    """
    return {path.name: _digest(path, cache / "files") for path in sorted(paths)}


def _digest(path: Path, folder: Path) -> str:
    at = path.stat()
    state = (str(path.resolve()), at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns)
    kept = folder / key(file=state)[:40]
    with contextlib.suppress(OSError):
        found = kept.read_text(encoding="ascii")
        if len(found) == 64:
            return found
    found = sha256(path)
    if time.time() - max(at.st_mtime, at.st_ctime) > _SETTLED:
        with contextlib.suppress(InputError), new_file(kept) as work:  # kept where that is possible
            work.write_text(found, encoding="ascii")
    return found
