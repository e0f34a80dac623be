"""BLiMP's pairs of sentences."""

from likra.data.forms.fields import identity, text
from likra.data.forms.form import Form, Record
from likra.data.question import Question


def _blimp(record: Record) -> Question:
    good, bad = text(record, "sentence_good"), text(record, "sentence_bad")
    named = f"{record['UID']}-{record['pairID']}" if "UID" in record and "pairID" in record else None
    return Question(named or identity(record, good, bad), "", (good, bad), 0, record.get("UID"))


BLIMP = Form("BLiMP", ("sentence_good", "sentence_bad"), "empty", _blimp)
