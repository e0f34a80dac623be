"""A prompt that is a conversation, which a tokenizer's chat template turns into text."""

from typing import Any, NamedTuple

from likra.errors import InputError


class Conversation(NamedTuple):
    """Turns, the last of them the user's, which the assistant is to answer.

    No tokenizer is at hand where questions are worded, so a conversation stays what it is until it is tokenized.

    Attributes:
        turns: (role, text) of each turn; the roles are `user` and `assistant`.

    >>> print(Conversation((("user", "Which gas?"),)))
    user: Which gas?
    assistant:
    """

    turns: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """For people; a model reads `rendered`."""
        return "".join(f"{role}: {text}\n" for role, text in self.turns) + "assistant:"

    @property
    def asked(self) -> str:
        """The last turn."""
        return self.turns[-1][1]

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
            "trained for chat, or another template."
        )


def rendered(tokenizer: Any, conversation: Conversation) -> str:
    """The text of a conversation up to where the assistant's answer begins, with all its special tokens.

    Raises:
        InputError: The tokenizer has no chat template, or the template refuses the conversation.
    """
    from jinja2 import TemplateError

    check_chat(tokenizer)
    try:
        return str(tokenizer.apply_chat_template(conversation.messages, tokenize=False, add_generation_prompt=True))
    except (ValueError, TemplateError) as error:
        raise InputError(
            f"the tokenizer's chat template refuses the prompt ({error}); take another template."
        ) from None
