"""The parts of a file of scores that are finished, in a folder beside it until all are."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from likra.bulk.formats import format_of
from likra.errors import InputError
from likra.utils.files import LOCK, new_file, unfinished, write_json

_ABOUT = "run.json"


class Work:
    """What is finished of a file of scores.

    One file for each part, named by what it is of, is complete or not there, whenever the process is killed.
    """

    def __init__(self, out: Path, about: Mapping[str, str]) -> None:
        """
        Args:
            out: The file that all parts will make.
            about: What the scores depend on beside the questions, in words -> a digest of it.
        """
        self.out, self._about = out, dict(about)
        self.folder = unfinished(out)

    def resume(self, names: Collection[str]) -> set[str]:
        """Which of these parts are finished.

        Raises:
            InputError: The folder holds work of another run: with other heads, options or versions, or on other data.
        """
        path = self.folder / _ABOUT
        if path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                found = {}
            before = found if isinstance(found, dict) else {}
            other = [what for what in {**self._about, **before} if before.get(what) != self._about.get(what)]
            if other:
                raise self._refused(f"with other {', other '.join(other)}")
        finished = {file.stem for file in self.folder.glob(f"*{self.out.suffix}")}
        if finished and not path.exists():  # a run that was killed as it cleared up, or something else's files
            raise self._refused("of which it is not known what it was")
        if finished - set(names):
            raise self._refused("on other data")
        return finished

    def _refused(self, what: str) -> InputError:
        return InputError(
            f"{self.folder}: holds the unfinished work of another run, {what}; finish that run, remove the folder, or "
            "choose another --out."
        )

    def put(self, name: str, content: bytes) -> None:
        """Keep a finished part; with the first, what it depends on."""
        if not (about := self.folder / _ABOUT).exists():
            write_json(about, self._about)
        with new_file(self._path(name)) as work:
            work.write_bytes(content)

    def finish(self, names: Collection[str]) -> None:
        """Make the file of its parts, in this order, and remove them."""
        joined = self.folder / ".joined"  # in this folder, so that a run that is killed now leaves nothing elsewhere
        format_of(self.out).join(map(self._path, names), joined)
        joined.replace(self.out.resolve())
        for file in self.folder.iterdir():
            if file.name not in (LOCK, _ABOUT):
                file.unlink()
        (self.folder / _ABOUT).unlink(missing_ok=True)  # last, or parts could be taken for those of another run

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{self.out.suffix}"
