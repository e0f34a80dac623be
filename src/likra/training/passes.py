"""Which examples are read together: the forward passes of one optimisation step, within the memory there is."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from likra.data.tokens import TokenizedExample
from likra.errors import InputError
from likra.utils import parallel

#: adapter -> the examples that it reads in one pass.
Examples = Mapping[str, Sequence[TokenizedExample]]


@dataclass
class Passes:
    """Divides the examples of a step.

    Attributes:
        size: Examples per adapter in one pass.
        cut: Whether one adapter's examples that do not fit are divided too. (The loss is a sum over examples, so this
            changes gradients by rounding only.)
        cost: Bytes that a pass takes for an example of an adapter.
        room: Bytes of a pass. Adapters that do not fit into one together take turns.
    """

    size: int
    cut: bool
    cost: Callable[[str, TokenizedExample], float] = lambda name, pair: 0.0
    room: float = math.inf

    def of(self, step: Examples) -> Iterator[dict[str, Sequence[TokenizedExample]]]:
        """The forward passes of a step."""
        for part in self.shares(step):
            turn: dict[str, Sequence[TokenizedExample]] = {}
            used = 0.0
            for name, examples in part.items():
                for piece in self._pieces(name, examples):
                    more = self._bytes(name, piece)
                    if turn and (name in turn or used + more > self.room):
                        yield turn
                        turn, used = {}, 0.0
                    turn[name] = piece
                    used += more
            yield turn

    def shares(self, step: Examples) -> Iterator[Examples]:
        """The passes that a step has where memory suffices; of each adapter's examples this process's share."""
        for start in range(0, max(map(len, step.values())), self.size):
            mine = slice(start + parallel.rank(), start + self.size, parallel.world())
            if part := {name: examples[mine] for name, examples in step.items() if examples[mine]}:
                yield part

    def _bytes(self, name: str, examples: Sequence[TokenizedExample]) -> float:
        return sum(self.cost(name, pair) for pair in examples)

    def _pieces(self, name: str, examples: Sequence[TokenizedExample]) -> Iterator[Sequence[TokenizedExample]]:
        first, used = 0, 0.0
        for place, pair in enumerate(examples):
            used += self.cost(name, pair)
            if self.cut and used > self.room and place > first:
                yield examples[first:place]
                first, used = place, self.cost(name, pair)
        yield examples[first:]

    def halve(self, step: Examples, failed: Examples) -> None:
        """Memory ran out: from now on, passes that take half as much.

        Raises:
            InputError: The pass that failed was of one example.
        """
        if sum(map(len, failed.values())) == 1:
            raise InputError("out of memory with one example; take bf16, gradient_checkpointing, or shorter texts.")
        most = max(sum(self._bytes(*each) for each in part.items()) for part in self.shares(step))
        self.room, self.cut = min(self.room, most) / 2, True
