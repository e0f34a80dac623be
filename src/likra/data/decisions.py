"""Decision questions about a state, as `POST /v1/systemone` asks them: what they are, and how they are worded.

A state is text or JSON. A question is of one of three types: `noul` (yes or no), `choice` (one of named options) and
`score` (one of ordered levels). Training data and a server word them by the same functions. Each takes the name of the
field that it reads, for messages.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from likra.data.canonical import canonical, is_whole
from likra.data.question import Question
from likra.errors import InputError

#: Type of question -> (fewest, most) options that it may have.
TYPES: dict[str, tuple[int, int]] = {"noul": (2, 2), "choice": (2, 255), "score": (2, 10)}
_YES_OR_NO = ("yes", "no")


@dataclass(frozen=True)
class Decision:
    """A question about a state.

    Attributes:
        type: One of `TYPES`.
        instructions: What is asked.
        options: The possible answers as texts: yes and no; the names of the options; the levels, lowest first.
        criteria: What is said of the options, one line each, in the order of their names; may be empty.

    >>> read_decision({"type": "noul", "instructions": "Is this about billing?"}).options
    ('yes', 'no')
    """

    type: str
    instructions: str
    options: tuple[str, ...]
    criteria: tuple[str, ...] = ()


def read_decision(question: Any, field: str = "question") -> Decision:
    """A question as a request has it.

    Args:
        question: An object with `type`, `instructions` and `criteria`. Criteria of a `choice` are an object with the
            description (or None) of each option; of a `score`, the list of levels; of a `noul`, nothing, a text, or an
            object that describes `true` and `false`. Instructions and descriptions may be text or JSON. Instructions
            may be left out where criteria say what is asked.
        field: Its name in messages.

    Raises:
        InputError: A field is missing or breaks these rules, or there are too few or too many options.
    """
    if not isinstance(question, Mapping):
        raise InputError(f"field {field!r} is {_kind(question)}, not an object with type, instructions and criteria.")
    kind, criteria = question.get("type"), question.get("criteria")
    if not isinstance(kind, str) or kind not in TYPES:
        raise InputError(f"field '{field}.type' is {_shown(kind)}; it must be one of {', '.join(TYPES)}.")
    instructions = _content(question.get("instructions"), f"{field}.instructions")
    left_out = question.get("instructions") is None and bool(criteria)
    if not instructions and not left_out:
        raise InputError(f"field '{field}.instructions' is empty; ask something.{_beside(question)}")
    if criteria is None and kind != "noul":
        wanted = {"choice": "an object with the description of each option", "score": "a list of levels"}[kind]
        raise InputError(f"field '{field}.criteria' is missing, not {wanted}.{_beside(question)}")
    options, described = {"noul": _noul, "choice": _choice, "score": _score}[kind](criteria, f"{field}.criteria")
    if left_out and kind == "noul" and not described:
        raise InputError(f"field '{field}.instructions' is empty; ask something.")
    few, most = TYPES[kind]
    if not few <= len(options) <= most:
        count = "1 option" if len(options) == 1 else f"{len(options)} options"
        raise InputError(f"field '{field}.criteria' has {count}; a question of the type {kind} has {few} to {most}.")
    texts = [canonical(option) for option in options]
    if not all(texts):
        raise InputError(f"field '{field}.criteria' has an option without a text; name it.")
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise InputError(
            f"field '{field}.criteria' has the option {_shown(twice)} twice; each must differ from the others."
        )
    return Decision(kind, instructions, options, described)


_Options = tuple[tuple[str, ...], tuple[str, ...]]


def _noul(criteria: Any, field: str) -> _Options:
    if criteria is None or isinstance(criteria, str):
        text = _content(criteria, field)
        return _YES_OR_NO, ((text,) if text else ())
    if not isinstance(criteria, Mapping) or not set(criteria) <= {"true", "false"}:
        raise InputError(f"field {field!r} must be a text, or an object that describes true and false.")
    named = {"yes": criteria.get("true"), "no": criteria.get("false")}
    return _YES_OR_NO, _described(named, field)


def _choice(criteria: Any, field: str) -> _Options:
    if not isinstance(criteria, Mapping):
        raise InputError(f"field {field!r} is {_kind(criteria)}, not an object with the description of each option.")
    for name in criteria:
        if not isinstance(name, str):
            raise InputError(f"field {field!r} has the option {_shown(name)}, which is not text; name it.")
        _content(name, field)
    return tuple(criteria), _described(criteria, field)


def _score(criteria: Any, field: str) -> _Options:
    if not isinstance(criteria, list | tuple):
        raise InputError(f"field {field!r} is {_kind(criteria)}, not a list of levels, the lowest first.")
    return tuple(_content(level, field) for level in criteria), ()


def _described(options: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """What is said of options, in the order of their names."""
    texts = {name: _content(options[name], f"{field}.{name[:40]}") for name in sorted(options)}
    return tuple(f"{name}: {text}" for name, text in texts.items() if text)


def _content(value: Any, field: str) -> str:
    """Text as it is, JSON on one line; empty where there is nothing."""
    if value is None or value in ("", [], {}):
        return ""
    if not isinstance(value, str | Mapping | list | tuple):
        raise InputError(f"field {field!r} is {_shown(value)}, not text or JSON.")
    text = value.strip() if isinstance(value, str) else _json(value, field)
    if not is_whole(text):
        raise InputError(f"field {field!r} holds half a surrogate pair; give whole characters.")
    return text


def _json(value: Any, field: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"field {field!r} is not JSON ({error}); give text or JSON.") from None


def _beside(question: Mapping[str, Any]) -> str:
    """Fields of a question that are not read, one of which may be what is missed."""
    others = [_shown(name) for name in question if name not in ("type", "instructions", "criteria")]
    return f" (Not read: {', '.join(others)}.)" if others else ""


def _shown(value: Any) -> str:
    return textwrap.shorten(repr(value), 60)


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__


def state_text(state: Any, field: str = "state") -> str:
    """A state as text: text as it is, JSON on one line with its keys sorted, so that equal states are equal texts.

    Raises:
        InputError: It is neither text nor a JSON object or list, or it is empty.

    >>> state_text({"plan": "pro", "age": 3}), state_text("A ticket.")
    ('{"age": 3, "plan": "pro"}', 'A ticket.')
    """
    if not isinstance(state, str | Mapping | list | tuple):
        raise InputError(f"field {field!r} is {_kind(state)}, not text or a JSON object or list.")
    text = _content(state, field)
    if not canonical(text):
        raise InputError(f"field {field!r} is empty; say what is to be decided about.")
    return text


def worded(state: str, decision: Decision, id: str = "question") -> Question:
    """A decision question as one with choices, for any prompt template.

    The state comes first, so that all questions about it begin with the same tokens, which are read once. What is said
    of options follows the instructions, in the order of the options' names: the order in which a request lists its
    options changes nothing. What is scored is an option's bare name.

    Args:
        state: `state_text` of the state.
        decision: The question.
        id: Identifies the question.

    >>> team = {"type": "choice", "instructions": "Which team?", "criteria": {"web": None, "bills": "Charges"}}
    >>> question = worded("I was charged twice.", read_decision(team))
    >>> question.text, question.choices
    ('I was charged twice.\\n\\nWhich team?\\nbills: Charges', ('web', 'bills'))
    """
    lines = [decision.instructions, *decision.criteria] if decision.instructions else decision.criteria
    text = "\n".join([state, "", *lines] if lines else [state])
    return Question(id, text, decision.options, state=state)


def answer_place(decision: Decision, answer: Any, field: str = "answer") -> int:
    """The place of a known answer among the options.

    Args:
        decision: The question.
        answer: As a log has it: true or false; the name of an option; a level's text, or its index from 0. Or as a
            response has it: `{"type": "choice", "choice": "billing", ...}`.
        field: Its name in messages.

    Raises:
        InputError: It is not an option, it is a probability, or it could mean two levels.

    >>> urgent = read_decision({"type": "score", "instructions": "How urgent?", "criteria": ["can wait", "today"]})
    >>> answer_place(urgent, "today"), answer_place(urgent, 0)
    (1, 0)
    """
    if isinstance(answer, Mapping):
        kind = decision.type
        if answer.get("type", kind) != kind or kind not in answer:
            raise InputError(f"field {field!r} is not the answer to a question of the type {kind}; give its {kind!r}.")
        answer, field = answer[kind], f"{field}.{kind}"
    if isinstance(answer, str):
        return _named(decision.options, answer, field)
    if decision.type == "noul" and isinstance(answer, bool):
        return 0 if answer else 1
    if isinstance(answer, bool) or not isinstance(answer, int | float) or decision.type == "choice":
        raise InputError(f"field {field!r} is {answer!r}, which is not an option; give {_listed(decision.options)}.")
    if decision.type == "noul":
        raise InputError(f"field {field!r} is {answer!r}, a probability; give the right answer, true or false.")
    if answer % 1:
        raise InputError(f"field {field!r} is {answer!r}, between two levels; give the right one, or its index from 0.")
    place = int(answer)
    if not 0 <= place < len(decision.options):
        raise InputError(
            f"field {field!r} is {answer!r}, out of range for {len(decision.options)} levels; count from 0."
        )
    if str(place) in decision.options and decision.options[place] != str(place):
        raise InputError(f"field {field!r} is {answer!r}, which could be an index or a level; give the level as text.")
    return place


def _named(options: Sequence[str], answer: str, field: str) -> int:
    texts = [canonical(option) for option in options]
    if canonical(answer) not in texts:
        raise InputError(f"field {field!r} is {answer!r}, which is not an option; give {_listed(options)}.")
    return texts.index(canonical(answer))


def _listed(options: Sequence[str]) -> str:
    shown = ", ".join(map(repr, options[:10]))
    return f"one of {shown}" if len(options) <= 10 else f"one of {shown}, ... ({len(options)} in all)"
