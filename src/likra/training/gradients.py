"""The gradients of one optimisation step: forward and backward passes, within the memory there is."""

import logging
from collections.abc import Callable, Mapping, Sequence

import torch

from likra.data.tokens import TokenizedExample
from likra.engine.batch import Batch
from likra.engine.memory import out_of_memory
from likra.engine.reader import Reader
from likra.engine.transfer import sent
from likra.models.stack import HeadStack
from likra.training.losses import Loss
from likra.training.passes import Examples, Passes
from likra.utils import parallel

logger = logging.getLogger(__name__)


class Gradients:
    """Accumulates the gradients of a stack's adapters.

    Args:
        stack: The adapters.
        reader: How they read.
        losses: adapter -> what it minimises.
        passes: Divides a step's examples into passes.
    """

    def __init__(self, stack: HeadStack, reader: Reader, losses: Mapping[str, Loss], passes: Passes) -> None:
        self._stack, self._reader, self._losses, self._passes = stack, reader, losses, passes
        self._last: Examples = {}

    def batch(self, adapter: str, examples: Sequence[TokenizedExample]) -> Batch:
        """Some examples with what the adapter's loss needs of them."""
        return Batch(adapter, examples, self._losses[adapter].whole_text)

    def accumulate(self, examples: Examples) -> Callable[[], dict[str, float]]:
        """Add up the gradients of one step. Where memory runs out, in smaller passes.

        Returns what gives each adapter's loss: to ask for a number waits for the device, which has more to do.

        Raises:
            InputError: One example takes more memory than there is.
        """
        while True:
            try:
                return self._accumulate(examples)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or parallel.world() > 1:
                    raise
                self._passes.halve(examples, self._last)
            logger.warning("out of memory; going on with %.2g GiB at a time", self._passes.room / 2**30)
            self._stack.zero_grad()

    def _accumulate(self, examples: Examples) -> Callable[[], dict[str, float]]:
        tokens = {name: sum(map(len, self.batch(name, pairs).labels)) for name, pairs in examples.items()}
        found = []
        for part in self._passes.of(examples):
            self._last = part
            found.append((part, self._backward(part, tokens)))

        def losses() -> dict[str, float]:
            total = dict.fromkeys(examples, 0.0)
            for part, loss_A in found:
                for name, loss in zip(part, loss_A.tolist(), strict=True):
                    total[name] += loss
            return total

        if parallel.world() == 1:
            return losses
        everywhere = self._added_up(losses())
        return lambda: everywhere

    def _backward(self, part: Examples, tokens: Mapping[str, int]) -> torch.Tensor:
        """One forward and backward pass; returns each adapter's share of its loss. Nothing else of it stays alive."""
        with self._reader.predictions([self.batch(name, pairs) for name, pairs in part.items()]) as predictions:
            sums = [self._losses[each.batch.adapter](each) for each in predictions]
            [counts_A] = sent(sums[0].device, [torch.tensor([tokens[name] for name in part])])
            loss_A = torch.stack(sums) / counts_A
            # Adapters share no weights, so the sum of their losses gives each its own gradient.
            loss_A.sum().backward()
        return loss_A.detach()

    def _added_up(self, losses: dict[str, float]) -> dict[str, float]:
        """Add up losses, and the stack's gradients, over all processes."""
        totals, grads = torch.tensor(list(losses.values()), device=self._stack.base.device), []
        for parameter in self._stack.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            grads.append(parameter.grad)
        parallel.add_up([totals, *grads])
        return dict(zip(losses, totals.tolist(), strict=True))
