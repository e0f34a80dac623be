"""ARC, as its authors publish it and as the hub has it, and OpenBookQA."""

from typing import Any

from likra.data.forms.answers import label_index
from likra.data.forms.fields import choice_list, given, identity, label_list, text
from likra.data.forms.form import UNANSWERED, Form, Record, Unusable, has
from likra.data.forms.unread_fields import question_text
from likra.data.question import Question
from likra.errors import InputError


def _arc_official(record: Record) -> Question:
    options = record["question"]["choices"]
    if not isinstance(options, list) or not all(has(option, "text") and has(option, "label") for option in options):
        raise InputError("field 'question.choices' is not a list of {text, label}; see the ARC form.")
    choices = choice_list([option["text"] for option in options], "question.choices")
    return _arc(record, text(record["question"], "stem"), choices, [option["label"] for option in options])


def _arc_hub(record: Record) -> Question:
    choices = choice_list(record["choices"]["text"], "choices.text")
    return _arc(record, question_text(record, "question"), choices, record["choices"]["label"])


def _openbookqa(record: Record) -> Question:
    choices = choice_list(record["choices"]["text"], "choices.text")
    return _arc(record, question_text(record, "question_stem"), choices, record["choices"]["label"])


def _arc(record: Record, stem: str, choices: tuple[str, ...], labels: Any) -> Question:
    if not given(record["answerKey"]):
        raise Unusable(UNANSWERED)
    index = label_index(label_list(labels, choices, "choices"), record["answerKey"], "answerKey")
    return Question(identity(record, stem, *choices), stem, choices, index)


OFFICIAL_ARC = Form("official ARC", ("question.stem", "question.choices", "answerKey"), "qa", _arc_official)
HUB_ARC = Form("hub ARC", ("question", "choices.text", "choices.label", "answerKey"), "qa", _arc_hub)
OPENBOOKQA = Form("OpenBookQA", ("question_stem", "choices.text", "choices.label", "answerKey"), "qa", _openbookqa)
