"""Where numbers that are not finite come from: the base, or training."""

import torch

from likra.engine.batch import Batch
from likra.engine.padded import PaddedReader
from likra.errors import InputError
from likra.models.base import Base
from likra.models.lora import StackedLora
from likra.scoring.likelihoods import BASE


def remedy(base: Base) -> str:
    """What to do about numbers of a base, or of heads on it, that are not finite: half a sentence for a message."""
    modules = list(base.model.modules())
    heads = {id(weight) for layer in modules if isinstance(layer, StackedLora) for weight in (layer.a, layer.b)}
    for name, weight in base.model.named_parameters():
        if id(weight) not in heads and weight.is_floating_point() and not weight.isfinite().all():
            path = name.replace(".base.", ".")
            return f"{path} of {base.name} holds NaN or infinity: get a sound copy of the model"
    if base.model.dtype in (torch.float16, torch.bfloat16):
        return "load the model with dtype float32"
    return "they overflow even in float32: train its heads anew with a lower learning_rate, or take another base"


@torch.no_grad()
def check_base(base: Base, batch: Batch) -> None:
    """Raise InputError if the plain base, without any adapters, gives numbers that are not finite for some texts.

    Args:
        base: The base; its adapters, if it carries any, are not active.
        batch: The texts; its adapter does not matter. They are read one by one.
    """
    for pair in batch.examples:
        with PaddedReader(base, None).predictions([Batch(BASE, [pair], batch.whole_text)]) as [found]:
            if not found.logprob_M.isfinite().all():
                raise InputError(f"the base gives numbers that are not finite before any training; {remedy(base)}.")
