"""ARC, as its authors publish it and as the hub has it, and OpenBookQA."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from likra.data.forms.answers import label_index
from likra.data.forms.fields import choice_list, given, identity, label_list, text
from likra.data.forms.form import UNANSWERED, Form, Record, Unusable, has
from likra.data.forms.unread_fields import question_text
from likra.data.question import Question
from likra.errors import InputError

#: A question without its answer, and the labels of its choices as the record has them.
_Asked = tuple[Question, Any]


def _arc_official(record: Record) -> _Asked:
    options = record["question"]["choices"]
    if not isinstance(options, list) or not all(has(option, "text") and has(option, "label") for option in options):
        raise InputError("field 'question.choices' is not a list of {text, label}; see the ARC form.")
    choices = choice_list([option["text"] for option in options], "question.choices")
    return _arc(record, text(record["question"], "stem"), choices, [option["label"] for option in options])


def _arc_hub(record: Record) -> _Asked:
    choices = choice_list(record["choices"]["text"], "choices.text")
    return _arc(record, question_text(record, "question"), choices, record["choices"]["label"])


def _openbookqa(record: Record) -> _Asked:
    choices = choice_list(record["choices"]["text"], "choices.text")
    return _arc(record, question_text(record, "question_stem"), choices, record["choices"]["label"])


def _arc(record: Record, stem: str, choices: tuple[str, ...], labels: Any) -> _Asked:
    return Question(identity(record, stem, *choices), stem, choices), labels


def _form(name: str, fields: tuple[str, ...], asked: Callable[[Record], _Asked]) -> Form:
    def read(record: Record) -> Question:
        question, labels = asked(record)
        if not given(record["answerKey"]):
            raise Unusable(UNANSWERED)
        names = label_list(labels, question.choices, "choices")
        return replace(question, answer=label_index(names, record["answerKey"], "answerKey"))

    return Form(name, fields, "qa", read, answers=("answerKey",), ask=lambda record: asked(record)[0])


OFFICIAL_ARC = _form("official ARC", ("question.stem", "question.choices", "answerKey"), _arc_official)
HUB_ARC = _form("hub ARC", ("question", "choices.text", "choices.label", "answerKey"), _arc_hub)
OPENBOOKQA = _form("OpenBookQA", ("question_stem", "choices.text", "choices.label", "answerKey"), _openbookqa)
