"""Whether questions were used before: a short sketch of what was asked, to be kept with the heads."""

import hashlib
from collections.abc import Sequence

from likra.questions.equal import canonical
from likra.questions.question import Example, Question, what_is_asked

#: Digests that a sketch keeps: enough for every overlap of up to so many questions, and for large ones of more.
KEPT = 256


def digest(item: Question | Example) -> str:
    """Digest of what is asked, however a file spells or names it; of the right answer where nothing is asked (BLiMP).

    12 hexadecimal digits.
    """
    if isinstance(item, Question):
        asked, answer = item.text, "" if item.answer is None else item.choices[item.answer]
    else:
        asked, answer = item.prompt, item.completion
    return hashlib.sha256((what_is_asked(asked) or canonical(answer)).encode()).hexdigest()[:12]


def sketch(items: Sequence[Question] | Sequence[Example]) -> str:
    """The smallest `KEPT` digests of some questions, with spaces between; their order does not matter."""
    return " ".join(sorted({digest(item) for item in items})[:KEPT])


def overlaps(kept: str, items: Sequence[Question]) -> bool:
    """Whether a sketch shows that it is of questions that are among these too.

    Never true of others. Of N questions of which n are among these it is seen with all but a chance of about
    (1 - n / N) ** KEPT.
    """
    return not {*kept.split()}.isdisjoint(map(digest, items))
