"""Contamination: a short sketch of the questions trained on, kept with the adapters, shows whether they come back."""

import hashlib
from collections.abc import Sequence

from likra.data.canonical import canonical
from likra.data.question import Example, Question, what_is_asked

#: Digests in a sketch. It shows every overlap of up to so many questions, and large overlaps of more.
KEPT = 256


def digest(item: Question | Example) -> str:
    """Digest of a question, the same however a file spells or names it: 12 hexadecimal digits.

    Where nothing is asked (BLiMP), of the right answer.
    """
    if isinstance(item, Question):
        asked, answer = item.transcript, "" if item.answer is None else item.choices[item.answer]
    else:
        asked = item.prompt if isinstance(item.prompt, str) else item.prompt.asked
        answer = item.completion
    return hashlib.sha256((what_is_asked(asked) or canonical(answer)).encode()).hexdigest()[:12]


def sketch(items: Sequence[Question] | Sequence[Example]) -> str:
    """The smallest `KEPT` digests of some questions, with spaces between; their order does not matter.

    >>> gas, metal = Question("1", "Which gas?", ("oxygen",)), Question("2", "Which metal?", ("iron",))
    >>> overlaps(sketch([gas, metal]), [gas]), overlaps(sketch([metal]), [gas])
    (True, False)
    """
    return " ".join(sorted({digest(item) for item in items})[:KEPT])


def overlaps(kept: str, items: Sequence[Question]) -> bool:
    """Whether a sketch shows that some of its questions are among these.

    Never true where none are. If n of its N questions are among these, the chance to miss it is about
    (1 - n / N) ** KEPT.
    """
    return not {*kept.split()}.isdisjoint(map(digest, items))
