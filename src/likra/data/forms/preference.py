"""Preference data: pairs of completions, single ones with a label, and right ones alone."""

from likra.data.forms.fields import identity, text
from likra.data.forms.form import Form, Record
from likra.data.forms.unread_fields import lone_answer, question_text
from likra.data.question import Example, Question
from likra.errors import InputError


def _preference(record: Record) -> Question:
    prompt = question_text(record, "prompt", empty=True)
    chosen, rejected = text(record, "chosen"), text(record, "rejected")
    return Question(identity(record, prompt, chosen, rejected), prompt, (chosen, rejected), 0)


def _unpaired(record: Record) -> Example:
    label = record["label"]
    if not (isinstance(label, bool) or label in (0, 1)):
        raise InputError(f"field 'label' is {label!r}; give true (a right completion) or false (a wrong one).")
    return Example(question_text(record, "prompt", empty=True), text(record, "completion"), bool(label))


def _prompted(record: Record) -> Question:
    completion = lone_answer(record, "completion")
    prompt = question_text(record, "prompt")
    return Question(identity(record, prompt, completion), prompt, (completion,), 0)


PREFERENCE_PAIRS = Form("preference pairs", ("prompt", "chosen", "rejected"), "verbatim", _preference)
UNPAIRED = Form("unpaired preference", ("prompt", "completion", "label"), "verbatim", _unpaired)
RIGHT_COMPLETIONS = Form("right completions only", ("prompt", "completion"), "verbatim", _prompted)
