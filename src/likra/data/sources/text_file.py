"""The text of a file."""

import codecs
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from likra.errors import InputError


@contextlib.contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A text file to be read piece by piece; its lines end in a line feed, whatever they end in there.

    Raises:
        InputError: It cannot be opened, or what is read of it in the block is not text.
    """
    try:
        with path.open("rb") as file:
            # A spreadsheet's "Unicode text" is UTF-16, and says so by its first two bytes.
            wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            file.seek(0)
            try:
                yield io.TextIOWrapper(file, encoding="utf-16" if wide else "utf-8-sig")
            except UnicodeDecodeError as error:
                byte = file.tell() - len(error.object) + error.start
                raise InputError(f"{path}: is not UTF-8 text (byte {byte}); convert it.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
