"""Bodies that clients send compressed."""

import functools
import sys
import zlib
from typing import Any

from likra.errors import InputError

try:
    if sys.version_info >= (3, 14):
        from compression import zstd as _zstd
    else:
        from backports import zstd as _zstd
except ImportError:
    _zstd = None  # type: ignore[assignment]

_PIECES = 100  # gzip's members, or zstd's frames, which may follow one another


class TooLong(Exception):
    """What was compressed is longer than a body may be."""


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """A body as it was before its `Content-Encoding`.

    Args:
        body: What was sent.
        encoding: The header: empty or `identity`, `gzip`, or `zstd` (typesafe-sdk).
        limit: Bytes that it may have.

    Raises:
        TooLong: It has more; no more than that are unpacked.
        InputError: The encoding is unknown, or the body is not in it.

    >>> import gzip
    >>> decompressed(gzip.compress(b"{}"), "gzip", 10)
    b'{}'
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    unpacker: Any
    if name == "gzip":
        unpacker = functools.partial(zlib.decompressobj, zlib.MAX_WBITS | 16)
    elif name == "zstd" and _zstd is not None:
        unpacker = _zstd.ZstdDecompressor
    else:
        raise InputError(f"the body is compressed by {name[:40]!r}, which this server does not read; send it plain.")
    found, left = b"", body
    for _ in range(_PIECES):
        if not left:
            return found
        unpack = unpacker()
        try:
            found += unpack.decompress(left, limit + 1 - len(found))
        except Exception as error:  # zlib.error, or that of zstd
            raise InputError(f"the body is not {name} ({type(error).__name__}); send it as its header says.") from None
        if len(found) > limit:
            raise TooLong
        if not unpack.eof:
            raise InputError(f"the body ends in the midst of its {name}; send all of it.")
        left = unpack.unused_data
    raise InputError(f"the body is {name} in more than {_PIECES} pieces; compress it as one.")
