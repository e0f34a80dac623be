"""The template of models that were trained for chat."""

from collections.abc import Sequence

from likra.data.conversation import Context, Conversation
from likra.data.templates.template import Template


class Chat(Template):
    name = "chat"
    title = "the question as a user's message in the tokenizer's chat template, then the choice (any data)"
    chosen = True

    def pair(self, text: str, answer: str) -> tuple[Conversation, str]:
        return Conversation((("user", text),)), answer

    def after(self, shots: Sequence[tuple[Context, str]], context: Context) -> Context:
        """Solved examples are earlier turns."""
        turns: list[tuple[str, str]] = []
        for prompt, answer in shots:
            turns += [*_turns(prompt), ("assistant", answer)]
        return Conversation((*turns, *_turns(context)))


def _turns(context: Context) -> tuple[tuple[str, str], ...]:
    return context.turns if isinstance(context, Conversation) else (("user", context),)
