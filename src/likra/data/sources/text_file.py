"""The text of a file."""

import codecs
from pathlib import Path

from likra.errors import InputError


def text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        # A spreadsheet's "Unicode text" is UTF-16, and says so by its first two bytes.
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); convert it.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
