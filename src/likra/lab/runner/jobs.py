"""Jobs: the units of work that studies are made of. What is finished is never done again."""

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
from likra.utils.files import locked, write_json
from likra.utils.progress import progress_bar

#: Folder of finished jobs, and the file that marks one.
FOLDER, MARK = "cells", "cell.json"


@lru_cache(maxsize=1)
def _versions() -> str:
    """Of the libraries whose arithmetic the results are."""
    names = ("torch", "transformers", "trl")
    found = [importlib.metadata.version(name) if importlib.util.find_spec(name) else "" for name in names]
    return " ".join([__version__, *found])


class Note(Protocol):
    """Tells how far a job is: steps done, steps in all, and a word."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@dataclass(frozen=True)
class Job:
    """One unit of work. Its settings say all that its results depend on, and its key is their digest.

    Attributes:
        work: Name of the module whose `run(settings, folder, note)` does it.
        settings: The settings, as canonical JSON: at least `name`, `model` and `seeds`.
    """

    work: str
    settings: str

    @classmethod
    def of(cls, work: str, settings: dict[str, Any]) -> "Job":
        return cls(work, json.dumps(settings, sort_keys=True))

    def __getitem__(self, name: str) -> Any:
        return json.loads(self.settings)[name]

    def get(self, name: str, default: Any = None) -> Any:
        """One of its settings, or the default where it has none of that name."""
        return json.loads(self.settings).get(name, default)

    @property
    def key(self) -> str:
        """Names the job by all that its results depend on; `how` it is done (memory, device) is not part of it."""
        settings = {**json.loads(self.settings), "how": None}
        content = f"{_versions()} {self.work} {json.dumps(settings, sort_keys=True)}"
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f"{self['name']}-{digest[:20]}"

    @property
    def label(self) -> str:
        """What people are shown of it."""
        settings = json.loads(self.settings)
        done = ", ".join(settings["heads"]) if settings["name"] == "heads" else settings["name"]
        seeds = settings["seeds"]
        of_seeds = f", seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}" if seeds else ""
        return f"{settings['model']}: {done}{of_seeds}"


def run_job(job: Job, folder: Path, note: Note) -> None:
    """Do a job in a folder, which may hold an unfinished run of the same job."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MARK).exists():
        return  # it was killed before it could be renamed
    importlib.import_module(job.work).run(json.loads(job.settings), folder, note)
    # The states' own files go first: a state without its tensors would be taken for a damaged one.
    for path in folder.glob("state/**/state.json"):
        path.unlink()
    shutil.rmtree(folder / "state", ignore_errors=True)
    for path in folder.glob(".*.tmp-*"):
        path.unlink()  # what was being written when it was killed
    write_json(folder / MARK, {"work": job.work, "settings": json.loads(job.settings)})


class Store:
    """The finished jobs of a folder.

    A job is done in a folder whose name begins with a dot and is renamed when it is finished. A kill at any moment
    leaves it finished or unfinished, and an unfinished job is continued.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def path(self, job: Job) -> Path:
        """The folder of a job, or of a finished one that did the same and scored more test sets."""
        own = self.folder / job.key
        if (own / MARK).is_file() or "tests" not in (settings := json.loads(job.settings)):
            return own
        for mark in sorted(self.folder.glob(f"{job['name']}-*/{MARK}")):
            tests = json.loads(mark.read_text(encoding="utf-8"))["settings"].get("tests", [])
            larger = Job.of(job.work, {**settings, "tests": tests})
            if set(tests) >= set(settings["tests"]) and larger.key == mark.parent.name:
                return mark.parent
        return own

    def finished(self, job: Job) -> bool:
        return (self.path(job) / MARK).is_file()

    def finish(self, job: Job, work: Path) -> None:
        work.replace(self.folder / job.key)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from doing the same jobs.

        Raises:
            InputError: One does.
        """
        with locked(self.folder):
            yield

    def waiting(self, jobs: Iterable[Job]) -> tuple[list[Job], int]:
        """The jobs that are not finished, each once, and how many there are in all."""
        distinct = {job.key: job for job in jobs}
        return [job for job in distinct.values() if not self.finished(job)], len(distinct)

    def run(self, jobs: Iterable[Job], *, shown: bool = True) -> int:
        """Do the jobs that are not finished, one after the other; returns how many those were. Call it within `locked`.

        Args:
            jobs: The jobs, in the order in which they are done.
            shown: Whether to show progress.

        Raises:
            InputError: A job cannot be done as it is set.
        """
        waiting, total = self.waiting(jobs)
        for number, job in enumerate(waiting, start=total - len(waiting) + 1):
            with progress_bar(f"[{number}/{total}] {job.label}", "steps", shown=shown) as move:
                work = self.folder / f".{job.key}"
                try:
                    run_job(job, work, move)
                except InputError:
                    with contextlib.suppress(OSError):  # it may hold what a later run continues
                        work.rmdir()
                    raise
                self.finish(job, work)
        return len(waiting)
