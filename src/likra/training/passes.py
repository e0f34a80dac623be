"""Which items are read together: the forward passes of one optimisation step, within the memory there is."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from likra.errors import InputError
from likra.training.learner import Item, Items
from likra.utils import parallel


@dataclass
class Passes:
    """Divides the items of a step; an item is never divided.

    Attributes:
        size: Items per learner in one pass.
        cut: Whether one learner's items that do not fit are divided too. (The loss is a sum over items, so this
            changes gradients by rounding only.)
        cost: Bytes that a pass takes for an item of a learner.
        room: Bytes of a pass. Learners that do not fit into one together take turns.
    """

    size: int
    cut: bool
    cost: Callable[[str, Item], float] = lambda name, item: 0.0
    room: float = math.inf

    def of(self, step: Items) -> Iterator[dict[str, Sequence[Item]]]:
        """The forward passes of a step."""
        for part in self.shares(step):
            turn: dict[str, Sequence[Item]] = {}
            used = 0.0
            for name, items in part.items():
                for piece in self._pieces(name, items):
                    more = self._bytes(name, piece)
                    if turn and (name in turn or used + more > self.room):
                        yield turn
                        turn, used = {}, 0.0
                    turn[name] = piece
                    used += more
            yield turn

    def shares(self, step: Items) -> Iterator[Items]:
        """The passes that a step has where memory suffices; of each learner's items this process's share."""
        for start in range(0, max(map(len, step.values())), self.size):
            mine = slice(start + parallel.rank(), start + self.size, parallel.world())
            if part := {name: items[mine] for name, items in step.items() if items[mine]}:
                yield part

    def _bytes(self, name: str, items: Sequence[Item]) -> float:
        return sum(self.cost(name, item) for item in items)

    def _pieces(self, name: str, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        first, used = 0, 0.0
        for place, item in enumerate(items):
            used += self.cost(name, item)
            if self.cut and used > self.room and place > first:
                yield items[first:place]
                first, used = place, self.cost(name, item)
        yield items[first:]

    def halve(self, step: Items, failed: Items) -> None:
        """Memory ran out: from now on, passes that take half as much.

        Raises:
            InputError: The pass that failed was of one example.
        """
        if sum(map(len, failed.values())) == 1:
            raise InputError("out of memory with one example; take bf16, gradient_checkpointing, or shorter texts.")
        most = max(sum(self._bytes(*each) for each in part.items()) for part in self.shares(step))
        self.room, self.cut = min(self.room, most) / 2, True
