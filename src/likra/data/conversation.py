"""A prompt that is a conversation, which a tokenizer's chat template turns into text."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from likra.errors import InputError

#: One turn: its role (`system`, `user` or `assistant`) and its text.
Turn = tuple[str, str]

#: Stands for the answer where only what comes before it is wanted.
_ANSWER = "the-answer-of-the-assistant"


def transcript(turns: Sequence[Turn]) -> str:
    """What turns ask, as one text: that of a lone turn of the user as it is.

    >>> transcript([("user", "Which gas?")])
    'Which gas?'
    >>> transcript([("system", "Be brief."), ("user", "Which gas?")])
    'system: Be brief.\\nuser: Which gas?'
    """
    if len(turns) == 1:
        return turns[0][1]
    return "\n".join(f"{role}: {text}" for role, text in turns)


class Conversation(NamedTuple):
    """Turns, the last of them the user's, which the assistant is to answer.

    No tokenizer is at hand where questions are worded, so a conversation stays what it is until it is tokenized.

    Attributes:
        turns: (role, text) of each turn; the roles are `system`, `user` and `assistant`.

    >>> print(Conversation((("user", "Which gas?"),)))
    user: Which gas?
    assistant:
    """

    turns: tuple[Turn, ...]

    def __str__(self) -> str:
        """For people; a model reads `rendered`."""
        return "".join(f"{role}: {text}\n" for role, text in self.turns) + "assistant:"

    @property
    def asked(self) -> str:
        """All its turns as one text: the last one alone may ask anything ("Why?")."""
        return transcript(self.turns)

    @property
    def messages(self) -> list[dict[str, str]]:
        """As transformers takes them."""
        return [{"role": role, "content": text} for role, text in self.turns]


#: What a model reads before an answer.
Context = str | Conversation


def check_chat(tokenizer: Any) -> None:
    """Raise InputError where a tokenizer has no chat template."""
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "the tokenizer has no chat template, which prompts of the template 'chat' need; take a model that was "
            "trained for chat (or, for data that is not of conversations, another template)."
        )


def rendered(tokenizer: Any, conversation: Conversation) -> str:
    """The text of a conversation up to where the assistant's answer begins, with all its special tokens.

    Raises:
        InputError: The tokenizer has no chat template, or the template refuses the conversation.
    """
    return _text(tokenizer, conversation.messages, add_generation_prompt=True)


def before_answer(tokenizer: Any, conversation: Conversation) -> str:
    """The text that stands before the assistant's answer in the text of the whole conversation.

    It is what `rendered` gives, but for chat templates that write an answered turn otherwise than they begin one (an
    empty block of thoughts before the answer, say).

    Raises:
        InputError: As `rendered`.
    """
    whole = _text(tokenizer, [*conversation.messages, {"role": "assistant", "content": _ANSWER}])
    return whole.rpartition(_ANSWER)[0] if _ANSWER in whole else rendered(tokenizer, conversation)


def _text(tokenizer: Any, messages: list[dict[str, str]], **how: bool) -> str:
    from jinja2 import TemplateError

    check_chat(tokenizer)
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **how))
    except (ValueError, TemplateError) as error:
        raise InputError(
            f"the tokenizer's chat template refuses the prompt ({error}); take another template."
        ) from None
