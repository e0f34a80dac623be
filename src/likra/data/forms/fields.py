"""Reading the fields of a record; what breaks a rule is refused with a message that names the field."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from likra.data.canonical import canonical
from likra.data.forms.form import Record, has
from likra.errors import InputError


def text(record: Record, field: str, *, empty: bool = False) -> str:
    """A text field, or InputError."""
    value = record[field]
    if not isinstance(value, str):
        raise InputError(f"field {field!r} is {type(value).__name__}, not text. Give it text.")
    if not empty and not value.strip():
        raise InputError(f"field {field!r} is empty; give it text or remove the record.")
    return value


def choice_list(value: Any, field: str = "choices") -> tuple[str, ...]:
    """A list of two or more candidate answers."""
    if not isinstance(value, list):
        raise InputError(f"field {field!r} is {type(value).__name__}, not a list; list the candidate answers.")
    if len(value) < 2:
        count = "no choices" if not value else "only one choice"
        raise InputError(f"field {field!r} has {count}; a question needs at least two.")
    for index, choice in enumerate(value):
        if isinstance(choice, int | float):
            raise InputError(f"field {field!r}: choice {index} is the number {choice}; write it as text.")
        if not isinstance(choice, str) or not canonical(choice):
            raise InputError(f"field {field!r}: choice {index} is empty or not text; give it text or remove it.")
    return tuple(value)


def label_list(value: Any, choices: Sequence[str], field: str = "labels") -> list[str]:
    """One label for each choice, all of them different."""
    if not isinstance(value, list):
        raise InputError(f"field {field!r} is {type(value).__name__}, not a list; list one label for each choice.")
    if len(value) != len(choices):
        raise InputError(f"field {field!r} has {len(value)} labels for {len(choices)} choices; they must match.")
    labels = [str(label).strip() for label in value]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(f"field {field!r} has the label {twice!r} twice; each must name one choice.")
    return labels


def labelled_choices(value: Any, field: str) -> tuple[tuple[str, ...], list[str] | None]:
    """Choices, and their labels if they have some: a list of texts or of {text, label}, or one object of these."""
    if isinstance(value, list) and value and all(has(item, "text") and has(item, "label") for item in value):
        value = {"text": [item["text"] for item in value], "label": [item["label"] for item in value]}
    if isinstance(value, Mapping) and set(value) == {"text", "label"}:
        choices = choice_list(value["text"], f"{field}.text")
        return choices, label_list(value["label"], choices, f"{field}.label")
    if isinstance(value, Mapping):
        # Where labels are columns, as in Parquet, a question with fewer choices has empty ones.
        filled = {label: choice for label, choice in value.items() if choice is not None}
        return choice_list(list(filled.values()), field), list(filled)
    return choice_list(value, field), None


def identity(record: Record, *content: str) -> str:
    """The id of a record, or `identity_of` its content."""
    for key in ("id", "ind", "qID", "idx"):
        value = record.get(key)
        if isinstance(value, float) and value % 1 == 0:  # as pandas writes numbers where one is missing
            value = int(value)
        # A blank id does not count.
        if isinstance(value, str | int) and not isinstance(value, bool) and canonical(str(value)):
            return str(value)
    return identity_of(*content)


def identity_of(*content: str) -> str:
    """An id for a record that has none of its own: 16 hexadecimal digits of a hash of its content.

    >>> identity_of("Which gas?", "oxygen", "argon")
    '7f2c08f56b5df216'
    """
    return hashlib.sha256("\x1f".join(content).encode()).hexdigest()[:16]


def given(answer: Any) -> bool:
    """Whether there is an answer; pandas writes NaN where there is none."""
    return answer is not None and not (isinstance(answer, str) and not answer.strip()) and answer == answer


_WHOLE = re.compile(r"[0-9]{1,9}(\.0+)?")


def whole_number(value: Any) -> int | None:
    """A whole number, also one written as a float (as pandas does where one is missing) or as text; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(float(value)) if _WHOLE.fullmatch(value) else None
    return int(value) if isinstance(value, int | float | Decimal) and value % 1 == 0 else None
