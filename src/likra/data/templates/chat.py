"""The template of models that were trained for chat."""

from collections.abc import Sequence

from likra.data.conversation import Context, Conversation, Turn
from likra.data.question import Question
from likra.data.templates.template import Template


class Chat(Template):
    name = "chat"
    title = "a message in the tokenizer's chat template, then the choice (conversations; any data)"
    chosen = True

    def pair(self, text: str, answer: str) -> tuple[Conversation, str]:
        return Conversation((("user", text),)), answer

    def pairs(self, question: Question) -> list[tuple[Context, str]]:
        """The question is the last turn of its conversation."""
        conversation = Conversation((*question.before, ("user", self.text(question))))
        return [(conversation, answer) for answer in self.answers(question)]

    def after(self, shots: Sequence[tuple[Context, str]], context: Context) -> Context:
        """Solved examples are earlier turns, after the instructions (`system`) of the conversation itself."""
        own = _turns(context)
        turns = [turn for turn in own if turn[0] == "system"]
        for prompt, answer in shots:
            turns += [*(turn for turn in _turns(prompt) if turn[0] != "system"), ("assistant", answer)]
        return Conversation((*turns, *(turn for turn in own if turn[0] != "system")))


def _turns(context: Context) -> tuple[Turn, ...]:
    return context.turns if isinstance(context, Conversation) else (("user", context),)
