"""The gradients of one optimisation step: forward and backward passes, within the memory there is."""

import itertools
import logging
from collections.abc import Callable, Mapping

import torch

from likra.engine.memory import out_of_memory
from likra.engine.reader import Reader
from likra.engine.transfer import sent
from likra.models.stack import HeadStack
from likra.training.learner import Items, Learner
from likra.training.passes import Passes
from likra.utils import parallel

logger = logging.getLogger(__name__)


class Gradients:
    """Accumulates the gradients of a stack's adapters.

    Args:
        stack: The adapters.
        reader: How they read.
        learners: The learners, by name.
        passes: Divides a step's items into passes.
    """

    def __init__(self, stack: HeadStack, reader: Reader, learners: Mapping[str, Learner], passes: Passes) -> None:
        self._stack, self._reader, self._learners, self._passes = stack, reader, learners, passes
        self._last: Items = {}

    def accumulate(self, step: Items) -> Callable[[], dict[str, float]]:
        """Add up the gradients of one step. Where memory runs out, in smaller passes.

        Returns what gives each learner's loss: to ask for a number waits for the device, which has more to do.

        Raises:
            InputError: One item takes more memory than there is.
        """
        while True:
            try:
                return self._accumulate(step)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or parallel.world() > 1:
                    raise
                self._passes.halve(step, self._last)
            logger.warning("out of memory; going on with %.2g GiB at a time", self._passes.room / 2**30)
            self._stack.zero_grad()

    def _accumulate(self, step: Items) -> Callable[[], dict[str, float]]:
        counts = {name: self._learners[name].count(items) for name, items in step.items()}
        found = []
        for part in self._passes.of(step):
            self._last = part
            found.append((part, self._backward(part, counts)))

        def losses() -> dict[str, float]:
            total = dict.fromkeys(step, 0.0)
            for part, loss_L in found:
                for name, loss in zip(part, loss_L.tolist(), strict=True):
                    total[name] += loss
            return total

        if parallel.world() == 1:
            return losses
        everywhere = self._added_up(losses())
        return lambda: everywhere

    def _backward(self, part: Items, counts: Mapping[str, int]) -> torch.Tensor:
        """One forward and backward pass; returns each learner's share of its loss. Nothing else of it stays alive."""
        batches = [self._learners[name].batches(items) for name, items in part.items()]
        with self._reader.predictions([batch for some in batches for batch in some]) as predictions:
            following = iter(predictions)
            own = [list(itertools.islice(following, len(some))) for some in batches]
            sums = [
                self._learners[name].summed(said, items) for said, (name, items) in zip(own, part.items(), strict=True)
            ]
            [counts_L] = sent(sums[0].device, [torch.tensor([counts[name] for name in part])])
            loss_L = torch.stack(sums) / counts_L
            # Learners share no weights, so the sum of their losses gives each its own gradient.
            loss_L.sum().backward()
        return loss_L.detach()

    def _added_up(self, losses: dict[str, float]) -> dict[str, float]:
        """Add up losses, and the stack's gradients, over all processes."""
        totals, grads = torch.tensor(list(losses.values()), device=self._stack.base.device), []
        for parameter in self._stack.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            grads.append(parameter.grad)
        parallel.add_up([totals, *grads])
        return dict(zip(losses, totals.tolist(), strict=True))
