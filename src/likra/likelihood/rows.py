"""Log-likelihoods of completions, each read on its own: for models that packed trees cannot be read with."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from likra.heads.base import Base
from likra.heads.batch import rows_of
from likra.heads.stack import HeadStack
from likra.likelihood.packed import chosen
from likra.likelihood.table import BASE
from likra.questions.tokens import TokenPair
from likra.reading import logits_at
from likra.reading.budget import Budget
from likra.reading.probe import scales_alike


def read_rows(
    base: Base,
    stack: HeadStack | None,
    pairs: Sequence[TokenPair],
    groups: Sequence[str],
    budget: Budget,
    progress: Callable[[int], None],
) -> NDArray[np.float64]:
    """Summed log-likelihoods [groups, pairs]; arguments as `read_packed` takes them."""
    total_GP = np.zeros((len(groups), len(pairs)))
    order = sorted(range(len(pairs)), key=lambda index: (-len(pairs[index].inputs), pairs[index].inputs))
    # Where rotations depend on the longest row beside, no row may have another one beside it.
    alone = not scales_alike(base.model, max(len(pair.inputs) for pair in pairs))

    def step(start: int, budget: Budget) -> int:
        longest = pairs[order[start]]
        keep = max(len(pairs[index].completion) for index in order[start : start + budget.tokens])
        fit = min(budget.tokens // len(longest.inputs), budget.logits // keep)
        some = order[start : start + (1 if alone else max(1, fit))]
        for total_P, name in zip(total_GP, groups, strict=True):
            total_P[some] = _read(base, stack, [pairs[index] for index in some], name)
        progress(start + len(some))
        return start + len(some)

    budget.steps(len(order), step)
    return total_GP


@torch.inference_mode()
def _read(base: Base, stack: HeadStack | None, pairs: list[TokenPair], name: str) -> NDArray[np.float64]:
    rows = rows_of(pairs).to(base.device)
    inputs = {"input_ids": rows.ids_RT, "attention_mask": rows.attention_RT, "position_ids": rows.positions_RT}
    if stack is None or name == BASE:
        logits_RKV = logits_at(base.model, rows.keep, **inputs)
    else:
        with stack.active(stack.spans_of_rows(name, pairs, rows.ids_RT.shape[1]), rows.ids_RT.numel()):
            logits_RKV = logits_at(base.model, rows.keep, **inputs)
    row_M, place_M = (rows.labels_RK != -100).nonzero(as_tuple=True)
    tokens = rows.labels_RK[row_M, place_M]
    flat = (row_M * rows.keep + place_M).cpu().numpy()
    logprob_M = chosen(logits_RKV.flatten(0, 1), flat, tokens.cpu().numpy())
    return np.bincount(row_M.cpu().numpy(), weights=logprob_M, minlength=len(pairs)).astype(np.float64)
