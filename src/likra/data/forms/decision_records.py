"""Decision records: a state, typed questions about it, and their right answers, as a log has them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from likra.data.decisions import Decision, answer_place, read_decision, state_text, worded
from likra.data.forms.fields import given, identity
from likra.data.forms.form import Form, Record, Unusable
from likra.data.question import Question
from likra.errors import InputError

_UNANSWERED = Unusable("one of its questions has no answer")


def _read(record: Record) -> list[Question | Unusable]:
    questions, answers = _object(record, "questions"), _object(record, "answers")
    if odd := next((name for name in answers if questions and name not in questions), None):
        raise InputError(
            f"field 'answers.{odd}' answers none of the questions, {', '.join(questions)}; name them alike."
        )
    found: list[Question | Unusable] = []
    for name, (decision, question) in _asked(record).items():
        if name not in answers:
            found.append(_UNANSWERED)
            continue
        found.append(replace(question, answer=answer_place(decision, answers[name], f"answers.{name}")))
    return found


def _asked(record: Record) -> dict[str, tuple[Decision, Question]]:
    """The questions of a record by their names, without their answers."""
    state, questions = state_text(record["state"]), _object(record, "questions")
    if not questions:
        raise InputError("field 'questions' is empty; ask something.")
    record_id = identity(record, state, json.dumps(questions, sort_keys=True, default=str))
    found = {}
    for name, question in questions.items():
        decision = read_decision(question, f"questions.{name}")
        found[name] = decision, replace(worded(state, decision, f"{record_id} {name}"), group=name)
    return found


def _object(record: Record, field: str) -> Mapping[str, Any]:
    """A field that is an object, or, as in CSV, the JSON of one; without what is null, as Parquet has it."""
    value = record[field]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InputError(
                f"field {field!r} is text that is not JSON; give an object, by the questions' names."
            ) from None
    if not isinstance(value, Mapping):
        raise InputError(f"field {field!r} is {type(value).__name__}, not an object, by the questions' names.")
    return {name: one for name, one in value.items() if given(one)}


DECISIONS = Form(
    "decision records",
    ("state", "questions", "answers"),
    "qa",
    _read,
    answers=("answers",),
    ask=lambda record: [question for _, question in _asked(record).values()],
)
