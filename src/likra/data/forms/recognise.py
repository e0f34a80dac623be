"""Which form a record is of."""

import difflib
from collections.abc import Sequence

from likra.data.forms.form import FORMS, Form, Record
from likra.data.forms.unread_fields import looks_like_choices, looks_like_passage
from likra.errors import UnknownForm

#: Fields that are read in records of several forms, beside those that the forms name.
_MORE = {"id", "ind", "qID", "idx", "UID", "pairID", "labels", "group", "split", *"CDEFGHIJ"}


def _known() -> set[str]:
    return _MORE | {field.partition(".")[0] for form in FORMS for field in form.fields}


def matters(name: str) -> bool:
    """Whether a field of this name is read, or looked at before a record is taken for what it seems to be."""
    return name in _known() or looks_like_choices(name) or looks_like_passage(name)


def count_known(names: Sequence[str]) -> int:
    """How many of some names are fields that likra reads, in any case (single letters are data as well)."""
    known = {name.lower() for name in _known() if len(name) > 1}
    return sum(name.strip().lower() in known for name in names)


#: Forms of people's own data, to be named where a record is like none; docs/data.md has all.
_USUAL = {"likra", "decision records", "preference pairs", "unpaired preference", "conversations"}
_TABLE = "a table of texts and labels, whose two fields --text and --label name (text= and label= in Python)"
_TEXTS = "for heads that learned a table of texts and labels, its texts, whose field --text names (text= in Python)"


def recognise(record: Record, where: str, answered: bool = True) -> Form:
    """The form of a record, or UnknownForm naming the fields it has and the forms there are.

    Args:
        record: The record.
        where: Its place.
        answered: Whether its right answer must be there.
    """
    for told in dict.fromkeys((True, answered)):  # what has an answer is what it would be elsewhere
        for form in FORMS:
            if form.fits(record, told):
                return form
    if not (hint := _nearest(record, answered) or (_too_little(record) if answered else "")):
        usual = [f"{form.name} ({', '.join(form.lacks({}, answered))})" for form in FORMS if form.name in _USUAL]
        hint = f" The usual forms: {'; '.join(usual)}; or {_TABLE if answered else _TEXTS}."
    elif len(record) > 1 and not any(isinstance(value, list | dict) for value in record.values()):
        hint += f" Or it is of {_TABLE}." if answered else f" Or, {_TEXTS}."
    fields = ", ".join(map(str, record))
    raise UnknownForm(f"{where}: of no known form. It has the fields {fields}.{hint} All forms: docs/data.md.")


def _nearest(record: Record, answered: bool) -> str:
    """What a record lacks to be of the form that it is nearest to; empty where it is near to none.

    It is near to a usual form of which it has half the fields, and to any other of which it lacks one of three or more.
    """
    found = []
    for form in FORMS:
        missing = _lacking(form, record, answered)
        unknown = sum(other is None for other in missing.values())
        least = len(form.fields) // 2 if form.name in _USUAL else min(1, len(form.fields) // 3)
        if unknown <= least:
            found.append(((unknown / len(form.fields), form.name not in _USUAL), form.name, missing))
    if not found:
        return ""
    _, name, missing = min(found, key=lambda one: one[0])
    named = (field if other is None else f"{field} (is {other!r} meant?)" for field, other in missing.items())
    return f" To be of the form {name} it lacks {', '.join(named)}."


def _too_little(record: Record) -> str:
    """What to do with data of other trainers that says too little; empty where it is not such data."""
    if "prompt" in record:
        return " A prompt alone teaches nothing; add 'completion', or 'chosen' and 'rejected'."
    if {*record} - _MORE == {"text"}:
        return " Divide the text into 'prompt' and 'completion'; a head learns answers, not running text."
    return ""


def _lacking(form: Form, record: Record, answered: bool) -> dict[str, str | None]:
    """Each field that a record lacks -> that of its fields which may be meant for it."""
    others = {str(name).lower(): str(name) for name in record if len(str(name)) > 2 and name not in _known()}
    found = {
        name: difflib.get_close_matches(name.lower(), others, n=1, cutoff=0.8) for name in form.lacks(record, answered)
    }
    return {name: others[close[0]] if close else None for name, close in found.items()}
