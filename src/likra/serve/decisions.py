"""`POST /v1/systemone`: what a request asks, and the form of its answers.

The wire format of decision models: a state, typed questions about it, and a probability for each allowed answer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from likra.data.canonical import is_whole, same_texts
from likra.data.decisions import Decision, read_decision, state_text, worded
from likra.data.few_shot import checked
from likra.data.question import Question
from likra.data.sources.loading import learned_columns
from likra.data.sources.source import Columns
from likra.errors import InputError
from likra.likra import Likra
from likra.scoring.calibration import softmax
from likra.scoring.likelihoods import Likelihoods
from likra.serve.limits import Limits

_DEEPEST = 64  # levels of JSON within JSON
_NAME = 40  # characters of a question's name that a message shows


@dataclass(frozen=True)
class Asked:
    """One question of a request.

    Attributes:
        decision: What is asked.
        names: Its options as the request names them: of a score the numbers of its levels, from 0.
        legend: Of a score: the level of each number, as the request has it.
    """

    decision: Decision
    names: tuple[str, ...]
    legend: Mapping[str, Any]


@dataclass(frozen=True)
class DecisionRequest:
    """What a request asks.

    Attributes:
        model: The model that it names, if it does.
        state: The state as it was sent.
        text: The same as text.
        asked: The questions, by their names.
    """

    model: str | None
    state: Any
    text: str
    asked: Mapping[str, Asked]

    @classmethod
    def read(cls, body: bytes, limits: Limits) -> "DecisionRequest":
        """A request's body.

        Raises:
            InputError: It is not JSON, or a field breaks the rules of `likra.data.decisions`, or the limits.
        """
        sent = _parsed(body)
        if not isinstance(sent, dict):
            raise InputError("the body is not a JSON object with state and questions.")
        _check_nesting(sent)
        model, questions = sent.get("model"), sent.get("questions")
        if model is not None and not isinstance(model, str):
            raise InputError("field 'model' is not text; name a model, or leave it out.")
        if sent.get("assets"):
            raise InputError("field 'assets' is given; this server reads text, no images.")
        text = state_text(sent.get("state"))
        if not isinstance(questions, dict) or not questions:
            what = "missing" if questions is None else "empty" if questions == {} else "not an object"
            raise InputError(f"field 'questions' is {what}; give one question or more, each under a name of yours.")
        if len(questions) > limits.max_questions:
            raise InputError(
                f"field 'questions' has {len(questions)} questions, more than the {limits.max_questions} that this "
                "server takes at once; send fewer."
            )
        return cls(model, sent["state"], text, {name: _asked(name, one) for name, one in questions.items()})

    def questions(self, likra: Likra, limits: Limits) -> list[Question]:
        """Its questions, with choices, as a model takes them: in an order that does not depend on the request's.

        Raises:
            InputError: A text is too long, there are too many options, or the model learned other questions.
        """
        _check_length(self.text, "state", limits)
        if sum(len(asked.names) for asked in self.asked.values()) > limits.max_candidates:
            raise InputError(
                f"field 'questions' has more options in all than the {limits.max_candidates} that this server takes "
                "at once; send fewer questions."
            )
        found = []
        for name, asked in self.asked.items():
            decision, field = asked.decision, _field(name)
            for text in (decision.instructions, *decision.criteria, *decision.options):
                _check_length(text, field, limits)
            if decision.type == "choice":
                decision = replace(decision, options=tuple(sorted(decision.options)))
            learned = _as_learned(self.state, decision, likra)
            question = worded(self.text, decision) if learned is None else learned
            checked(likra.style, question.text, question.choices)
            found.append(replace(question, id=name, where=field))
        return found


def answers(request: DecisionRequest, likra: Likra, table: Likelihoods) -> dict[str, dict[str, Any]]:
    """The answer to each question of a request, from the table of its questions."""
    found: dict[str, dict[str, Any]] = {}
    columns = learned_columns(likra.training)
    for (name, asked), candidates in zip(request.asked.items(), likra.candidates(table), strict=True):
        as_learned = _as_learned(request.state, asked.decision, likra) is not None
        # What was fitted to a table's labels says nothing of another question.
        calibrated = likra.probable() is not None and (as_learned or columns is None)
        plain_C = softmax(np.array([[candidate.score for candidate in candidates]]))[0].tolist()
        of = {}
        for candidate, plain in zip(candidates, plain_C, strict=True):
            sure = candidate.probability if calibrated else None  # calibrated on thumbs alone, they add up to no 1
            of[candidate.text] = plain if sure is None else sure
        probabilities = {own: of[option] for own, option in zip(asked.names, asked.decision.options, strict=True)}
        found[name] = _answer(asked, probabilities) | {"calibrated": calibrated, "as_learned": as_learned}
        if columns and not as_learned:
            found[name]["note"] = _not_as_learned(asked.decision, columns)
    return found


def _not_as_learned(decision: Decision, columns: Columns) -> str:
    """What is to be known of an answer of heads that learned a table and are asked otherwise."""
    if decision.type == "choice" and same_texts(decision.options, columns.labels):
        return (
            f"these heads learned to read a text alone; send it as the state, or as an object with the field "
            f"{columns.text!r} and no other"
        )
    return (
        f"these heads learned one question, a choice between {columns.listed}; what they say of another may mean "
        "little, and is not calibrated"
    )


def _answer(asked: Asked, probabilities: Mapping[str, float]) -> dict[str, Any]:
    """One answer, as the wire format has it."""
    kind, share = asked.decision.type, 1 / len(probabilities)
    if kind == "noul":
        return {"type": kind, "noul": probabilities["yes"]}
    # The same whatever the order of the options, also where two are equally probable.
    best = max(sorted(probabilities), key=probabilities.__getitem__)
    answer = {"probabilities": dict(probabilities), "confidence": max(0.0, (probabilities[best] - share) / (1 - share))}
    if kind == "choice":
        return {"type": kind, "choice": best, **answer}
    mean = float(np.dot([float(level) for level in probabilities], list(probabilities.values())))
    return {"type": kind, "score": mean, **answer, "legend": dict(asked.legend)}


def _as_learned(state: Any, decision: Decision, likra: Likra) -> Question | None:
    """A question about the labels that heads learned from a table, worded as there: by the text alone."""
    columns = learned_columns(likra.training)
    if columns is None or decision.type != "choice" or not same_texts(decision.options, columns.labels):
        return None
    own = state[columns.text] if isinstance(state, Mapping) and [*state] == [columns.text] else state
    if not isinstance(own, str):
        return None
    return Question("question", own.strip(), decision.options, state=own.strip())


def _asked(name: str, sent: Any) -> Asked:
    field = _field(name)
    if not is_whole(name):
        raise InputError(f"field {field!r} has half a surrogate pair in its name; give whole characters.")
    decision = read_decision(sent, field)
    names = decision.options
    if decision.type != "score":
        return Asked(decision, names, {})
    numbers = tuple(map(str, range(len(names))))
    return Asked(decision, numbers, dict(zip(numbers, sent["criteria"], strict=True)))


def _field(name: str) -> str:
    return f"questions.{name[:_NAME]}"


def _check_length(text: str, field: str, limits: Limits) -> None:
    if len(text) > limits.max_characters:
        raise InputError(
            f"field {field!r} has a text of {len(text)} characters, more than the {limits.max_characters} that this "
            "server takes; shorten it."
        )


class _Object(dict[str, Any]):
    """A JSON object that remembers a key which it had twice."""

    twice: str | None = None


def _check_nesting(sent: Any) -> None:
    """Refuse what JSON holds twice, of which a reader would see one, and what is nested too deep to be written."""
    left: list[tuple[Any, str, int]] = [(sent, "", 0)]
    while left:
        value, path, depth = left.pop()
        if depth > _DEEPEST:
            raise InputError(f"field {path[:200]!r} is nested deeper than {_DEEPEST} levels; make it flatter.")
        if isinstance(value, _Object) and value.twice is not None:
            where = f"field {path[:200]!r}" if path else "the body"
            raise InputError(f"{where} has {value.twice[:_NAME]!r} twice; each name must differ from the others.")
        if isinstance(value, dict):
            left += [(one, f"{path}.{name[:_NAME]}".lstrip("."), depth + 1) for name, one in value.items()]
        elif isinstance(value, list):
            left += [(one, path, depth + 1) for one in value if isinstance(one, dict | list)]


def _object(pairs: Sequence[tuple[str, Any]]) -> _Object:
    found = _Object()
    for key, value in pairs:
        if key in found:
            found.twice = key
        found[key] = value
    return found


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InputError(f"the body, at byte {error.pos}: {error.msg}; send JSON.") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"the body cannot be read as JSON ({type(error).__name__}); send JSON in UTF-8.") from None
