"""WinoGrande."""

from likra.data.forms.answers import label_index
from likra.data.forms.fields import choice_list, given, identity, text
from likra.data.forms.form import UNANSWERED, Form, Record, Unusable
from likra.data.question import Question
from likra.errors import InputError


def _winogrande(record: Record) -> Question:
    sentence = text(record, "sentence")
    if sentence.count("_") != 1:
        raise InputError(f"field 'sentence' has {sentence.count('_')} blanks '_'; it must have exactly one.")
    if not given(record["answer"]):
        raise Unusable(UNANSWERED)
    choices = choice_list([record["option1"], record["option2"]], "option1/option2")
    index = label_index(["1", "2"], record["answer"], "answer")
    return Question(identity(record, sentence, *choices), sentence, choices, index)


WINOGRANDE = Form("WinoGrande", ("sentence", "option1", "option2", "answer"), "cloze", _winogrande)
