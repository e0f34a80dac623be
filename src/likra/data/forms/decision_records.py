"""Decision records: a state, typed questions about it, and their right answers, as a log has them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from likra.data.decisions import answer_place, read_decision, state_text, worded
from likra.data.forms.fields import given, identity
from likra.data.forms.form import Form, Record, Unusable
from likra.data.question import Question
from likra.errors import InputError

_UNANSWERED = Unusable("one of its questions has no answer")


def _read(record: Record) -> list[Question | Unusable]:
    state = state_text(record["state"])
    questions, answers = _object(record, "questions"), _object(record, "answers")
    if not questions:
        raise InputError("field 'questions' is empty; ask something.")
    if odd := next((name for name in answers if name not in questions), None):
        raise InputError(
            f"field 'answers.{odd}' answers none of the questions, {', '.join(questions)}; name them alike."
        )
    record_id = identity(record, state, json.dumps(questions, sort_keys=True, default=str))
    found: list[Question | Unusable] = []
    for name, question in questions.items():
        asked = read_decision(question, f"questions.{name}")
        if name not in answers:
            found.append(_UNANSWERED)
            continue
        place = answer_place(asked, answers[name], f"answers.{name}")
        found.append(replace(worded(state, asked, f"{record_id} {name}"), answer=place, group=name))
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


DECISIONS = Form("decision records", ("state", "questions", "answers"), "qa", _read)
