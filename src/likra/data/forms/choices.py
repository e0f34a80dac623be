"""likra's own form, a question with a list of choices, and its relatives."""

from collections.abc import Callable

from likra.data.forms.answers import answered
from likra.data.forms.fields import choice_list, identity, label_list, labelled_choices, text
from likra.data.forms.form import Form, Open, Record
from likra.data.forms.unread_fields import lone_answer, question_text
from likra.data.question import Question

#: A question without its answer, and the labels of its choices if they have some.
_Asked = tuple[Question, list[str] | None]


def _own(record: Record) -> _Asked:
    return _of_list(record, "choices")


def _options(record: Record) -> _Asked:
    return _of_list(record, "options")


def _of_list(record: Record, field: str) -> _Asked:
    question = question_text(record, "question", empty=True)
    choices, labels = labelled_choices(record[field], field)
    if record.get("labels") is not None:
        labels = label_list(record["labels"], choices)
    group = text(record, "group") if record.get("group") not in (None, "") else None
    return Question(identity(record, question, *choices), question, choices, group=group), labels


def _lettered(record: Record) -> _Asked:
    question = question_text(record, "question")
    labels = [letter for letter in "ABCDEFGHIJ" if record.get(letter) not in (None, "")]
    choices = choice_list([record[letter] for letter in labels], "A, B, ...")
    return Question(identity(record, question, *choices), question, choices), labels


def _right_only(record: Record) -> Question:
    answer = lone_answer(record, "answer")
    question = question_text(record, "question")
    return Question(identity(record, question, answer), question, (answer,), 0)


def _form(name: str, fields: tuple[str, ...], asked: Callable[[Record], _Asked]) -> Form:
    def read(record: Record) -> Question | Open:
        question, labels = asked(record)
        return answered(question, record["answer"], labels, only_labels=record.get("labels") is not None)

    return Form(name, fields, "qa", read, answers=("answer",), ask=lambda record: asked(record)[0])


OWN = _form("likra", ("question", "choices", "answer"), _own)
OPTIONS = _form("options", ("question", "options", "answer"), _options)
LETTERED = _form("lettered columns", ("question", "A", "B", "answer"), _lettered)
RIGHT_ANSWERS = Form("right answers only", ("question", "answer"), "qa", _right_only)
