"""How long the products of one forward pass take, by each way of computing them: measured once per base and machine."""

import contextlib
import hashlib
import json
import logging
import math
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from likra.engine.memory import out_of_memory
from likra.engine.precision import Way, weights_of
from likra.engine.products import Rows
from likra.errors import InputError
from likra.models.lora import is_linear
from likra.utils.files import new_file

logger = logging.getLogger(__name__)

#: Below so many weights a reading takes so little time that measuring would take longer.
SMALL = 30_000_000
_ROWS = {"cpu": 256, "cuda": 4096}  # of each reader, in a product that is timed
_KEPT = "_likra_seconds"  # set on the model


def is_small(model: PreTrainedModel) -> bool:
    """Whether a model is read too quickly for measuring to be worth its time: it is read in float32."""
    return sum(weight.numel() for weight in weights_of(model)) < SMALL


class ProductSpeed:
    """Seconds of the products of one forward pass of a model, without its output layer.

    Args:
        model: The model.
        readers: How many read every token.
        cache: Folder in which measurements are kept, or None.
    """

    def __init__(self, model: PreTrainedModel, readers: int, cache: Path | None) -> None:
        self._model, self._readers = model, readers
        self._shapes: Counter[tuple[int, ...]] = Counter()
        self._weights: dict[tuple[int, ...], torch.Tensor] = {}
        output = model.get_output_embeddings()  # of few tokens, and as large as all else of a small model: left out
        for module in model.modules():
            weight = module.weight if is_linear(module) and module is not output else None
            if isinstance(weight, torch.Tensor) and weight.is_floating_point():
                weight = weight if isinstance(module, nn.Linear) else weight.T
                self._shapes[tuple(weight.shape)] += 1
                self._weights[tuple(weight.shape)] = weight
        self._file = cache / "precision" / f"{self._digest()}.json" if cache else None
        self._known: dict[str, float] = model.__dict__.setdefault(_KEPT, {}).setdefault(readers, {})

    def seconds(self, way: Way) -> float:
        """By one way."""
        if way.name not in self._known and self._file is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # not there, or damaged: it is measured
                self._known |= {str(name): float(value) for name, value in json.loads(self._file.read_text()).items()}
        if way.name not in self._known:
            self._known[way.name] = self._measured(way)
            logger.debug("products by %s take %.4f s", way.name, self._known[way.name])
            self._keep()
        return self._known[way.name]

    @torch.inference_mode()
    def _measured(self, way: Way) -> float:
        each = _ROWS["cpu" if self._model.device.type == "cpu" else "cuda"]
        rows, total, random = Rows(0, each, self._readers), 0.0, torch.Generator().manual_seed(0)
        try:
            with way.reading(self._model, rows, rows):
                for shape, count in self._shapes.items():
                    weight = self._weights[shape]
                    x_Ni = torch.randn(len(rows), shape[1], generator=random).to(weight.device)
                    total += count * min(self._timed(x_Ni, weight) for _ in range(3))
        except (RuntimeError, TypeError) as error:
            if out_of_memory(error):
                raise
            logger.debug("products by %s cannot be taken here", way.name, exc_info=True)
            return math.inf
        return total

    def _timed(self, x_Ni: torch.Tensor, weight: torch.Tensor) -> float:
        _wait(weight.device)
        start = time.perf_counter()
        F.linear(x_Ni, weight)
        _wait(weight.device)
        return time.perf_counter() - start

    def _keep(self) -> None:
        if self._file is None:
            return
        try:
            with new_file(self._file) as work:
                work.write_text(json.dumps(self._known))
        except (InputError, OSError) as error:
            logger.debug("speeds are not kept: %s", error)

    def _digest(self) -> str:
        """What the speeds depend on."""
        device = self._model.device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.node()} {platform.machine()}"
        )
        of: list[Any] = [name, torch.__version__, torch.get_num_threads(), str(self._model.dtype), self._readers]
        of.append(sorted((*shape, count) for shape, count in self._shapes.items()))
        return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:40]


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
