"""Likelihoods on disk, by content: what was read once is not read again."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from likra import __version__
from likra.data.tokens import TokenizedExample
from likra.errors import InputError
from likra.models.base import Base
from likra.models.identity import checksum, weights_of
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.utils.files import new_file

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
        versions = f"{__version__} {torch.__version__} {transformers.__version__}"
        digest = hashlib.sha256(f"{versions} {_content(base)}".encode())
        for pair in pairs:
            digest.update(f"{pair.context} {pair.completion}".encode())
        self._common = digest.hexdigest()

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(self._common.encode())
        if name != BASE:
            assert self._stack is not None
            digest.update(self._stack.digest(name).encode())
        return self._folder / f"{digest.hexdigest()[:40]}.safetensors"

    def get(self, name: str) -> NDArray[np.float64] | None:
        """Log-likelihoods [pairs] under one reader, or None. A damaged file counts as none."""
        try:
            values: NDArray[np.float64] = load_file(self._path(name))["logprob"]
        except (SafetensorError, OSError, KeyError):
            return None
        return values if values.shape == (self._pairs,) else None

    def put(self, name: str, values: NDArray[np.float64]) -> None:
        """Keep log-likelihoods [pairs]; a folder that cannot be written to is a warning."""
        try:
            with new_file(self._path(name)) as work:
                save_file({"logprob": np.ascontiguousarray(values)}, work)
        except InputError as error:
            logger.warning("likelihoods are not kept: %s", error)


def _content(base: Base) -> str:
    """Digest of a model's configuration and every bit of its parameters and buffers, as they are now.

    It is taken each time: what is written through `tensor.data`, as PEFT's merging does, leaves no other trace.
    """
    config = base.model.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "_commit_hash"):
        config.pop(name, None)
    digest = hashlib.sha256(f"{type(base.model).__name__} {json.dumps(config, sort_keys=True, default=str)}".encode())
    for name, tensor in weights_of(base.model):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {checksum(tensor)}".encode())
    return digest.hexdigest()
