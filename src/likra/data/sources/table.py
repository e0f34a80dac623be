"""A table of texts and labels: each text is a question whose choices are all labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from likra.data.canonical import canonical
from likra.data.forms import Form, Record, Unusable
from likra.data.forms.fields import given, identity, whole_number
from likra.data.forms.fields import text as text_of
from likra.data.forms.form import UNANSWERED
from likra.data.question import Question
from likra.data.sources.files import Located
from likra.data.sources.source import Columns, Source
from likra.errors import InputError

#: Name of the form.
TABLE = "texts and labels"
#: More values than these are no labels: a question has at most so many choices.
MOST_LABELS = 255
#: So few values may be labels even where most records have one of their own.
_FEW_LABELS = 10


def table_form(name: str, records: Sequence[Located], columns: Columns) -> tuple[Form, Columns]:
    """The form of the records of a table, and its columns with their labels.

    Args:
        name: What the table is called in messages.
        records: All its records.
        columns: Which fields are read. Without `labels` the choices are all labels that the records have.

    Raises:
        InputError: A record lacks one of the fields, a label is not text, there are too few or too many labels, or two
            differ only by case; or a record has a label that is not among the given ones.
    """
    found: dict[str, str] = {}
    times = Counter[str]()
    for where, _, record in records:
        for field in columns.names:
            if field not in record:
                raise InputError(f"{where}: has no field {field!r}; its fields are {', '.join(map(str, record))}.")
        label = _label(record, columns.label, where)
        if label is None:
            continue
        if columns.labels and label not in columns.labels:
            raise InputError(
                f"{where}: field {columns.label!r} is {label!r}, which is not among the labels "
                f"{columns.listed}; correct it, or train on data that has it."
            )
        found.setdefault(label, where)
        times[label] += 1
    if not columns.labels and records:
        _check(name, columns.label, found, times, len(records))
        columns = replace(columns, labels=tuple(sorted(found)))
    choices = columns.labels

    def read(record: Record) -> Question:
        text = text_of(record, columns.text)
        label = _label(record, columns.label, "")
        if label is None:
            raise Unusable(UNANSWERED)
        return Question(identity(record, text), text, choices, choices.index(label))

    return Form(TABLE, columns.names, "qa", read), columns


def with_labels(source: Source, labels: Sequence[str]) -> Source:
    """The source of a table with other choices: those that adapters have learned.

    Raises:
        InputError: A question has an answer that is not among them.
    """
    if source.columns is None or source.columns.labels == tuple(labels):
        return source
    columns = replace(source.columns, labels=tuple(labels))
    questions = {split: [_among(question, columns) for question in some] for split, some in source.questions.items()}
    return replace(source, questions=questions, columns=columns)


def _among(question: Question, columns: Columns) -> Question:
    labels = columns.labels
    label = question.choices[question.answer] if question.answer is not None else None
    if label is not None and label not in labels:
        raise InputError(
            f"{question.name}: field {columns.label!r} is {label!r}, which is not among the labels {columns.listed} "
            "that these heads learned; correct it, or train on data that has it."
        )
    return replace(question, choices=labels, answer=None if label is None else labels.index(label))


def _label(record: Record, field: str, where: str) -> str | None:
    """The label of a record as text; None where there is none."""
    value: Any = record[field]
    if not given(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    number = None if isinstance(value, str) else whole_number(value)
    if number is None and not isinstance(value, str):
        raise InputError(f"{where}: field {field!r} is {type(value).__name__}, not a label; give a text.")
    return canonical(value) if number is None else str(number)


def _check(name: str, field: str, found: dict[str, str], times: Counter[str], records: int) -> None:
    """Refuse a column that holds no labels."""
    if len(found) < 2:
        what = f"has the value {next(iter(found))!r} alone" if found else "is empty throughout"
        raise InputError(f"{name}: field {field!r} {what}; labels to choose from must be two or more.")
    if len(found) > MOST_LABELS or len(found) > max(_FEW_LABELS, records / 2):
        raise InputError(
            f"{name}: field {field!r} has {len(found)} different values in {records} records, too many for labels "
            f"({MOST_LABELS} at most, and half as many as records); name the field of the labels."
        )
    folded: dict[str, str] = {}
    for label in found:
        other = folded.setdefault(label.casefold(), label)
        if other != label:
            rare, often = sorted((label, other), key=lambda one: times[one])
            there = found[often].removeprefix(f"{found[rare].rpartition(', ')[0]}, ")
            raise InputError(
                f"{found[rare]}: field {field!r} is {rare!r}, and elsewhere {often!r} ({there}); write a label in "
                "one way."
            )
