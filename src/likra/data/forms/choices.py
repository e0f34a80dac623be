"""likra's own form, a question with a list of choices, and its relatives."""

from likra.data.forms.answers import answered
from likra.data.forms.fields import choice_list, identity, label_list, labelled_choices, text
from likra.data.forms.form import Form, Open, Record
from likra.data.forms.unread_fields import lone_answer, question_text
from likra.data.question import Question


def _own(record: Record) -> Question | Open:
    return _of_list(record, "choices")


def _options(record: Record) -> Question | Open:
    return _of_list(record, "options")


def _of_list(record: Record, field: str) -> Question | Open:
    question = question_text(record, "question", empty=True)
    choices, labels = labelled_choices(record[field], field)
    only_labels = record.get("labels") is not None
    if only_labels:
        labels = label_list(record["labels"], choices)
    group = text(record, "group") if record.get("group") not in (None, "") else None
    asked = Question(identity(record, question, *choices), question, choices, group=group)
    return answered(asked, record["answer"], labels, only_labels)


def _lettered(record: Record) -> Question | Open:
    question = question_text(record, "question")
    labels = [letter for letter in "ABCDEFGHIJ" if record.get(letter) not in (None, "")]
    choices = choice_list([record[letter] for letter in labels], "A, B, ...")
    return answered(Question(identity(record, question, *choices), question, choices), record["answer"], labels)


def _right_only(record: Record) -> Question:
    answer = lone_answer(record, "answer")
    question = question_text(record, "question")
    return Question(identity(record, question, answer), question, (answer,), 0)


OWN = Form("likra", ("question", "choices", "answer"), "qa", _own)
OPTIONS = Form("options", ("question", "options", "answer"), "qa", _options)
LETTERED = Form("lettered columns", ("question", "A", "B", "answer"), "qa", _lettered)
RIGHT_ANSWERS = Form("right answers only", ("question", "answer"), "qa", _right_only)
