"""A run over a file: what is unfinished is read and scored part by part, by whoever reads, and joined at the end."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from likra.bulk.formats import format_of
from likra.bulk.parts import cut
from likra.bulk.work import Work
from likra.data.asking import Asked
from likra.errors import InputError
from likra.utils.files import check_writable, locked
from likra.utils.keys import key
from likra.utils.runtime import Runtime


class Reader(Protocol):
    """Scores parts."""

    def __call__(self, names: Collection[str], progress: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
        """The parts of these names, each as a file, in any order.

        Args:
            names: The parts.
            progress: Called with how many candidates of a part that is not yet given are scored.
        """


@dataclass(frozen=True)
class Scored:
    """What was scored: how many records, questions and candidates."""

    records: int
    questions: int
    candidates: int


def check_out(out: Path, source: object = None) -> None:
    """Raise InputError unless scores can be written to a file that is not, and does not become part of, the source."""
    format_of(out)
    if out.is_dir():
        raise InputError(f"{out}: is a folder; --out takes a file name.")
    check_writable(out)
    given = Path(source) if isinstance(source, str | Path) else None
    if given and given.exists() and out.resolve() in (given.resolve(), given.resolve() / out.name):
        raise InputError(f"{out}: is the data that is scored, or would become a part of it; choose another --out.")


def run(asked: Asked, out: Path, about: Mapping[str, str], read: Reader, runtime: Runtime) -> Scored:
    """Score all questions, or those that an earlier run of the same did not come to; the file is written at the end.

    Args:
        asked: The questions. They are read twice: first all of them are checked.
        out: The file.
        about: What the scores depend on beside the questions, in words -> a digest of it.
        read: Scores the parts that are unfinished.
        runtime: Whether progress is shown.

    Raises:
        InputError: A record cannot be used, or the folder beside `out` holds the unfinished work of another run.
    """
    check_out(out, asked.source)
    work = Work(out, {**about, "versions": key()})
    with locked(work.folder):
        sizes, found = _look(asked, runtime)
        if not sizes:
            raise InputError(f"{asked.name}: holds no records; there is nothing to score.")
        finished = work.resume(sizes)
        done = sum(sizes[name] for name in finished)
        left = {name for name in sizes if name not in finished}
        with runtime.reporting("Scoring", "candidates") as move:

            def progress(candidates: int) -> None:
                move(done + candidates, found.candidates)

            progress(0)
            for name, content in read(frozenset(left), progress) if left else ():
                work.put(name, content)
                left.discard(name)
                done += sizes[name]
                progress(0)
        if left:
            raise InputError(f"{asked.name}: was changed while it was read; score it again.")
        work.finish(sizes)
    return found


def _look(asked: Asked, runtime: Runtime) -> tuple[dict[str, int], Scored]:
    """The parts by name with their numbers of candidates, and what they are in all; every record is checked."""
    sizes: dict[str, int] = {}
    records = questions = 0
    with runtime.reporting("Reading", "questions") as move:
        for part in cut(asked):
            sizes[part.name] = part.candidates
            records, questions = part.records[-1] + 1, questions + len(part.questions)
            move(questions, None)
    return sizes, Scored(records, questions, sum(sizes.values()))
