"""Forward passes: of a plan's packed tokens, and of any rows; logits only where they are needed."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from likra.engine.attention import KVCache, reads_trees
from likra.engine.plan import Plan
from likra.engine.transfer import sent
from likra.models.base import Base

_ROWS = 256  # rows of logits that are normalised together


def read(
    model: PreTrainedModel,
    plan: Plan,
    cache: KVCache,
    places_P: torch.Tensor,
    use: Callable[[torch.Tensor], Any] = lambda logits: logits,
) -> Any:
    """Read a plan's tokens, and keep in `cache` what it says; returns what `use` makes of the logits [P, V] at some."""
    with reads_trees(model, plan, cache):
        # Within the block: should memory run out here, the cache is still as it was.
        return use(packed_logits(model, plan, places_P.tolist()))


def packed_logits(model: PreTrainedModel, plan: Plan, places: list[int]) -> torch.Tensor:
    """Vocabulary logits [P, V] at some of a plan's tokens; called within `reads_trees`."""
    ids, positions, there = sent(model.device, [plan.ids_N, plan.positions_N, torch.tensor(places, dtype=torch.long)])
    # Of a model that is spread, the last layer may be on another device than the first; a list suits any.
    spread = len(set(getattr(model, "hf_device_map", {}).values())) > 1
    return logits_at(model, places if spread else there, input_ids=ids[None], position_ids=positions[None])[0]


def logits_at(model: PreTrainedModel, places: int | list[int] | torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Vocabulary logits, [R, places, V], at the last so many places of each row, or at the given ones.

    Inputs that the model does not take are left out: a model without `logits_to_keep` computes all and is sliced, one
    without `position_ids` counts for itself.
    """
    taken = inspect.signature(model.forward).parameters
    if "position_ids" not in taken:
        inputs.pop("position_ids", None)
    if "logits_to_keep" in taken:
        logits: torch.Tensor = model(**inputs, use_cache=False, logits_to_keep=places).logits
        return logits
    logits = model(**inputs, use_cache=False).logits
    return logits[:, -places:] if isinstance(places, int) else logits[:, places]


def autocast(base: Base, bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """The block within which a base and its adapters compute in bfloat16; without `bf16`, as they are."""
    return torch.autocast(base.device.type, dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()


def logprobs_of(logits_PV: torch.Tensor, rows_M: NDArray[np.int64], tokens_M: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-probabilities [M] of tokens at rows of logits, in nats; the softmax is in float32."""
    if logits_PV.shape[0] == 0:
        return np.zeros(0)
    log_P = torch.cat([part.float().logsumexp(-1) for part in logits_PV.split(_ROWS)])
    rows, tokens = sent(logits_PV.device, [torch.from_numpy(index) for index in (rows_M, tokens_M)])
    logprob_M = logits_PV[rows, tokens].float() - log_P[rows]
    values: NDArray[np.float64] = logprob_M.cpu().double().numpy()
    return values
