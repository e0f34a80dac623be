"""Log-likelihoods of completions, read as one packed tree: every distinct token once."""

import contextlib
import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from likra.heads.base import Base
from likra.heads.stack import HeadStack
from likra.likelihood.table import BASE
from likra.questions.tokens import TokenPair
from likra.reading import Pool, Tree, plan_range, read
from likra.reading.budget import Budget
from likra.reading.plan import TRUNK

logger = logging.getLogger(__name__)

_ROWS = 256  # rows of logits that are normalised together


def read_packed(
    base: Base,
    stack: HeadStack | None,
    pairs: Sequence[TokenPair],
    groups: Sequence[str],
    budget: Budget,
    progress: Callable[[int], None],
) -> NDArray[np.float64]:
    """Summed log-likelihoods [groups, pairs].

    The tree's nodes are read in depth-first order, as many at a time as the budget allows; of what was read before,
    only the keys and values on the path to the next node are kept.

    Args:
        base: The base model.
        stack: The heads, or None where only the base is asked.
        pairs: What is read.
        groups: Who reads: heads, and the base, which comes first.
        budget: What one forward pass may take; half of it once memory runs out.
        progress: Called after each forward pass with the number of pairs that are done.
    """
    if stack is None or stack.activation == "everywhere":
        shared = [0] * len(pairs)
    else:
        shared = [len(pair.context) - stack.reach(pair.context) for pair in pairs]
        if asleep := sum(not stack.wakes_in(context) for context in {pair.context for pair in pairs}):
            logger.warning(
                "%d prompts do not end as the training prompts of these heads did; on them the heads act from the last "
                "token on",
                asleep,
            )
    tree = Tree.of([(pair.inputs, own) for pair, own in zip(pairs, shared, strict=True)])
    depth = int(tree.depth_N.max()) + 1
    # What is predicted: at which node, which token, of which pair; in the order of the nodes.
    node_M = np.concatenate(
        [path[-len(pair.completion) :] for path, pair in zip(tree.paths, pairs, strict=True)]
    ).astype(np.int64)
    token_M = np.concatenate([np.array(pair.completion) for pair in pairs])
    pair_M = np.repeat(np.arange(len(pairs)), [len(pair.completion) for pair in pairs])
    order = np.argsort(node_M, kind="stable")
    node_M, token_M, pair_M = node_M[order], token_M[order], pair_M[order]
    last_P = np.sort([path[-1] for path in tree.paths])
    tokens_N = np.concatenate([[0], np.cumsum(np.where(tree.own_N, len(groups), 1))])
    places_N = np.zeros(len(tree) + 1, dtype=np.int64)
    places_N[np.unique(node_M) + 1] = len(groups)
    places_N = np.cumsum(places_N)

    total_GP = np.zeros((len(groups), len(pairs)))
    pool = Pool()

    @torch.inference_mode()
    def step(start: int, budget: Budget) -> int:
        stop = _stop(tree, start, tokens_N, places_N, budget)
        some = slice(*np.searchsorted(node_M, (start, stop)))
        plan = plan_range(tree, start, stop, len(groups), depth)
        wanted, row_M = np.unique(node_M[some], return_inverse=True)
        rows_GM = row_M + len(wanted) * np.arange(len(groups))[:, None]
        places = torch.from_numpy(np.concatenate([flat[wanted - start] for flat in plan.flat_Gn]))
        spans = [
            (name, *span) for name, span in zip(groups, plan.spans, strict=True) if name != BASE and span[0] < span[1]
        ]
        with stack.active(spans, len(plan.ids_N)) if stack and spans else contextlib.nullcontext():
            logprob_M = read(
                base.model,
                plan,
                pool,
                places,
                lambda logits_PV: chosen(logits_PV, rows_GM.ravel(), np.tile(token_M[some], len(groups))),
            )
        for total, logprob in zip(total_GP, logprob_M.reshape(len(groups), -1), strict=True):
            total += np.bincount(pair_M[some], weights=logprob, minlength=len(pairs))
        progress(int(np.searchsorted(last_P, stop)))
        return stop

    budget.steps(len(tree), step)
    return total_GP


def _stop(tree: Tree, start: int, tokens_N: NDArray[np.int64], places_N: NDArray[np.int64], budget: Budget) -> int:
    """Where the stretch that begins at `start` ends."""
    ends = [
        int(np.searchsorted(cost_N, cost_N[start] + room, side="right")) - 1
        for cost_N, room in ((tokens_N, budget.tokens), (places_N, budget.logits))
    ]
    stop = max(start + 1, min(ends))
    # A long trunk under more branches than fit beside it is read alone: then none of them copies its keys.
    branching = np.flatnonzero(tree.end_N[start:stop] != tree.end_N[start])
    trunk = int(branching[0]) if len(branching) else 0
    return start + trunk if trunk >= TRUNK and tree.end_N[start] > stop else stop


def chosen(logits_PV: torch.Tensor, rows_M: NDArray[np.int64], tokens_M: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-probabilities [M] of tokens at rows of logits; the softmax is in float32."""
    if logits_PV.shape[0] == 0:
        return np.zeros(0)
    log_P = torch.cat([part.float().logsumexp(-1) for part in logits_PV.split(_ROWS)])
    rows, tokens = (torch.from_numpy(index).to(logits_PV.device) for index in (rows_M, tokens_M))
    logprob_M = logits_PV[rows, tokens].float() - log_P[rows]
    values: NDArray[np.float64] = logprob_M.cpu().double().numpy()
    return values
