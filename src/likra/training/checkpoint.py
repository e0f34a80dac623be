"""The state of a run on disk, from which a run that was killed continues."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from likra.errors import InputError
from likra.training.step import Step
from likra.utils.files import new_file, sha256, write_json


def claim(folder: Path, content: str) -> None:
    """Mark a folder as one run's, which consists of several trainings.

    Args:
        folder: The folder.
        content: All that the run depends on.

    Raises:
        InputError: The folder is another run's.
    """
    mark, own = folder / "run.json", {"run": hashlib.sha256(content.encode()).hexdigest()}
    if mark.exists() and json.loads(mark.read_text(encoding="utf-8")) != own:
        raise InputError(
            f"{folder}: holds an unfinished run on other data or with other options; repeat its command to go on "
            "with it, or remove the folder to start anew."
        )
    write_json(mark, own)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with the last state of a run: its steps, and the tensors that it continues from.

    Attributes:
        folder: The folder.
        identity: What a state and a run that continues from it must agree on, JSON-able.
    """

    folder: Path
    identity: Mapping[str, Any]

    def save(self, steps: Sequence[Step], tensors: dict[str, torch.Tensor]) -> None:
        """Replace the state."""
        path = self.folder / f"step-{len(steps)}.safetensors"
        with new_file(path) as work:
            save_file(tensors, work)
        # The state file is replaced last and in one go: a kill at any moment leaves the old state or the new one.
        state = {**self.identity, "tensors": path.name, "sha256": sha256(path), "steps": [vars(step) for step in steps]}
        write_json(self.folder / "state.json", state)
        for old in self.folder.glob("step-*.safetensors"):
            if old != path:
                old.unlink()

    def load(self) -> tuple[list[Step], dict[str, torch.Tensor]]:
        """The state; nothing where there is none.

        Raises:
            InputError: It is damaged, or of another run.
        """
        if not (self.folder / "state.json").exists():
            return [], {}
        damaged = InputError(f"{self.folder}: the state of the unfinished run is damaged; remove the folder.")
        try:
            state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
            steps = [Step(**step) for step in state["steps"]]
            path = self.folder / state["tensors"]
            if sha256(path) != state["sha256"]:
                raise damaged
        except (ValueError, KeyError, TypeError, OSError):
            raise damaged from None
        differing = [key for key, value in self.identity.items() if state.get(key) != value]
        if differing:
            raise InputError(
                f"{self.folder}: holds an unfinished run with another {' and '.join(differing)}; "
                "repeat its command to go on with it, or remove the folder to start anew."
            )
        return steps, load_file(path)

    def discard(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder, ignore_errors=True)
