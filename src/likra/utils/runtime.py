"""How a run may use the machine: memory, disk and the terminal."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from likra.errors import InputError
from likra.utils.progress import Move, progress_bar
from likra.utils.tracking import NOWHERE, Tracking

logger = logging.getLogger(__name__)

ENVIRONMENT = "LIKRA_CACHE"


@dataclass(frozen=True)
class Runtime:
    """What a run may take and show. None of it changes a number.

    Attributes:
        memory: Bytes to take beside the model; default: a quarter of the free memory of a CPU, 60% of that of a GPU.
        cache: Keep likelihoods on disk by content, so that a repetition, or another weight, runs no model: True for
            `$LIKRA_CACHE` or `~/.cache/likra`, or a folder.
        progress: Show a progress bar; or a function that is called with (done, total, note).
        tracking: Where training logs its steps; default: nowhere.

    Raises:
        InputError: The memory is not above 0.

    Example:
        >>> Runtime(memory=2 * 2**30, cache=False).cache_folder is None
        True
    """

    memory: int | None = None
    cache: str | Path | bool = True
    progress: Move | bool = True
    tracking: Tracking = NOWHERE

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory <= 0:
            raise InputError(f"memory must be more than 0 bytes, got {self.memory}.")

    def quiet(self) -> "Runtime":
        """The same memory; nothing is kept on disk, shown or logged."""
        return Runtime(self.memory, cache=False, progress=False)

    @property
    def cache_folder(self) -> Path | None:
        """Where likelihoods are kept; None where they are not (with a warning where there is no home)."""
        if not isinstance(self.cache, bool):
            return Path(self.cache)
        if not self.cache:
            return None
        if given := os.environ.get(ENVIRONMENT):
            return Path(given)
        try:
            return Path.home() / ".cache" / "likra"
        except RuntimeError:
            logger.warning("likelihoods are not kept: this user has no home; set %s to a folder", ENVIRONMENT)
            return None

    @contextlib.contextmanager
    def reporting(self, label: str, unit: str) -> Iterator[Move]:
        """Progress, by calling the yielded function with (done, total, note).

        Args:
            label: What is going on.
            unit: What is counted, in the plural.
        """
        if callable(self.progress):
            yield self.progress
        else:
            with progress_bar(label, unit, shown=self.progress) as move:
                yield move


#: Nothing is kept on disk and nothing is shown.
QUIET = Runtime(cache=False, progress=False)
