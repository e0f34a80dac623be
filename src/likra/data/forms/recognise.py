"""Which form a record is of."""

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

_TABLE = " Of a table of texts and labels name the two fields: --text FIELD --label FIELD."


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
    lacking = {form: form.lacks(record, answered) for form in FORMS}
    near, missing = min(lacking.items(), key=lambda item: len(item[1]) / len(item[0].fields))
    nearest = (
        f" To be of the form {near.name} it lacks {', '.join(missing)}." if len(missing) < len(near.fields) else ""
    )
    has_fields = f"{where}: of no known form. It has the fields {', '.join(map(str, record))}."
    if not answered:
        known = "; ".join(f"{form.name} ({', '.join(form.lacks({}, answered))})" for form in FORMS)
        raise UnknownForm(
            f"{has_fields}{nearest} Known forms: {known}; or, for heads that learned a table of texts and labels, its "
            "texts, whose field --text names (text= in Python)."
        )
    hint = next((f" {hint}" for fields, hint in _HINTS if all(field in record for field in fields)), nearest)
    known = "; ".join(f"{form.name} ({', '.join(form.fields)})" for form in FORMS)
    hint = hint or _TABLE
    raise UnknownForm(
        f"{has_fields}{hint} Known forms: {known}; or a table of texts and labels, whose two fields --text and --label "
        "name (text= and label= in Python)."
    )
