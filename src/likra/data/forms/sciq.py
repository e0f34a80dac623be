"""SciQ."""

from likra.data.forms.fields import choice_list, identity
from likra.data.forms.form import Form, Record
from likra.data.forms.unread_fields import question_text
from likra.data.question import Question


def _sciq(record: Record) -> Question:
    question = question_text(record, "question")
    choices = choice_list([record[field] for field in SCIQ.fields[1:]], "choices")
    return Question(identity(record, question, *choices), question, choices, 0)


SCIQ = Form("SciQ", ("question", "correct_answer", "distractor1", "distractor2", "distractor3"), "qa", _sciq)
