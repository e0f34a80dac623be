"""Names of what is kept in the cache: one place where all that a kept number depends on is put together."""

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from typing import Any

from likra import __version__

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


def key(**parts: Any) -> str:
    """A digest of all that a number depends on: the given parts, and the versions of likra and of what computes for it.

    Args:
        **parts: What JSON can hold; other values by their text.

    Example:
        >>> key(base="a", tokens=[1, 2]) == key(base="a", tokens=[1, 3])
        False
    """
    text = json.dumps({"versions": _versions(), **parts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(texts: Iterable[str]) -> str:
    """A digest of texts in their order, for many that would be long as a part of a key."""
    found = hashlib.sha256()
    for text in texts:
        own = text.encode("utf-8", "backslashreplace")
        found.update(f"{len(own)} ".encode() + own)
    return found.hexdigest()


@functools.cache
def _versions() -> dict[str, str]:
    return {"likra": __version__, **{name: importlib.metadata.version(name) for name in _LIBRARIES}}
