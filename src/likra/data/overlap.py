"""Contamination: a short sketch of the questions trained on, kept with the adapters, shows whether they come back."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from likra.data.canonical import canonical
from likra.data.question import Example, Question, what_is_asked

Item = TypeVar("Item", bound=Question | Example)

#: Digests in a sketch. It shows every overlap of up to so many questions, and large overlaps of more.
KEPT = 256


def digest(item: Question | Example) -> str:
    """Digest of a question, the same however a file spells or names it: 12 hexadecimal digits.

    Where nothing is asked (BLiMP), of the right answer.
    """
    if isinstance(item, Question):
        unknown = item.answer is None and len(item.choices) > 1
        asked = what_is_asked(item.transcript) or ("" if unknown else canonical(item.choices[item.answer or 0]))
    else:
        asked = item.asked
    return hashlib.sha256(asked.encode()).hexdigest()[:12]


def sketch(items: Sequence[Question] | Sequence[Example] | Sequence[Question | Example]) -> str:
    """The smallest `KEPT` digests of some questions, with spaces between; their order does not matter.

    >>> gas, metal = Question("1", "Which gas?", ("oxygen",)), Question("2", "Which metal?", ("iron",))
    >>> overlaps(sketch([gas, metal]), [gas]), overlaps(sketch([metal]), [gas])
    (True, False)
    """
    return " ".join(sorted({digest(item) for item in items})[:KEPT])


def merged(*sketches: str) -> str:
    """The sketch of all questions of some sketches.

    >>> gas, metal = Question("1", "Which gas?", ("oxygen",)), Question("2", "Which metal?", ("iron",))
    >>> merged(sketch([gas]), sketch([metal])) == sketch([gas, metal])
    True
    """
    return " ".join(sorted({one for kept in sketches for one in kept.split()})[:KEPT])


def shared(kept: str, items: Sequence[Question] | Sequence[Example]) -> tuple[float, float]:
    """The share of a sketch's questions that are among these, and the share of these that the sketch has.

    >>> gas, metal = Question("1", "Which gas?", ("oxygen",)), Question("2", "Which metal?", ("iron",))
    >>> shared(sketch([gas, metal]), [gas]), shared(sketch([gas]), [metal])
    ((0.5, 1.0), (0.0, 0.0))
    """
    own, others = {*kept.split()}, {digest(item) for item in items}
    if len(own) == KEPT:  # of what lies beyond its last digest, a full sketch knows nothing
        others = {one for one in others if one <= max(own)}
    both = len(own & others)
    return (both / len(own), both / len(others)) if own and others else (0.0, 0.0)


def unknown(kept: str, items: Sequence[Item]) -> list[Item]:
    """Those of these that a sketch does not show to be among its questions.

    >>> gas, metal = Question("1", "Which gas?", ("oxygen",)), Question("2", "Which metal?", ("iron",))
    >>> [question.id for question in unknown(sketch([gas]), [gas, metal])]
    ['2']
    """
    own = {*kept.split()}
    return [item for item in items if digest(item) not in own]


def overlaps(kept: str, items: Sequence[Question] | Sequence[Example]) -> bool:
    """Whether a sketch shows that some of its questions are among these.

    Never true where none are. If n of its N questions are among these, the chance to miss it is about
    (1 - n / N) ** KEPT.
    """
    return not {*kept.split()}.isdisjoint(map(digest, items))
