"""Conversations, in the formats that TRL reads: the last turn of the assistant is the answer, all before it the prompt.

https://huggingface.co/docs/trl/dataset_formats
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from likra.data.canonical import canonical
from likra.data.conversation import Conversation, Turn
from likra.data.forms.fields import given, identity
from likra.data.forms.form import Form, Record, Unusable
from likra.data.forms.preference import is_right
from likra.data.question import Example, Question
from likra.errors import InputError

_ROLES = ("system", "user", "assistant")
_TOOL_ROLES = ("tool", "function", "ipython")
#: ShareGPT's names for roles.
_FORMER_ROLES = {"human": "user", "gpt": "assistant"}
#: Fields of a message that a chat template may write, beside its role and content.
_MORE_OF_MESSAGE = ("tool_calls", "tool_call_id", "function_call", "thinking", "reasoning_content", "images", "image")
#: Fields of a record that belong to its conversation and are not read.
_MORE_OF_RECORD = ("tools", "images", "image", "videos", "chat_template_kwargs", "system", "documents")


def _listed(*fields: str) -> Any:
    """Whether one of some fields is a list: of messages, if nothing else is wrong with it."""
    return lambda record: any(isinstance(record[field], list) for field in fields)


def _turns(record: Record, field: str) -> list[Turn]:
    """The turns of a conversation, or InputError."""
    value = record[field]
    if not isinstance(value, list):
        raise InputError(
            f"field {field!r} is {type(value).__name__}, not a list of messages; write all of the record as "
            'conversations: [{"role": "user", "content": "..."}].'
        )
    if not value:
        raise InputError(f"field {field!r} has no messages; add some, or remove the record.")
    return [_turn(message, f"{field}[{place}]") for place, message in enumerate(value)]


def _turn(message: Any, at: str) -> Turn:
    if not isinstance(message, Mapping):
        raise InputError(f"field {at!r} is {type(message).__name__}, not a message with a role and content.")
    role = message.get("role", message.get("from"))
    role = _FORMER_ROLES.get(role, role) if isinstance(role, str) else role
    if role in _TOOL_ROLES:
        raise InputError(f"field {at!r} is a message of the role {role!r}; tools are not read, so remove the record.")
    if role not in _ROLES:
        raise InputError(f"field {at!r}: its role is {role!r}; use one of {', '.join(_ROLES)}.")
    for name in _MORE_OF_MESSAGE:
        if message.get(name):
            what = "tools are not read, so remove the record" if "call" in name else "only its content is read"
            raise InputError(f"field '{at}.{name}' is a part of the message; {what}.")
    text = _content(message.get("content", message.get("value")), at)
    if not canonical(text) and role != "system":
        raise InputError(f"field {at!r}: its content is empty; give it text or remove the record.")
    return role, text


def _content(content: Any, at: str) -> str:
    """The text of a message: as it is, or its text parts joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        kind = "missing" if content is None else f"{type(content).__name__}, not text"
        raise InputError(f"field {at!r}: its content is {kind}; give it text.")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise InputError(f"field {at!r}: its content has a part of the type {kind!r}; only text parts are read.")
        texts.append(part["text"])
    return "".join(texts)


def _check_more(record: Record) -> None:
    """Refuse what belongs to the conversation and is not read."""
    for name in _MORE_OF_RECORD:
        value = record.get(name)
        if given(value) and value not in ([], {}):
            hint = "write it as the first message, of the role 'system'" if name == "system" else "remove the record"
            raise InputError(f"field {name!r} belongs to the conversation, and is not read; {hint}.")


def _divided(record: Record, *fields: str) -> tuple[list[Turn], str]:
    """The turns of the prompt, the last of them the user's, and the assistant's last turn.

    Args:
        record: The record.
        *fields: The fields whose messages make up the conversation, in their order.
    """
    _check_more(record)
    turns = [turn for field in fields for turn in _turns(record, field)]
    if turns[-1][0] != "assistant":
        raise InputError(
            f"field {fields[-1]!r} ends in a message of the role {turns[-1][0]!r}; the last message must be the "
            "answer, of the role 'assistant'."
        )
    before = turns[-2][0] if len(turns) > 1 else None
    if before != "user":
        what = f"comes after one of the role {before!r}" if before else "is the only one"
        raise InputError(
            f"field {fields[-1]!r}: its last message {what}; an answer must come after a message of the role 'user'."
        )
    return turns[:-1], turns[-1][1]


def _asked(record: Record, prompt: list[Turn], *answers: str) -> Question:
    content = [*(part for turn in prompt for part in turn), *answers]
    return Question(identity(record, *content), prompt[-1][1], answers, 0, before=tuple(prompt[:-1]))


def _messages(record: Record) -> Question:
    prompt, answer = _divided(record, "messages")
    return _asked(record, prompt, answer)


def _conversations(record: Record) -> Question:
    prompt, answer = _divided(record, "conversations")
    return _asked(record, prompt, answer)


def _prompted(record: Record) -> Question:
    prompt, answer = _divided(record, "prompt", "completion")
    return _asked(record, prompt, answer)


def _pair(record: Record) -> Question:
    return _of_pair(record, ("prompt",))


def _shared(record: Record) -> Question:
    return _of_pair(record, ())


def _of_pair(record: Record, prompt: tuple[str, ...]) -> Question:
    (before, chosen), (other, rejected) = (_divided(record, *prompt, field) for field in ("chosen", "rejected"))
    if before != other:
        raise Unusable("its two conversations part before their last turn")
    return _asked(record, before, chosen, rejected)


def _unpaired(record: Record) -> Example:
    prompt, answer = _divided(record, "prompt", "completion")
    return Example(Conversation(tuple(prompt)), canonical(answer), is_right(record))


def _judged(record: Record) -> Question:
    """An answer that may be right or wrong."""
    return replace(_prompted(record), answer=None)


TURNS_PAIRS = Form(
    "conversational preference pairs", ("prompt", "chosen", "rejected"), "chat", _pair, when=_listed("prompt")
)
# A field `prompt` that is text repeats what both conversations have, as in UltraFeedback.
SHARED_TURNS = Form(
    "conversational preference pairs with an implicit prompt",
    ("chosen", "rejected"),
    "chat",
    _shared,
    when=_listed("chosen", "rejected"),
)
UNPAIRED_TURNS = Form(
    "conversational unpaired preference",
    ("prompt", "completion", "label"),
    "chat",
    _unpaired,
    when=_listed("prompt", "completion"),
    answers=("label",),
    ask=_judged,
)
PROMPTED_TURNS = Form(
    "conversational prompt and completion",
    ("prompt", "completion"),
    "chat",
    _prompted,
    when=_listed("prompt", "completion"),
)
CONVERSATIONS = Form("conversations", ("messages",), "chat", _messages)
SHAREGPT = Form("conversations", ("conversations",), "chat", _conversations)
