"""PEFT adapters on disk as one stack on a base."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from likra.errors import InputError
from likra.models.adapters import adapter_config, adapter_weights, check_layers, invocation, read_adapter
from likra.models.base import Base
from likra.models.lora_config import LoraShape
from likra.models.stack import HeadStack


def read_stack(
    base: Base, folders: Mapping[str, Path], adapt: str = "everywhere", invocation_tokens: Sequence[int] = ()
) -> HeadStack:
    """Load adapters into a new stack that has all their layers, and the largest of their ranks.

    Args:
        base: The base model, without adapters.
        folders: name -> folder of its adapter.
        adapt, invocation_tokens: Where plain LoRA adapters act; Activated LoRA says so itself.

    Raises:
        InputError: A file is missing or damaged, or an adapter does not fit the base or the others.
    """
    found = {invocation(adapter_config(folder)) for folder in folders.values()}
    if len(found) > 1:
        raise InputError(
            f"{', '.join(map(str, folders.values()))}: the adapters do not act from the same tokens on "
            "(alora_invocation_tokens); train them alike."
        )
    if () not in found:
        adapt, [invocation_tokens] = "completion", found
    weights = {name: adapter_weights(folder) for name, folder in folders.items()}
    for name, folder in folders.items():
        check_layers(folder, weights[name], base)
    paths = dict.fromkeys(path for own in weights.values() for path in own)
    rank = max(a.shape[0] for own in weights.values() for a, _ in own.values())
    shape = LoraShape(r=rank, target_modules=list(paths))
    stack = HeadStack(base, list(folders), lora=shape, adapt=adapt, invocation_tokens=invocation_tokens)
    try:
        for name, folder in folders.items():
            read_adapter(stack, name, folder, weights[name])
    except BaseException:
        stack.remove()
        raise
    return stack
