"""A source in another prompt template than its form's."""

import logging
import random
from dataclasses import replace

from likra.data.conversation import Conversation
from likra.data.question import Example, Question
from likra.data.sources.source import Source
from likra.data.templates import Chat, Template, template
from likra.errors import InputError

logger = logging.getLogger(__name__)


def restyled(source: Source, style: str) -> Source:
    """A source whose prompts are worded in a template that a user chose.

    A template that lists the choices would tell the answer by its letter where every right answer is, say, the first
    (preference pairs, SciQ). There the choices of each question are shuffled, by its id alone.

    Raises:
        InputError: There is no such template, or it is not for such data.

    >>> source = Source("mine", "likra", "qa", {"test": [Question("1", "Which gas?", ("oxygen", "argon"), 0)]})
    >>> restyled(source, "options").style
    'options'
    """
    used = template(style)
    _check(source, used)
    examples = {split: [_reworded(one, used) for one in some] for split, some in source.examples.items()}
    questions = source.questions
    if used.lists_options:
        places = [question.answer for split in questions.values() for question in split]
        if len(places) > 1 and len(set(places)) == 1 and places[0] is not None:
            logger.warning(
                "%s: every right answer is choice %d of its question, so the choices are listed in another order",
                source.name,
                places[0] + 1,
            )
            questions = {split: [_shuffled(question) for question in some] for split, some in questions.items()}
    return replace(source, style=style, chosen=True, questions=questions, examples=examples)


def in_style_of(source: Source, style: str) -> Source:
    """A source as adapters are judged on it: in their own template where a user chose that (`Template.chosen`).

    A template that was chosen for the source itself stays.

    >>> source = Source("mine", "likra", "qa", {"test": [Question("1", "Which gas?", ("oxygen", "argon"), 0)]})
    >>> in_style_of(source, "options").style, in_style_of(source, "plain").style
    ('options', 'qa')
    """
    return restyled(source, style) if template(style).chosen and not source.chosen else source


def _check(source: Source, used: Template) -> None:
    """Raise InputError where a template is not for such data."""
    unlike = f"{source.name}: the template {used.name!r} is not for this data, "
    own = template(source.style)
    if used.has_prompt and not own.has_prompt:
        raise InputError(f"{unlike}in which nothing is asked; leave the template out.")
    if used.fills_blank != own.fills_blank and (used.fills_blank or not used.lists_options):
        why = "whose answers fill blanks" if own.fills_blank else "whose answers fill no blank"
        raise InputError(f"{unlike}{why}; leave the template out.")
    if not isinstance(used, Chat) and any(map(_has_earlier_turns, source.all_items)):
        raise InputError(f"{unlike}which is conversations of several turns; leave the template out.")
    if used.lists_options and (source.unpaired or source.right_only):
        raise InputError(f"{unlike}which has no choices to list; name a source whose questions have choices.")


def _reworded(example: Example, used: Template) -> Example:
    """An example of unpaired data; its prompt is the text of a question."""
    prompt, completion = example.prompt, used.answer(example.completion)
    if isinstance(prompt, Conversation) and isinstance(used, Chat):
        return replace(example, completion=completion)
    prompt, completion = used.pair(example.text, completion)
    return replace(example, prompt=prompt, completion=completion, question=example.text)


def _has_earlier_turns(item: Question | Example) -> bool:
    if isinstance(item, Question):
        return bool(item.before)
    return isinstance(item.prompt, Conversation) and len(item.prompt.turns) > 1


def _shuffled(question: Question) -> Question:
    order = list(range(len(question.choices)))
    random.Random(f"options {question.id}").shuffle(order)
    return replace(
        question,
        choices=tuple(question.choices[place] for place in order),
        answer=None if question.answer is None else order.index(question.answer),
    )
