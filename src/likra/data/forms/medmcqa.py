"""MedMCQA."""

from likra.data.forms.answers import open_question
from likra.data.forms.fields import choice_list, given, identity, whole_number
from likra.data.forms.form import UNANSWERED, Form, Open, Record, Unusable
from likra.data.forms.unread_fields import question_text
from likra.data.question import Question


def _asked(record: Record) -> Question:
    question = question_text(record, "question")
    choices = choice_list([record[field] for field in MEDMCQA.fields[1:5]], "opa, ..., opd")
    return Question(identity(record, question, *choices), question, choices)


def _medmcqa(record: Record) -> Question | Open:
    asked = _asked(record)
    place = whole_number(record["cop"])
    if not given(record["cop"]) or place == -1:  # as its test split has it
        raise Unusable(UNANSWERED)
    # Its own files count from 1, those on the hub from 0.
    ways = {} if place is None else {"index": place, "number": place - 1}
    return open_question(asked, "cop", record["cop"], ways)


_FIELDS = ("question", "opa", "opb", "opc", "opd", "cop")
MEDMCQA = Form("MedMCQA", _FIELDS, "qa", _medmcqa, answers=("cop",), ask=_asked)
