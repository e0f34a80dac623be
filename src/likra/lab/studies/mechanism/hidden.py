"""Hidden states: what the blocks of a model give out, and a direction added to it."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from likra.data.tokens import TokenizedExample
from likra.engine.padded import padded
from likra.errors import InputError
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE, Floats


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The blocks of a decoder, in order.

    Raises:
        InputError: They cannot be told from other lists of modules.
    """
    count = model.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    decoder = model.get_decoder()  # type: ignore[operator]
    found = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not found:
        raise InputError(f"{type(model).__name__}: its blocks were not found, so no direction can be put into them.")
    return found[0]


@torch.no_grad()
def block_outputs(
    base: Base, pairs: Sequence[TokenizedExample], stack: HeadStack | None = None, head: str = BASE
) -> list[torch.Tensor]:
    """What every block gives out ([R, T, D] each), of pairs that are read together, one a row, padded on the left.

    (transformers' own list has the last one normalised.)

    Args:
        base: The model.
        pairs: What is read; the last token of each is predicted only.
        stack: The heads, or None where the plain base reads.
        head: Which of them reads.
    """
    inputs = padded(pairs, base.device)
    outputs: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    spans = stack.spans_of_rows(head, pairs, inputs["input_ids"].shape[1]) if stack is not None else []
    active = stack.active(spans, inputs["input_ids"].numel()) if stack is not None else contextlib.nullcontext()
    handles = [block.register_forward_hook(keep) for block in blocks_of(base.model)]
    try:
        with active:
            base.model.base_model(**inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


@contextlib.contextmanager
def steered(base: Base, block: int, direction_D: Floats) -> Iterator[None]:
    """Within the block, a direction is added to what one block of the model gives out, at every token."""
    direction = torch.from_numpy(direction_D)

    def add(module: nn.Module, inputs: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        moved = states + direction.to(states.device, states.dtype)  # the dtype that is computed in, not stored
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = blocks_of(base.model)[block].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
