"""Every text as a row of its own, padded: for models that packed trees cannot be read with."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from likra.data.tokens import TokenizedExample
from likra.engine.batch import Batch, Predictions
from likra.engine.forward import autocast, logits_at, logprobs_of
from likra.engine.memory import Budget
from likra.engine.precision import FLOAT32, Way
from likra.engine.probe import scales_alike
from likra.engine.products import Rows
from likra.engine.transfer import sent
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE


class PaddedReader:
    """Reads padded rows; a `likra.engine.reader.Reader`."""

    def __init__(self, base: Base, stack: HeadStack | None, *, bf16: bool = False, way: Way = FLOAT32) -> None:
        self.base, self.stack, self.bf16, self.way = base, stack, bf16, way

    def num_own_tokens(self, pair: TokenizedExample) -> int:
        return len(pair.inputs)

    def keep_prefixes(self, pairs: Sequence[TokenizedExample], tokens: int) -> int:
        """Nothing is kept: every row is read whole."""
        return 0

    @contextlib.contextmanager
    def predictions(self, batches: Sequence[Batch]) -> Iterator[list[Predictions]]:
        inputs = padded([pair for batch in batches for pair in batch.examples], self.base.device)
        # Answers end together: logits are taken at the last `keep` places of each row, of which the last ones count.
        keep = max(len(label) for batch in batches for label in batch.labels)
        rows = []
        for batch in batches:
            ends = [(row + 1) * keep for row in range(len(batch.examples))]
            places = [torch.arange(end - len(label), end) for end, label in zip(ends, batch.labels, strict=True)]
            rows.append(torch.cat(places))
        with self._active(batches, inputs["input_ids"].shape[1]):
            with autocast(self.base, self.bf16):
                logits_RKV = logits_at(self.base.model, keep, **inputs)
            yield Predictions.of(batches, logits_RKV.flatten(0, 1), rows)

    def _active(self, batches: Sequence[Batch], length: int) -> contextlib.AbstractContextManager[None]:
        if self.stack is None:
            return contextlib.nullcontext()
        spans, first = [], 0
        for batch in batches:
            spans += self.stack.spans_of_rows(batch.adapter, batch.examples, length, first)
            first += len(batch.examples) * length
        return self.stack.active(spans, first)

    def loglikelihoods(
        self,
        pairs: Sequence[TokenizedExample],
        adapters: Sequence[str],
        budget: Budget,
        progress: Callable[[int], None] = lambda done: None,
    ) -> NDArray[np.float64]:
        names = sorted(adapters, key=lambda name: name != BASE)
        total_AP = np.zeros((len(names), len(pairs)))
        order = sorted(range(len(pairs)), key=lambda index: (-len(pairs[index].inputs), pairs[index].inputs))
        # Where rotations depend on the longest row beside, no row may have another one beside it.
        alone = not scales_alike(self.base.model, max(len(pair.inputs) for pair in pairs))
        # Adapters are read beside one another where their products are taken together, else in turn.
        groups = [names] if self.way.compares else [[name] for name in names]

        @torch.inference_mode()
        def step(start: int, budget: Budget) -> int:
            keep = max(len(pairs[index].completion) for index in order[start : start + budget.tokens])
            fit = min(budget.tokens // len(pairs[order[start]].inputs), budget.logits // keep) // len(groups[0])
            some = order[start : start + (1 if alone else max(1, fit))]
            batch, place = [pairs[index] for index in some], 0
            layers = Rows(0, len(some) * len(batch[0].inputs), len(groups[0]))
            logits = Rows(0, len(some) * max(len(pair.completion) for pair in batch), len(groups[0]))
            for group in groups:
                with (
                    self.way.reading(self.base.model, layers, logits),
                    self.predictions([Batch(name, batch) for name in group]) as read,
                ):
                    for found in read:
                        rows_M, tokens_M = found.row_M.cpu().numpy(), found.batch.token_M.numpy()
                        logprob_M = logprobs_of(found.logits_PV, rows_M, tokens_M)
                        example_M = found.batch.example_M.numpy()
                        total_AP[place, some] = np.bincount(example_M, weights=logprob_M, minlength=len(some))
                        place += 1
            progress(start + len(some))
            return start + len(some)

        budget.steps(len(order), step)
        return total_AP[[names.index(name) for name in adapters]]


def padded(pairs: Sequence[TokenizedExample], device: torch.device) -> dict[str, torch.Tensor]:
    """What a model is called with to read R rows of T tokens: one row per pair, padded on the left.

    Example:
        >>> padded([TokenizedExample((5, 6), (7, 8)), TokenizedExample((5,), (9,))], torch.device("cpu"))["input_ids"]
        tensor([[5, 6, 7],
                [0, 0, 5]])
    """
    inputs = [pair.inputs for pair in pairs]
    ids_RT = torch.zeros(len(pairs), max(map(len, inputs)), dtype=torch.long)
    mask_RT, positions_RT = torch.zeros_like(ids_RT), torch.zeros_like(ids_RT)
    for row, tokens in enumerate(inputs):
        ids_RT[row, -len(tokens) :] = torch.tensor(tokens)
        mask_RT[row, -len(tokens) :] = 1
        positions_RT[row, -len(tokens) :] = torch.arange(len(tokens))
    names = ("input_ids", "attention_mask", "position_ids")
    return dict(zip(names, sent(device, [ids_RT, mask_RT, positions_RT]), strict=True))
