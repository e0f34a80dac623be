"""Questions to be asked: one of a user's, or those of a source with their few-shot examples."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict

from likra.data.canonical import canonical
from likra.data.overlap import digest
from likra.data.question import Question
from likra.data.sources import Source, in_style_of, load_for, with_labels
from likra.data.sources.memory import is_records
from likra.data.templates import Prompter, template
from likra.errors import InputError

logger = logging.getLogger(__name__)


#: What a user may give as data: a source or its name, records in memory (`likra.data.sources.memory`), or questions.
Data = str | Path | Source | Iterable[Any]


def loaded(data: Any, facts: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """A source by its name or of records in memory, a table with the labels that adapters learned, or what is given.

    Args:
        data: What a user gave.
        facts: What the adapters were trained on, where they are judged (`likra.data.sources.load_for`).
    """
    if isinstance(data, str | Path) or is_records(data):
        return load_for(data, facts)
    columns = facts.get("columns")
    return with_labels(data, columns["labels"]) if isinstance(data, Source) and columns else data


class Selection(TypedDict, total=False):
    """The keyword arguments of `with_few_shot`."""

    split: str | None
    shots: int
    sampled_shots: bool
    few_shot: Sequence[Question] | None
    limit: int | None


def checked(style: str, question: str, choices: Sequence[str]) -> Question:
    """A user's question with its candidates.

    Args:
        style: The prompt template that will word it.
        question: What is asked.
        choices: The candidates.

    Raises:
        InputError: There are no choices, one is empty, or the template is for other questions.

    Example:
        >>> checked("qa", "Which gas do plants give off?", ["oxygen", "helium"]).choices
        ('oxygen', 'helium')
    """
    if not isinstance(question, str) or isinstance(choices, str) or not all(isinstance(c, str) for c in choices):
        raise InputError("a question is a text, and its choices are a list of texts.")
    if not choices:
        raise InputError("there are no choices to score; give one or more.")
    for index, choice in enumerate(choices):
        if not canonical(choice):
            raise InputError(f"choice {index + 1} is empty; give it text.")
    check_asked(style, question)
    return Question("question", question, tuple(choices))


def check_asked(style: str, question: str) -> None:
    """Raise InputError where the text of a question is not for the prompt template that will word it."""
    if template(style).fills_blank and question.count("_") != 1:
        raise InputError("these heads learned to fill in blanks; give a question with exactly one blank '_'.")
    if not template(style).has_prompt and question.strip():
        raise InputError("these heads learned whole sentences without a question; leave the question empty.")


def with_few_shot(
    data: Source | Sequence[Question],
    style: str,
    *,
    split: str | None = None,
    shots: int = 0,
    sampled_shots: bool = False,
    few_shot: Sequence[Question] | None = None,
    limit: int | None = None,
) -> tuple[list[Question], Prompter]:
    """Questions to evaluate on, and what words them with solved examples, none of which is evaluated.

    Args:
        data: A source, or questions.
        style: The adapters' prompt template: of questions that are not of a source, and see `in_style_of`.
        split: Of a source.
        shots: Solved examples in each prompt.
        sampled_shots: Draw them per question rather than take the first ones.
        few_shot: Where they are taken from; default: the source's training split.
        limit: Only the first so many questions.

    Raises:
        InputError: There are no examples to show.
    """
    if isinstance(data, Source):
        data = in_style_of(data, style)
        name, style, questions, pool = data.name, data.style, data.split(split), data.questions.get("train")
    else:
        name, questions, pool = "a list of questions", list(data), None
    pool = list(few_shot if few_shot is not None else pool or ())
    if shots and not pool:
        raise InputError(
            f"shots is {shots}, and {name} has no training split to take examples from; evaluate without, or in Python "
            "give solved questions as few_shot=."
        )
    if shots and not sampled_shots:
        questions = _others(questions, pool[:shots])
    questions = questions[:limit]
    if shots and sampled_shots:
        pool = _others(pool, questions)
        if not pool:
            raise InputError(
                f"shots is {shots}, and drawn examples would be questions that are judged; judge another split, or "
                "leave out sampled_shots."
            )
    # None of them is evaluated, so one that has the id of a question all the same is not that question.
    pool = [dataclasses.replace(shot, id=f"example {shot.id}") for shot in pool] if shots else []
    return questions, Prompter(style, shots, pool, sampled_shots)


def _others(questions: Sequence[Question], shown: Sequence[Question]) -> list[Question]:
    """The questions that are not among those that are shown."""
    seen = {digest(question) for question in shown}
    others = [question for question in questions if digest(question) not in seen]
    if len(others) < len(questions):
        logger.warning(
            "%d questions are examples in the prompts, and so are not judged here", len(questions) - len(others)
        )
    return others
