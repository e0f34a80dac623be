"""The controls of an accuracy: the same answers judged without their question, or with another one.

What is reached so is reached without reading the question: by what the answers look like.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from likra.data.question import Question, what_is_asked
from likra.data.templates import Prompter, template
from likra.errors import InputError

BLIND, SHUFFLED = "blind", "shuffled"

#: Control -> what a question is asked as.
CONTROLS: Mapping[str, str] = MappingProxyType(
    {BLIND: "the question removed", SHUFFLED: "another item's question in its place"}
)
_SEED = 0


def ask_the_same(questions: Sequence[Question]) -> bool:
    """Whether all questions ask the same, so that none can be asked as another one."""
    return len({what_is_asked(question.transcript) for question in questions}) < 2


def has_controls(style: str) -> bool:
    """Whether a template's prompts have a question that can be taken away, apart from what is scored.

    >>> has_controls("qa"), has_controls("cloze"), has_controls("empty")
    (True, False, False)
    """
    used = template(style)
    return used.has_prompt and not used.fills_blank


def control(name: str, questions: Sequence[Question], prompter: Prompter) -> Prompter:
    """A prompter that words these questions as a control asks for; few-shot examples stay as they are.

    The other question of `shuffled` is drawn once for a list of questions (seed 0), each is used once where questions
    allow it, and none asks what the question itself asks.

    Args:
        name: One of `CONTROLS`.
        questions: All the questions that will be worded.
        prompter: How they are worded themselves.

    Raises:
        InputError: The control is unknown, the template has no question to take away, or all questions ask the same.

    >>> asked = [Question("1", "Which gas?", ("oxygen", "argon")), Question("2", "Which metal?", ("iron", "tin"))]
    >>> control("blind", asked, Prompter("qa")).pairs(asked[0])[0]
    ('Question: \\nAnswer:', ' oxygen')
    >>> control("shuffled", asked, Prompter("qa")).pairs(asked[0])[0]
    ('Question: Which metal?\\nAnswer:', ' oxygen')
    """
    if name not in CONTROLS:
        raise InputError(f"control must be one of {', '.join(CONTROLS)}, got {name!r}.")
    if not has_controls(prompter.style):
        raise InputError(
            f"the prompt template {prompter.style!r} has no question apart from what is scored, which could be taken "
            "away; judge without controls."
        )
    if name == BLIND:
        return replace(prompter, instead={question: _without_question(question) for question in questions})
    return replace(prompter, instead=_others(questions))


def _without_question(question: Question) -> Question:
    """What is asked taken away; of a conversation its instructions alone stay."""
    return replace(question, text="", before=tuple(turn for turn in question.before if turn[0] == "system"))


def _others(questions: Sequence[Question]) -> dict[Question, Question]:
    """Another question for each."""
    drawn = random.Random(_SEED).sample(range(len(questions)), len(questions))
    # Not by `Question.asked`, which tells questions without a text apart.
    asked = [what_is_asked(question.transcript) for question in questions]
    if ask_the_same(questions):
        raise InputError("shuffled needs questions that ask different things; judge more of them.")
    found = {}
    for place, row in enumerate(drawn):
        later = (drawn[(place + step) % len(drawn)] for step in range(1, len(drawn)))
        found[questions[row]] = next(questions[other] for other in later if asked[other] != asked[row])
    return found
