"""Several readers of the same rows in one batch, while `generate` sees one row of each."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from likra.engine.precision import way_to_write
from likra.engine.products import Rows
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE


class ReadersCache(DynamicCache):
    """Keys and values of every reader's rows, reader after reader; `generate` knows of the first one's rows only."""

    readers = 1

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        rows = [beam_idx + reader * len(beam_idx) for reader in range(self.readers)]
        super().reorder_cache(torch.cat(rows))  # type: ignore[arg-type]


@contextlib.contextmanager
def read_by(
    base: Base,
    stack: HeadStack | None,
    readers: Sequence[str],
    combine: Callable[[list[torch.Tensor]], torch.Tensor],
) -> Iterator[ReadersCache]:
    """Within the block a forward pass of the base is one of all readers, and its logits are what they say together.

    Args:
        base: The base, whose `generate` is called within the block with the cache that it yields.
        stack: The heads, or None where only the base reads.
        readers: Names of heads, or `base`.
        combine: Takes each reader's logits [R, V] at the rows' last tokens and gives scores [R, V].
    """
    model = base.model
    own, way = model.forward, way_to_write(model, base.precision, len(readers))
    was = model.__dict__.get("forward")

    @functools.wraps(own)
    def forward(**inputs: Any) -> Any:
        ids_RT, cache = inputs["input_ids"], inputs.get("past_key_values")
        rows, length = ids_RT.shape
        first = cache is None or cache.get_seq_length() == 0
        tokens = rows * length
        spans = [(name, place * tokens, (place + 1) * tokens) for place, name in enumerate(readers) if name != BASE]
        if stack and first and stack.adapt == "completion":
            # Of a whole prompt, heads that act on answers only read the end.
            mask_RT = inputs.get("attention_mask")  # `generate` leaves it out where nothing is padded
            given_RT = torch.ones_like(ids_RT) if mask_RT is None else mask_RT
            prompts = [tuple(row[given.bool()].tolist()) for row, given in zip(ids_RT, given_RT, strict=True)]
            adapted = [len(prompt) - stack.num_base_tokens(prompt) for prompt in prompts]
            ends = [(name, start + (row + 1) * length, row) for name, start, _ in spans for row in range(rows)]
            spans = [(name, end - adapted[row], end) for name, end, row in ends]
        for key, value in inputs.items():
            # Rows are the first dimension, but where positions have several parts (of images) the last but one.
            place = -2 if key == "position_ids" else 0
            if isinstance(value, torch.Tensor) and value.dim() > 1 and value.shape[place] == rows:
                inputs[key] = torch.cat([value] * len(readers), dim=place)
        active = stack.active(spans, len(readers) * tokens) if stack and spans else contextlib.nullcontext()
        layers, logits = Rows(0, tokens, len(readers)), Rows(0, rows, len(readers))
        with active, way.reading(model, layers, logits):
            out = own(**inputs)
        out.logits = combine(list(out.logits[:, -1].chunk(len(readers))))[:, None]
        return out

    model.forward = forward
    try:
        kept = ReadersCache(config=model.config)
        kept.readers = len(readers)
        yield kept
    finally:
        if was is None:
            del model.forward
        else:  # a hook's own, of a model that is spread over devices
            model.forward = was
