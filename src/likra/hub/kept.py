"""Tables of likelihoods kept by the files that they come from: a repetition loads no model."""

import contextlib
import importlib.metadata
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from likra.data.question import Question
from likra.data.templates import Prompter
from likra.errors import InputError
from likra.hub.saved import Saved
from likra.scoring.likelihoods import Likelihoods
from likra.utils.embedded import embedded_models
from likra.utils.file_digest import file_digests
from likra.utils.files import new_file
from likra.utils.keys import digest, key
from likra.utils.locations import CONFIG, MANIFEST

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptTables:
    """The tables of some saved adapters on one base, as files and options say which.

    Beside the likelihoods of each reader, which are kept by the content of a model in memory (`likra.engine.cache`). A
    table is named by the digests of the adapters' files and of all of the base's (weights, configuration, tokenizer),
    by how the base is loaded, by the device, by every prompt and answer as text, and by the versions of the libraries.

    Attributes:
        cache: The folder of the cache.
        source: A digest of what the numbers depend on beside the texts.
    """

    cache: Path
    source: str

    @classmethod
    def of(
        cls, saved: Saved, cache: Path, model: str | None, revision: str | None, how: Mapping[str, Any]
    ) -> Self | None:
        """Those of saved adapters; None where files do not tell which model it is: a branch on the hub, say.

        Args:
            saved: The adapters. Their files have been found to be what was written.
            cache: The folder of the cache.
            model, revision: The base and its commit, where given.
            how: All that is said about how the base is loaded and read.
        """
        files = base_files(model or saved.origin["name"], revision or (None if model else saved.origin["revision"]))
        if files is None or how.get("trust_remote_code") or how.get("quantize") or how.get("device") == "auto":
            return None
        try:
            base = file_digests(files, cache)
            heads = file_digests([saved.folder / MANIFEST], cache)  # which has the digests of the other files
        except OSError:
            return None
        return cls(cache, key(base=base, heads=heads, how={**how, "device": device(how.get("device"))}))

    def get(self, questions: Sequence[Question], prompter: Prompter) -> Likelihoods | None:
        """The table of some questions, or None. A damaged file counts as none."""
        try:
            with safe_open(self._path(questions, prompter), framework="numpy") as file:
                about, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Likelihoods(
                tuple(json.loads(about["heads"])), list(questions), **arrays, meta=json.loads(about["meta"])
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None

    def put(self, table: Likelihoods, prompter: Prompter) -> None:
        """Keep a table; a folder that cannot be written to is a warning."""
        arrays = {name: np.ascontiguousarray(getattr(table, name)) for name in ("logprob_HQC", "tokens_QC", "cut_QC")}
        about = {"heads": json.dumps(table.heads), "meta": json.dumps(table.meta)}
        try:
            with new_file(self._path(table.questions, prompter)) as work:
                save_file(arrays, work, about)
        except InputError as error:
            logger.warning("likelihoods are not kept: %s", error)

    def _path(self, questions: Sequence[Question], prompter: Prompter) -> Path:
        about = {"style": prompter.style, "shots": prompter.shots, "sampled": prompter.sampled}
        texts = digest(json.dumps(prompter.pairs(question)) for question in questions)
        return self.cache / "tables" / f"{key(source=self.source, about=about, texts=texts)[:40]}.safetensors"


def base_files(name: str, revision: str | None) -> list[Path] | None:
    """The files that a base is loaded from: all of its folder's; None where that takes more than this machine's disk.

    Args:
        name: A folder, a file, an embedded model, or a hub id.
        revision: Its commit on the hub.
    """
    path = Path(embedded_models().get(name, name))
    if path.is_file():
        return [path]
    if not path.is_dir():
        if not re.fullmatch("[0-9a-f]{40}", revision or ""):  # only a commit stays what it is
            return None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json", revision=revision)
        if not isinstance(found, str):
            return None
        path = Path(found).parent
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    elsewhere = any(file.name == CONFIG or _has_folders(file) for file in files)
    return None if elsewhere else files


def _has_folders(file: Path) -> bool:
    """Whether a file is the index of weights that lie in other folders."""
    if not file.name.endswith(".index.json"):
        return False
    try:
        return any("/" in name for name in json.loads(file.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return True


def device(given: str | None) -> str:
    """The device that a model is loaded on, as `load_base` chooses it; asks torch only where it may be a GPU."""
    if given:
        return given
    if sys.platform == "darwin" or importlib.metadata.version("torch").endswith("+cpu"):
        return "cpu"
    import torch

    return f"cuda {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def warnings_of_likra() -> Iterator[list[str]]:
    """The warnings that likra logs within the block: what is not said again must not be left out either."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logging.getLogger("likra").addHandler(listener)
    try:
        yield found
    finally:
        logging.getLogger("likra").removeHandler(listener)
