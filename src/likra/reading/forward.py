"""Forward passes: of a plan's packed tokens, and of plain rows; logits only where they are needed."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from likra.reading.attention import Pool, reads_trees
from likra.reading.plan import Plan


def read(
    model: PreTrainedModel,
    plan: Plan,
    pool: Pool,
    places_P: torch.Tensor,
    use: Callable[[torch.Tensor], Any] = lambda logits: logits,
) -> Any:
    """Read a plan's tokens, and keep in `pool` what it says; returns what `use` makes of the logits [P, V] at some."""
    with reads_trees(model, plan, pool):
        logits_1PV = logits_at(
            model,
            places_P.tolist(),  # a list: the last layer may be on another device than the first
            input_ids=plan.ids_N[None].to(model.device),
            position_ids=plan.positions_N[None].to(model.device),
        )
        # Within the block: should memory run out here, the pool is still as it was.
        return use(logits_1PV[0])


def logits_at(model: PreTrainedModel, places: int | list[int], **inputs: Any) -> torch.Tensor:
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
