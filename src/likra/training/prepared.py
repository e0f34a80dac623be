"""The model as training needs it."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from likra.errors import InputError
from likra.models.stack import HeadStack


def check_trainable(stack: HeadStack) -> None:
    """Raise InputError if heads cannot be trained on the base as it was loaded."""
    model = stack.base.model
    if model.dtype == torch.float16:
        raise InputError("heads are not trained in float16, whose gradients vanish; take dtype bfloat16 or float32.")
    if getattr(model, "is_loaded_in_4bit", False) and model.device.type == "cpu":
        raise InputError(
            "heads are not trained on a 4-bit base on a CPU, where bitsandbytes gives incomplete gradients; use a GPU, "
            "or quantize 8bit."
        )


@contextlib.contextmanager
def prepared(stack: HeadStack, *, checkpointing: bool) -> Iterator[None]:
    """The model as training needs it. Dropout of the base stays off: heads must not depend on their neighbours."""
    model = stack.base.model
    rates: list[tuple[nn.Module, str, float]] = []
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                # This layer alone, not its children: it is what switches the recomputation on. Some layers (OPT's)
                # then drop out values themselves.
                module.training = True
                for name, value in vars(module).items():
                    if "dropout" in name and isinstance(value, float):
                        rates.append((module, name, value))
                        setattr(module, name, 0.0)
    try:
        yield
    finally:
        if checkpointing:
            model.gradient_checkpointing_disable()
            for module, name, value in rates:
                setattr(module, name, value)
        model.eval()
        stack.zero_grad()
        for parameter in stack.parameters():
            parameter.requires_grad_(False)
