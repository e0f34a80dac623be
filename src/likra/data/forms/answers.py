"""Which choice an answer names: by its text, a letter, an index, a number or a label."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from likra.data.canonical import canonical
from likra.data.forms.fields import given, whole_number
from likra.data.forms.form import UNANSWERED, Open, Unusable
from likra.data.question import Question
from likra.errors import InputError


def letter_index(answer: str) -> int | None:
    """Index of a single letter in the alphabet, in any case; None for anything else."""
    return ord(answer.upper()) - ord("A") if len(answer) == 1 and answer.isascii() and answer.isalpha() else None


def _text_place(choices: tuple[str, ...], answer: str) -> int | None:
    if answer in choices:
        return choices.index(answer)
    same = canonical(answer)
    return next((place for place, choice in enumerate(choices) if canonical(choice) == same), None)


def answered(asked: Question, answer: Any, labels: list[str] | None, only_labels: bool = False) -> Question | Open:
    """A question with its answer, or with all that its field `answer` can mean.

    >>> gas = Question("1", "Which gas?", ("oxygen", "argon"))
    >>> answered(gas, 1, None).answer, dict(answered(gas, "B", None).places)
    (1, {'letter': 1})

    Raises:
        Unusable: There is no answer.
        InputError: The answer names no choice.
    """
    if not given(answer):
        raise Unusable(UNANSWERED)
    if only_labels and labels is not None:
        return replace(asked, answer=label_index(labels, answer, "answer"))
    answer = answer.strip() if isinstance(answer, str) and answer not in asked.choices else answer
    number, choices = whole_number(answer), asked.choices
    counted = not any(whole_number(label) is not None for label in labels or ())  # else a number is a label
    if number is not None and not isinstance(answer, str) and counted:
        return replace(asked, answer=in_range(number, choices, answer))
    ways = {"label": _label_place(labels, answer) if labels else None}
    if isinstance(answer, str):
        ways["text"] = _text_place(choices, answer)
        ways["letter"] = letter_index(answer) if labels is None else None
        ways["index"] = number if counted else None
    return open_question(asked, "answer", answer, ways)


def open_question(asked: Question, field: str, answer: Any, ways: Mapping[str, int | None]) -> Open:
    """A question whose answer is read in those ways that name one of its choices."""
    meant = {meaning: place for meaning, place in ways.items() if place is not None}
    places = {meaning: place for meaning, place in meant.items() if 0 <= place < len(asked.choices)}
    if meant and not places:
        in_range(next(iter(meant.values())), asked.choices, answer, field)
    if not places:
        raise InputError(
            f"field {field!r} is {answer!r}, which is not a choice; give an index from 0, a letter from A, or a text."
        )
    return Open(asked, field, answer, places)


def in_range(index: int, choices: tuple[str, ...], answer: Any, field: str = "answer") -> int:
    """The index, or InputError if there is no such choice."""
    if not 0 <= index < len(choices):
        raise InputError(
            f"field {field!r} is {answer!r}, out of range for {len(choices)} choices; count from 0 (or from A), not "
            "from 1."
        )
    return index


def _label_place(labels: list[str], key: Any) -> int | None:
    number = whole_number(key)  # 1.0 for 1
    names = (str(key).strip(), *([] if number is None else [str(number)]))
    return next((labels.index(name) for name in names if name in labels), None)


def label_index(labels: list[str], key: Any, field: str) -> int:
    """Index of the label that a key names, or InputError."""
    place = _label_place(labels, key)
    if place is None:
        raise InputError(
            f"field {field!r} is {str(key)!r}, not among the labels {', '.join(labels)}; correct one of them."
        )
    return place
