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


#: Data of other trainers that says too little, told by its fields: what to do with it.
_HINTS = (
    (("prompt",), "A prompt alone teaches nothing; add 'completion', or 'chosen' and 'rejected'."),
    (("text",), "Divide the text into 'prompt' and 'completion'; a head learns answers, not running text."),
)

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
    lacking = {form: _lacking(form, record, answered) for form in FORMS}
    near, missing = min(
        lacking.items(), key=lambda item: sum(other is None for other in item[1].values()) / len(item[0].fields)
    )
    misspelt, hint = any(missing.values()), ""
    if misspelt or len(missing) < len(near.fields):
        named = (name if other is None else f"{name} (is {other!r} meant?)" for name, other in missing.items())
        hint = f" To be of the form {near.name} it lacks {', '.join(named)}."
    if answered and not misspelt:
        hint = next((f" {hint}" for fields, hint in _HINTS if all(field in record for field in fields)), hint)
    if not hint:
        usual = [f"{form.name} ({', '.join(form.lacks({}, answered))})" for form in FORMS if form.name in _USUAL]
        hint = f" The usual forms: {'; '.join(usual)}; or {_TABLE if answered else _TEXTS}."
    fields = ", ".join(map(str, record))
    raise UnknownForm(f"{where}: of no known form. It has the fields {fields}.{hint} All forms: docs/data.md.")


def _lacking(form: Form, record: Record, answered: bool) -> dict[str, str | None]:
    """Each field that a record lacks -> that of its fields which may be meant for it."""
    others = {str(name).lower(): str(name) for name in record if len(str(name)) > 2 and name not in _known()}
    found = {
        name: difflib.get_close_matches(name.lower(), others, n=1, cutoff=0.8) for name in form.lacks(record, answered)
    }
    return {name: others[close[0]] if close else None for name, close in found.items()}
