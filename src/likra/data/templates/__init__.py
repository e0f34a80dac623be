"""Prompt templates: how a question is worded, and few-shot examples before it.

Every template turns a question and one of its choices into a (context, completion) pair exactly as the task of that
benchmark does in lm-evaluation-harness 0.4.13 (`lm_eval/tasks`), so that a likelihood from here equals one from there.
Only the choice itself is tidied first (`Template.answer`). `chat` is the exception: its context is a `Conversation`,
which becomes text with the tokenizer (`likra.data.conversation`).
"""

from likra.data.templates.chat import Chat
from likra.data.templates.cloze import Cloze
from likra.data.templates.empty import Empty
from likra.data.templates.options import Options
from likra.data.templates.plain import Plain
from likra.data.templates.prompter import Prompter
from likra.data.templates.qa import QuestionAnswer
from likra.data.templates.template import (
    TEMPLATES,
    Template,
    answer_text,
    register,
    scored_texts,
    template,
    word,
)
from likra.data.templates.truthfulqa import TruthfulQA
from likra.data.templates.verbatim import Verbatim

for _own in (
    QuestionAnswer,
    Plain,
    Verbatim,
    Cloze,
    TruthfulQA,
    Empty,
    Options,
    Chat,
):  # in the order in which they are listed
    register(_own)

__all__ = ["TEMPLATES", "Chat", "Prompter", "Template", "answer_text", "register", "scored_texts", "template", "word"]
