"""All texts as one packed tree: every distinct token is read once, without padding."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from likra.data.tokens import TokenizedExample
from likra.engine import plan as planning
from likra.engine.attention import KVCache, reads_trees
from likra.engine.batch import Batch, Predictions
from likra.engine.forward import autocast, logprobs_of, packed_logits, read
from likra.engine.memory import Budget
from likra.engine.plan import RangePlanner, plan_new
from likra.engine.precision import FLOAT32, Way
from likra.engine.prefix_cache import PrefixCache
from likra.engine.products import Rows
from likra.engine.tree import Ints, Tree
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE

logger = logging.getLogger(__name__)


class PackedReader:
    """Reads prefix trees; a `likra.engine.reader.Reader`."""

    def __init__(
        self,
        base: Base,
        stack: HeadStack | None,
        *,
        bf16: bool = False,
        memory: int | None = None,
        way: Way = FLOAT32,
    ) -> None:
        self.base, self.stack, self.bf16, self.memory, self.way = base, stack, bf16, memory, way
        self._kept: PrefixCache | None = None

    def num_own_tokens(self, pair: TokenizedExample) -> int:
        return len(pair.inputs) - self._num_base_tokens(pair)

    def _num_base_tokens(self, pair: TokenizedExample) -> int:
        return self.stack.num_base_tokens(pair.context) if self.stack else 0

    def _prefix(self, pair: TokenizedExample) -> tuple[int, ...]:
        return pair.context[: self._num_base_tokens(pair)]

    def keep_prefixes(self, pairs: Sequence[TokenizedExample], tokens: int) -> int:
        prefixes, self._kept = {self._prefix(pair) for pair in pairs} - {()}, None
        needed = len(Tree.of([(prefix, len(prefix)) for prefix in prefixes])) if prefixes else 0
        if not 0 < needed <= tokens:
            return 0
        self._kept = self._read_prefixes(prefixes)
        return needed

    def _read_prefixes(self, prefixes: set[tuple[int, ...]]) -> PrefixCache:
        with autocast(self.base, self.bf16):
            return PrefixCache(self.base.model, prefixes, self.memory)

    @contextlib.contextmanager
    def predictions(self, batches: Sequence[Batch]) -> Iterator[list[Predictions]]:
        """As `Reader.predictions`: each batch is a prefix tree, and their prefixes are read once for all."""
        model, trees, slots_of = self.base.model, [], []
        prefixes = self._kept or self._read_prefixes({self._prefix(pair) for b in batches for pair in b.examples})
        for batch in batches:
            tree = Tree.of([(pair.inputs, self._num_base_tokens(pair)) for pair in batch.examples])
            slots = np.zeros(len(tree), dtype=np.int64)
            for path, pair in zip(tree.paths, batch.examples, strict=True):
                slots[path[: self._num_base_tokens(pair)]] = prefixes.slots[self._prefix(pair)]
            trees.append(tree)
            slots_of.append(slots)
        plan = plan_new(trees, slots_of)
        distinct, rows = [], []
        for batch, tree, places in zip(batches, trees, plan.places_AS, strict=True):
            at = [places[path[-len(label) :]] for path, label in zip(tree.paths, batch.labels, strict=True)]
            found, row_M = np.unique(np.concatenate(at), return_inverse=True)
            distinct.extend(found.tolist())
            rows.append(torch.from_numpy(row_M))
        with self._active([b.adapter for b in batches], plan), reads_trees(model, plan, prefixes.keys):
            with autocast(self.base, self.bf16):
                logits_PV = packed_logits(model, plan, distinct)
            yield Predictions.of(batches, logits_PV, rows)

    def _active(self, adapters: Sequence[str], plan: planning.Plan) -> contextlib.AbstractContextManager[None]:
        """The block within which each adapter reads its span of a plan's tokens."""
        if self.stack is None:
            return contextlib.nullcontext()
        spans = [(a, *span) for a, span in zip(adapters, plan.spans, strict=True) if a != BASE and span[0] < span[1]]
        return self.stack.active(spans, len(plan.ids_N))

    def loglikelihoods(
        self,
        pairs: Sequence[TokenizedExample],
        adapters: Sequence[str],
        budget: Budget,
        progress: Callable[[int], None] = lambda done: None,
    ) -> NDArray[np.float64]:
        """As `Reader.loglikelihoods`.

        The tree's nodes are read in depth-first order, as many at a time as the budget allows; of what was read before,
        only the keys and values on the path to the next node are kept.
        """
        self._warn_of_other_endings(pairs)
        names = sorted(adapters, key=lambda name: name != BASE)  # the base first: base tokens are read by the first
        tree = Tree.of([(pair.inputs, self._num_base_tokens(pair)) for pair in pairs])
        depth = int(tree.depth_N.max()) + 1
        # What is predicted: at which node, which token, of which pair; in the order of the nodes.
        at = [path[-len(pair.completion) :] for path, pair in zip(tree.paths, pairs, strict=True)]
        node_M, token_M = np.concatenate(at).astype(np.int64), np.concatenate([pair.completion for pair in pairs])
        pair_M = np.repeat(np.arange(len(pairs)), [len(pair.completion) for pair in pairs])
        order = np.argsort(node_M, kind="stable")
        node_M, token_M, pair_M = node_M[order], token_M[order], pair_M[order]
        last_P = np.sort([path[-1] for path in tree.paths])
        stretches = Stretches(tree, node_M, len(names))
        total_AP, cache = np.zeros((len(names), len(pairs))), KVCache()

        @torch.inference_mode()
        def step(start: int, budget: Budget) -> int:
            stop = stretches.stop(start, budget)
            some = slice(*np.searchsorted(node_M, (start, stop)))
            plan = RangePlanner(tree, start, stop, len(names), depth).plan()
            wanted, row_M = np.unique(node_M[some], return_inverse=True)
            rows_AM = row_M + len(wanted) * np.arange(len(names))[:, None]
            tokens_AM = np.tile(token_M[some], len(names))
            places = torch.from_numpy(np.concatenate([places[wanted - start] for places in plan.places_AS]))
            first, last = plan.spans[0]
            layers, logits = Rows(first, last - first, len(names)), Rows(0, len(wanted), len(names))
            with self._active(names, plan), self.way.reading(self.base.model, layers, logits):
                logprob_M = read(
                    self.base.model, plan, cache, places, lambda logits: logprobs_of(logits, rows_AM.ravel(), tokens_AM)
                )
            for total_P, logprob in zip(total_AP, logprob_M.reshape(len(names), -1), strict=True):
                total_P += np.bincount(pair_M[some], weights=logprob, minlength=len(pairs))
            progress(int(np.searchsorted(last_P, stop)))
            return stop

        budget.steps(len(tree), step)
        return total_AP[[names.index(name) for name in adapters]]

    def _warn_of_other_endings(self, pairs: Sequence[TokenizedExample]) -> None:
        if self.stack is None or self.stack.adapt == "everywhere":
            return
        if other := sum(not self.stack.ends_in_invocation(context) for context in {pair.context for pair in pairs}):
            logger.warning(
                "%d prompts do not end as the training prompts of these heads did; on them the heads act from the last "
                "token on",
                other,
            )


class Stretches:
    """How far one forward pass goes in a tree.

    Args:
        tree: The tree.
        predicted_M: Nodes at which tokens are predicted.
        adapters: How many read each adapter token, and predict.
    """

    def __init__(self, tree: Tree, predicted_M: Ints, adapters: int) -> None:
        self._tree = tree
        # Packed tokens, and rows of logits, before each node.
        self._tokens_N = np.concatenate([[0], np.cumsum(np.where(tree.adapter_N, adapters, 1))])
        logits_N = np.zeros(len(tree) + 1, dtype=np.int64)
        logits_N[np.unique(predicted_M) + 1] = adapters
        self._logits_N = np.cumsum(logits_N)

    def stop(self, start: int, budget: Budget) -> int:
        """Where the stretch that begins at `start` ends."""
        tree = self._tree
        ends = [
            int(np.searchsorted(before_N, before_N[start] + most, side="right")) - 1
            for before_N, most in ((self._tokens_N, budget.tokens), (self._logits_N, budget.logits))
        ]
        stop = max(start + 1, min(ends))
        # A long prefix of more branches than fit beside it is read alone: then none of them copies its keys.
        branching = np.flatnonzero(tree.end_N[start:stop] != tree.end_N[start])
        prefix = int(branching[0]) if len(branching) else 0
        return start + prefix if prefix >= planning.PREFIX and tree.end_N[start] > stop else stop
