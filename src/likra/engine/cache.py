"""Likelihoods on disk, by content: what was read once is not read again."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from likra.data.tokens import TokenizedExample
from likra.errors import InputError
from likra.models.base import Base
from likra.models.identity import content
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.utils.files import new_file
from likra.utils.keys import digest, key

logger = logging.getLogger(__name__)


class Cache:
    """The likelihoods of some pairs under a base and its heads.

    One file per reader. Its name is a digest of all that its numbers depend on: every parameter of the base and of the
    head, the configuration, the tokens, and the versions of likra, torch and transformers.
    """

    def __init__(self, folder: Path, base: Base, stack: HeadStack | None, pairs: Sequence[TokenizedExample]) -> None:
        self._folder = folder / "likelihoods"
        self._stack = stack
        self._pairs = len(pairs)
        self._heads: dict[str, str | None] = {BASE: None}
        self._common = {"model": _model(base), "tokens": digest(f"{pair.context} {pair.completion}" for pair in pairs)}

    def _path(self, name: str, **reading: Any) -> Path:
        heads = [self._digest(other) for other in (name, *reading.pop("beside"))]
        return self._folder / f"{key(**self._common, heads=heads, **reading)[:40]}.safetensors"

    def _digest(self, name: str) -> str | None:
        if name not in self._heads:
            assert self._stack is not None
            self._heads[name] = self._stack.digest(name)
        return self._heads[name]

    def get(self, name: str, **reading: Any) -> "Entry | None":
        """What is kept of one reader, or None. A damaged file counts as none.

        Args:
            name: Who reads.
            **reading: The `way` of reading, and who is read `beside` where that counts.
        """
        try:
            found = load_file(self._path(name, **reading))
            entry = Entry(found["logprob"], float(found["rounding"][0]) if "rounding" in found else None)
        except (SafetensorError, OSError, KeyError, IndexError):
            return None
        return entry if entry.values.shape == (self._pairs,) else None

    def put(self, name: str, values: NDArray[np.float64], *, rounding: float | None = None, **reading: Any) -> None:
        """Keep log-likelihoods [pairs]; a folder that cannot be written to is a warning."""
        arrays = {"logprob": np.ascontiguousarray(values)}
        if rounding is not None:
            arrays["rounding"] = np.array([rounding])
        try:
            with new_file(self._path(name, **reading)) as work:
                save_file(arrays, work)
        except InputError as error:
            logger.warning("likelihoods are not kept: %s", error)


@dataclass(frozen=True)
class Entry:
    """Log-likelihoods [pairs] of one reader, and the rounding that was measured as they were read."""

    values: NDArray[np.float64]
    rounding: float | None


def _model(base: Base) -> dict[str, Any]:
    """A model's class and configuration, and a digest of every bit of its parameters and buffers, as they are now."""
    config = base.model.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "_commit_hash"):
        config.pop(name, None)
    return {"class": type(base.model).__name__, "config": config, "content": content(base.model)}
