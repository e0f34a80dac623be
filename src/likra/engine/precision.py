"""In which precision a base and its adapters are read: ways to compute, and the choice among them by measuring."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from likra.engine.float32_library import fastest_float32, settings
from likra.engine.memory import out_of_memory
from likra.engine.products import (
    Product,
    Products,
    Rows,
    difference,
    difference_from_exact,
    exact,
    rounded,
    split,
)
from likra.models.lora import StackedLora

logger = logging.getLogger(__name__)

_FOUND = "_likra_computes_in_float32"  # set on the model

#: A rounding error of the ratio that is accepted, as a share of its spread within questions.
ACCEPTED = 0.05


@dataclass(frozen=True)
class Way:
    """A way to compute a reading.

    Attributes:
        name: Its name, which stands in results.
        product: How matrix products are taken.
        tf32: Whether float32 products may use TF32.
        dtype: Of all activations between products; None: of the model's weights, as its code has it.
    """

    name: str
    product: Product
    tf32: bool = False
    dtype: torch.dtype | None = torch.float32

    @property
    def compares(self) -> bool:
        """Whether what it says of one reader depends on the others that are read beside it."""
        return self.product in (difference, difference_from_exact)

    @contextlib.contextmanager
    def reading(self, model: PreTrainedModel, layers: Rows, logits: Rows) -> Iterator[None]:
        """The block within which the model computes so.

        Args:
            model: The model.
            layers, logits: Which rows are the same node, in the layers' products and in the output layer's.
        """
        with _tf32(model.device, self.tf32), fastest_float32(model.device):
            if self.dtype is None or (self.product is exact and not _narrow(model, self.dtype)):
                yield
                return
            output = model.get_output_embeddings()
            weight = None if output is None else output.weight
            with Products(self.product, weight, layers, logits, self.dtype):
                yield


FLOAT32 = Way("float32", exact)
FLOAT64 = Way("float64", exact, dtype=torch.float64)
DIFFERENCE = Way("difference", difference)
DIFFERENCE_FROM_EXACT = Way("difference-from-float32", difference_from_exact)
SPLIT = Way("split", split)
TF32 = Way("tf32", exact, tf32=True)
ROUNDED = Way("rounded", rounded)
STORED = Way("stored", exact, dtype=None)

WAYS = {way.name: way for way in (FLOAT32, DIFFERENCE, DIFFERENCE_FROM_EXACT, SPLIT, TF32, ROUNDED, STORED, FLOAT64)}


def faithful(model: PreTrainedModel) -> list[Way]:
    """Ways that need no measuring: their rounding is that of float32, or far below 1% of any ratio's spread."""
    # float16 has not the range that activations have, nor room for what is split off small ones.
    halved = all(p.dtype == torch.bfloat16 for p in weights_of(model))
    return [FLOAT32, SPLIT] if model.device.type == "cuda" and halved else [FLOAT32]


def rough(model: PreTrainedModel) -> list[Way]:
    """Ways whose rounding depends on the base and its adapters."""
    return [DIFFERENCE, DIFFERENCE_FROM_EXACT, *([TF32] if model.device.type == "cuda" else [])]


def served(model: PreTrainedModel, precision: str, readers: int) -> list[Way]:
    """The ways in which likelihoods may have been read, to serve from the cache; `auto` asks for their rounding too."""
    if not computes_in_float32(model):
        return [STORED]
    if precision == "float32":
        return [FLOAT32]
    if precision == "fast" and readers > 1:
        return [DIFFERENCE]
    return [*faithful(model), *(rough(model) if precision == "auto" and readers > 1 else [])]


def choose(
    model: PreTrainedModel,
    precision: str,
    readers: int,
    seconds: Callable[[Way], float],
    rounding: Callable[[Way], float | None] | None,
) -> tuple[Way, float | None]:
    """The way to read, and its measured rounding where that was needed to choose it.

    Args:
        model: The model.
        precision: One of `likra.utils.precision.PRECISIONS`.
        readers: How many are read side by side; the rounding of one alone cancels nowhere.
        seconds: Measures what the products take.
        rounding: Measures rounding as `likra.scoring.rounding` says it; None where there is too little to measure on.
    """
    if precision == "float32":
        return FLOAT32, None
    if precision == "fast" and readers > 1:
        return DIFFERENCE, None
    sure = faithful(model)
    best = min(sure, key=seconds) if len(sure) > 1 else sure[0]
    if precision == "faithful" or rounding is None or readers == 1:
        return best, None
    # A way must be clearly faster, or noise would choose.
    for way in sorted((way for way in rough(model) if seconds(way) < 0.9 * seconds(best)), key=seconds):
        error = rounding(way)
        if error is not None and error <= ACCEPTED:
            return way, error
        logger.debug("reading by %s would round by %s of the ratio's spread", way.name, error)
    return best, None


def way_to_write(model: PreTrainedModel, precision: str, readers: int) -> Way:
    """How text is written, where there is nothing to measure on: of the ways in `faithful` the quickest for few rows.

    Args:
        model: The model.
        precision: One of `likra.utils.precision.PRECISIONS`.
        readers: How many read each token.
    """
    if not computes_in_float32(model):
        return STORED
    if precision == "fast" and readers > 1:
        return DIFFERENCE
    return FLOAT32 if precision == "float32" else faithful(model)[-1]


@torch.inference_mode()
def computes_in_float32(model: PreTrainedModel) -> bool:
    """Whether a model whose weights are stored in another type can compute in float32; else a warning, once."""
    if not _narrow(model, torch.float32):
        return True
    found: bool | None = model.__dict__.get(_FOUND)
    if found is None:
        ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
        try:
            with FLOAT32.reading(model, Rows(0, 2, 1), Rows(0, 2, 1)):
                logits = model(input_ids=ids, use_cache=False).logits
            found = logits.dtype == torch.float32
        except (RuntimeError, TypeError, ValueError) as error:
            if out_of_memory(error):
                raise
            logger.debug("reading in float32 failed", exc_info=True)
            found = False
        model.__dict__[_FOUND] = found
        if not found:
            logger.warning(
                "%s cannot compute in float32 from weights in %s; its ratios are rounded: load it with dtype float32",
                type(model).__name__,
                str(model.dtype).removeprefix("torch."),
            )
    return found


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    """The weights of a base's products and embeddings, without its adapters'."""
    return [p for p in _own(model) if p.dim() > 1 and p.is_floating_point()]


def _own(model: nn.Module) -> Iterator[torch.Tensor]:
    adapters = {id(w) for m in model.modules() if isinstance(m, StackedLora) for w in (m.a, m.b)}
    return (p for p in model.parameters() if id(p) not in adapters)


def _narrow(model: nn.Module, dtype: torch.dtype) -> bool:
    """Whether some weights of a model are of another type."""
    return any(p.is_floating_point() and p.dtype != dtype for p in _own(model))


@contextlib.contextmanager
def _tf32(device: torch.device, allowed: bool) -> Iterator[None]:
    """Float32 products in TF32, or not, whatever the program around has set."""
    if device.type != "cuda":
        yield
        return
    with settings(torch.backends.cuda.matmul, "tf32" if allowed else "ieee"):
        yield
