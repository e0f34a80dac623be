"""What a base makes of texts: its last hidden states, for classifiers that need no adapter."""

from collections.abc import Sequence

import numpy as np

from likra.data.tokens import TokenizedExample
from likra.engine.padded import padded
from likra.engine.precision import FLOAT32, STORED, computes_in_float32
from likra.engine.products import Rows
from likra.models.base import Base
from likra.models.thread_lock import alone
from likra.scoring.likelihoods import Floats

_ROWS = 32  # sequences that are read at a time


@alone(lambda base, *_, **__: base.model)
def hidden_states(base: Base, sequences: Sequence[Sequence[int]], *, mean: bool = False) -> Floats:
    """Hidden states [P, D] of some sequences of token ids, in at least float32: what the output embedding reads.

    Args:
        base: The base; it reads every sequence whole.
        sequences: The sequences. One that is longer than the model can read loses tokens from its left.
        mean: Their mean over each sequence's tokens, in place of the state at its last token.

    Example:
        >>> from likra.models import load_base
        >>> base = load_base("world-tiny")
        >>> hidden_states(base, [[1, 2, 3], [4]], mean=True).shape[0]
        2
    """
    import torch

    cut = [tuple(ids)[-base.max_length :] for ids in sequences]
    known: dict[tuple[int, ...], Floats] = {}
    some = sorted(set(cut), key=lambda ids: (len(ids), ids))
    way = FLOAT32 if computes_in_float32(base.model) else STORED
    for start in range(0, len(some), _ROWS):
        read = some[start : start + _ROWS]
        inputs = padded([TokenizedExample(ids, ids[-1:]) for ids in read], base.device)  # all of the ids are read
        rows = Rows(0, inputs["input_ids"].numel(), 1)
        with torch.inference_mode(), way.reading(base.model, rows, rows):
            states_RTD = base.model.base_model(**inputs, use_cache=False).last_hidden_state
        for ids, states_TD in zip(read, states_RTD, strict=True):  # padded on the left
            own_TD = states_TD[-len(ids) :].double() if mean else states_TD[-1:].double()
            known[ids] = own_TD.mean(0).cpu().numpy()
    return np.stack([known[ids] for ids in cut])
