"""Cells: the units of work that studies are made of. What is finished is never done again."""

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from likra import __version__
from likra.errors import InputError
from likra.files import locked, write_json
from likra.progress import progress_bar

#: Kind of work -> the module whose `run(settings, folder, note)` does it.
WORKS = {
    "heads": "likra.study.heads",
    "rivals": "likra.study.rivals",
    "trl": "likra.study.rivals_trl",
    "mechanism": "likra.study.mechanism",
    "generation": "likra.study.generation",
}


@lru_cache(maxsize=1)
def _versions() -> str:
    """Of the libraries whose arithmetic the results are."""
    names = ("torch", "transformers", "trl")
    found = [importlib.metadata.version(name) if importlib.util.find_spec(name) else "" for name in names]
    return " ".join([__version__, *found])


class Note(Protocol):
    """Tells how far a cell's work is: steps done, steps in all, and a word."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@dataclass(frozen=True)
class Cell:
    """One unit of work. Its settings say all that its results depend on, and its key is their digest.

    Attributes:
        work: One of `WORKS`.
        settings: The settings, as canonical JSON.
    """

    work: str
    settings: str

    @classmethod
    def of(cls, work: str, settings: dict[str, Any]) -> "Cell":
        return cls(work, json.dumps(settings, sort_keys=True))

    def __getitem__(self, name: str) -> Any:
        return json.loads(self.settings)[name]

    @property
    def key(self) -> str:
        """Names the cell by all that its results depend on; `how` it is worked on (memory, device) is no part."""
        settings = {**json.loads(self.settings), "how": None}
        content = f"{_versions()} {self.work} {json.dumps(settings, sort_keys=True)}"
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f"{self.work}-{digest[:20]}"

    @property
    def label(self) -> str:
        """What people are shown of it."""
        settings = json.loads(self.settings)
        done = ", ".join(settings["heads"]) if self.work == "heads" else settings.get("method", self.work)
        return f"{settings['model']}: {done}, seed {settings['seed']}"


def run_cell(cell: Cell, folder: Path, note: Note) -> None:
    """Do a cell's work in a folder, which may hold an unfinished run of the same cell."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "cell.json").exists():
        return  # it was killed before it could be renamed
    importlib.import_module(WORKS[cell.work]).run(json.loads(cell.settings), folder, note)
    # The states' own files go first: a state without its tensors would be taken for a damaged one.
    for path in folder.glob("state/**/state.json"):
        path.unlink()
    shutil.rmtree(folder / "state", ignore_errors=True)
    for path in folder.glob(".*.tmp-*"):
        path.unlink()  # what was being written when it was killed
    write_json(folder / "cell.json", {"work": cell.work, "settings": json.loads(cell.settings)})


class Store:
    """The finished cells of a folder.

    A cell is worked on in a folder whose name begins with a dot and is renamed when it is finished: a kill at any
    moment leaves it finished or not, and what is unfinished is gone on with.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cells"

    def path(self, cell: Cell) -> Path:
        return self.folder / cell.key

    def finished(self, cell: Cell) -> bool:
        return (self.path(cell) / "cell.json").is_file()

    def finish(self, cell: Cell, work: Path) -> None:
        work.replace(self.path(cell))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from working on the same cells.

        Raises:
            InputError: One does.
        """
        with locked(self.folder):
            yield

    def run(self, cells: Iterable[Cell], *, ray: str | None = None, shown: bool = True) -> int:
        """Work on the cells that are not finished; returns how many those were. Call it within `locked`.

        Args:
            cells: The cells, in the order in which they are worked on.
            ray: Address of a Ray cluster to hand them to; None: one after the other, here.
            shown: Whether to show progress.

        Raises:
            InputError: A cell cannot be worked on as it is set.
        """
        cells = list({cell.key: cell for cell in cells}.values())
        waiting = [cell for cell in cells if not self.finished(cell)]
        finished = len(cells) - len(waiting)
        if ray is not None and waiting:
            from likra.study.cluster import run_on_ray

            with progress_bar("Cells", "cells", shown=shown) as move:
                run_on_ray(waiting, self, ray, lambda done, note: move(finished + done, len(cells), note))
            return len(waiting)
        for number, cell in enumerate(waiting, start=finished + 1):
            label = f"[{number}/{len(cells)}] {cell.label}"
            with progress_bar(label, "steps", shown=shown) as move:
                work = self.folder / f".{cell.key}"
                try:
                    run_cell(cell, work, move)
                except InputError:
                    with contextlib.suppress(OSError):  # it may hold what can be gone on with
                        work.rmdir()
                    raise
                self.finish(cell, work)
        return len(waiting)
