"""Whose fault it is that numbers are not finite."""

from collections.abc import Sequence

import torch

from likra.errors import InputError
from likra.heads.base import Base
from likra.heads.batch import rows_of
from likra.heads.lora import StackedLora
from likra.questions.tokens import TokenPair
from likra.reading import logits_at


def remedy(base: Base) -> str:
    """What to do about numbers of a base, or of heads on it, that are not finite: half a sentence for a message."""
    modules = list(base.model.modules())
    heads = {id(weight) for layer in modules if isinstance(layer, StackedLora) for weight in (layer.a, layer.b)}
    for name, weight in base.model.named_parameters():
        if id(weight) not in heads and weight.is_floating_point() and not weight.isfinite().all():
            path = name.replace(".base.", ".")
            return f"{path} of {base.name} holds NaN or infinity: get a sound copy of the model"
    if base.model.dtype in (torch.float16, torch.bfloat16):
        return "load the model with --dtype float32"
    return "they overflow even in float32: train its heads anew with a lower --lr, or take another base"


@torch.no_grad()
def check_base(base: Base, pairs: Sequence[TokenPair], *, whole_text: bool = False) -> None:
    """Raise InputError if the plain base, without any heads, gives numbers that are not finite for some texts.

    Args:
        base: The base; its heads, if it carries any, are not active.
        pairs: The texts; read one by one, for there is no hurry.
        whole_text: Whether the contexts' tokens are predicted too.
    """
    for pair in pairs:
        rows = rows_of([pair], whole_text=whole_text).to(base.device)
        logits_RKV = logits_at(base.model, rows.keep, input_ids=rows.ids_RT, position_ids=rows.positions_RT)
        labels = rows.labels_RK.to(logits_RKV.device)
        if not logits_RKV.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None]).isfinite().all():
            raise InputError(f"the base gives numbers that are not finite before any training; {remedy(base)}.")
