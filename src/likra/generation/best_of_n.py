"""Best of n: the answers that a base draws, each different one once."""

from collections.abc import Sequence

from likra.data.canonical import canonical
from likra.data.templates import answer_text
from likra.errors import InputError
from likra.scoring.candidates import Candidate


def choices_of(style: str, texts: Sequence[str]) -> list[str]:
    """The different answers among drawn texts, as choices of a question.

    Args:
        style: Prompt template; a choice is worded with the space or line break that the template puts before it.
        texts: What was drawn.

    Raises:
        InputError: All of them are blank.
    """
    found = [choice for text in texts if (choice := answer_text(style, text)).strip()]
    if not found:
        raise InputError("the base gave blank answers only; draw more of them, or at a higher temperature.")
    return list(dict.fromkeys(found))


def once(ranked: Sequence[Candidate]) -> list[Candidate]:
    """Ranked candidates without those that say the same as a better one."""
    first: dict[str, Candidate] = {}
    for candidate in ranked:
        first.setdefault(canonical(candidate.text), candidate)
    return list(first.values())
