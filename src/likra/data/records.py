"""The records that adapters learned from, where they are kept with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from likra.data.question import Example, Question, what_is_asked

#: One record: a question with its right answer, or a completion with its label.
Item = Question | Example


@dataclass(frozen=True)
class Records:
    """What adapters learned, in the order in which they did, and what was held out.

    Attributes:
        rounds: The records of the first training, then the corrections of each teaching.
        held_out: Records of the same sources that the adapters have not learned.

    >>> gas = Question("1", "Which gas?", ("oxygen", "argon"), 0)
    >>> metal, other = Question("2", "Which metal?", ("iron", "tin"), 0), Question("3", "Which gas?", ("oxygen",), 0)
    >>> found = Records(((gas, metal),)).taught((other,))
    >>> [item.id for item in found.replayable]
    ['2']
    """

    rounds: tuple[tuple[Item, ...], ...]
    held_out: tuple[Item, ...] = ()

    @property
    def learned(self) -> int:
        """How many records were learned."""
        return sum(map(len, self.rounds))

    @property
    def replayable(self) -> list[Item]:
        """Records of all rounds but the last that no later round asks again: it has the last word on what it asks."""
        found: list[Item] = []
        later = {question_of(item) for item in self.rounds[-1]}
        for some in reversed(self.rounds[:-1]):
            found[:0] = [item for item in some if question_of(item) not in later]
            later |= {question_of(item) for item in some}
        return found

    def taught(self, corrections: Sequence[Item], held_out: Sequence[Item] = ()) -> "Records":
        """With one more round."""
        return Records((*self.rounds, tuple(corrections)), (*self.held_out, *held_out))

    def first(self, rounds: int) -> "Records":
        """Its first rounds alone."""
        return Records(self.rounds[:rounds])


def question_of(item: Item) -> str:
    """Equal for records that ask the same question; other questions about one state are others (see `asked`)."""
    return (what_is_asked(item.transcript) or item.id) if isinstance(item, Question) else item.asked


def by_kind(items: Sequence[Item]) -> tuple[list[Question], list[Example]]:
    """The questions, and the unpaired examples, of some records."""
    questions = [item for item in items if isinstance(item, Question)]
    return questions, [item for item in items if isinstance(item, Example)]
