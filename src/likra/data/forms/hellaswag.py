"""HellaSwag."""

import re
from dataclasses import replace

from likra.data.forms.answers import in_range
from likra.data.forms.fields import choice_list, given, identity, text, whole_number
from likra.data.forms.form import UNANSWERED, Form, Record, Unusable
from likra.data.question import Question
from likra.errors import InputError


def _hellaswag_text(raw: str) -> str:
    # As lm-evaluation-harness cleans it (tasks/hellaswag/utils.py): brackets are artefacts of the WikiHow part.
    raw = raw.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", raw).replace("  ", " ")


def _asked(record: Record) -> Question:
    context = f"{text(record, 'ctx_a', empty=True)} {text(record, 'ctx_b', empty=True).capitalize()}"
    query = _hellaswag_text(f"{text(record, 'activity_label')}: {context}")
    choices = tuple(_hellaswag_text(ending) for ending in choice_list(record["endings"], "endings"))
    # 'ind' is not unique in HellaSwag's files, so the text identifies the question.
    return Question(identity({}, query, *choices), query, choices)


def _hellaswag(record: Record) -> Question:
    label = record["label"]
    if not given(label):
        raise Unusable(UNANSWERED)
    asked, index = _asked(record), whole_number(label)
    if index is None:
        raise InputError(f"field 'label' is {label!r}; give the index of the right ending from 0.")
    return replace(asked, answer=in_range(index, asked.choices, label, "label"))


_FIELDS = ("activity_label", "ctx_a", "ctx_b", "endings", "label")
HELLASWAG = Form("HellaSwag", _FIELDS, "plain", _hellaswag, answers=("label",), ask=_asked)
