"""WinoGrande."""

from dataclasses import replace

from likra.data.forms.answers import label_index
from likra.data.forms.fields import choice_list, given, identity, text
from likra.data.forms.form import UNANSWERED, Form, Record, Unusable
from likra.data.question import Question
from likra.errors import InputError


def _asked(record: Record) -> Question:
    sentence = text(record, "sentence")
    if sentence.count("_") != 1:
        raise InputError(f"field 'sentence' has {sentence.count('_')} blanks '_'; it must have exactly one.")
    choices = choice_list([record["option1"], record["option2"]], "option1/option2")
    return Question(identity(record, sentence, *choices), sentence, choices)


def _winogrande(record: Record) -> Question:
    asked = _asked(record)
    if not given(record["answer"]):
        raise Unusable(UNANSWERED)
    return replace(asked, answer=label_index(["1", "2"], record["answer"], "answer"))


_FIELDS = ("sentence", "option1", "option2", "answer")
WINOGRANDE = Form("WinoGrande", _FIELDS, "cloze", _winogrande, answers=("answer",), ask=_asked)
