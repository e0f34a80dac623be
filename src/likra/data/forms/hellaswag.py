"""HellaSwag."""

import re

from likra.data.forms.answers import in_range
from likra.data.forms.fields import choice_list, given, identity, text, whole_number
from likra.data.forms.form import UNANSWERED, Form, Record, Unusable
from likra.data.question import Question
from likra.errors import InputError


def _hellaswag_text(raw: str) -> str:
    # As lm-evaluation-harness cleans it (tasks/hellaswag/utils.py): brackets are artefacts of the WikiHow part.
    raw = raw.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", raw).replace("  ", " ")


def _hellaswag(record: Record) -> Question:
    label = record["label"]
    if not given(label):
        raise Unusable(UNANSWERED)
    context = f"{text(record, 'ctx_a', empty=True)} {text(record, 'ctx_b', empty=True).capitalize()}"
    query = _hellaswag_text(f"{text(record, 'activity_label')}: {context}")
    choices = tuple(_hellaswag_text(ending) for ending in choice_list(record["endings"], "endings"))
    index = whole_number(label)
    if index is None:
        raise InputError(f"field 'label' is {label!r}; give the index of the right ending from 0.")
    # 'ind' is not unique in HellaSwag's files, so the text identifies the question.
    return Question(identity({}, query, *choices), query, choices, in_range(index, choices, label, "label"))


HELLASWAG = Form("HellaSwag", ("activity_label", "ctx_a", "ctx_b", "endings", "label"), "plain", _hellaswag)
