"""Which form a record is of."""

from collections.abc import Sequence

from likra.data.forms.form import FORMS, Form, Record, has
from likra.data.forms.unread_fields import looks_like_choices, looks_like_passage
from likra.errors import InputError

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


def recognise(record: Record, where: str) -> Form:
    """The form of a record, or InputError naming the fields it has and the forms there are."""
    for form in FORMS:
        if form.fits(record):
            return form
    lacking = {form: [field for field in form.fields if not has(record, field)] for form in FORMS}
    near, missing = min(lacking.items(), key=lambda item: len(item[1]) / len(item[0].fields))
    nearest = (
        f" To be of the form {near.name} it lacks {', '.join(missing)}." if len(missing) < len(near.fields) else ""
    )
    hint = next((f" {hint}" for fields, hint in _HINTS if all(field in record for field in fields)), nearest)
    known = "; ".join(f"{form.name} ({', '.join(form.fields)})" for form in FORMS)
    hint = hint or _TABLE
    raise InputError(
        f"{where}: of no known form. It has the fields {', '.join(map(str, record))}.{hint} Known forms: "
        f"{known}; or a table of texts and labels, whose two fields --text and --label name (text= and label= in "
        "Python)."
    )
