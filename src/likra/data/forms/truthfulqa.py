"""TruthfulQA's questions with one right answer (MC1)."""

from likra.data.forms.fields import choice_list, identity
from likra.data.forms.form import Form, Record, has
from likra.data.forms.unread_fields import question_text
from likra.data.question import Question
from likra.errors import InputError


def _truthfulqa(record: Record) -> Question:
    targets = record["mc1_targets"]
    if has(targets, "choices") and has(targets, "labels"):  # as the hub has it
        pairs = list(zip(targets["choices"], targets["labels"], strict=True))
    else:  # as mc_task.json has it
        pairs = list(targets.items())
    choices = choice_list([choice for choice, _ in pairs], "mc1_targets")
    right = [index for index, (_, label) in enumerate(pairs) if label == 1]
    if len(right) != 1:
        raise InputError(f"field 'mc1_targets' has {len(right)} right answers; it must have exactly one.")
    question = question_text(record, "question")
    return Question(identity(record, question, *choices), question, choices, right[0])


TRUTHFULQA = Form("TruthfulQA", ("question", "mc1_targets"), "truthfulqa", _truthfulqa)
