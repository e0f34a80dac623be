"""What of a source's data is likely to disappoint whoever trains on it, in sentences that say what to do."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator

from likra.data.canonical import canonical
from likra.data.forms.preference import IMPLICIT_PROMPT
from likra.data.question import Example, Question
from likra.data.sources import Source

#: Mean words above which shared choices are descriptions rather than names.
NAME_WORDS = 6
#: Questions that have the same choices, from which on these are labels.
SHARED_BY = 10
#: Optimisation steps below which a recipe has hardly changed the adapters.
FEW_STEPS = 20


def advice(source: Source, steps: Callable[[int], int]) -> list[str]:
    """Sentences about completions that are glued to their prompts, labels that are descriptions, and too few steps.

    Args:
        source: The data.
        steps: Number of training examples -> optimisation steps of the recipe that is used.

    >>> glued = Question("1", "Is it offline?", ("Sure.", "No."), 0)
    >>> source = Source("mine", "preference pairs", "verbatim", {"train": [glued] * 160})
    >>> print(*advice(source, lambda count: count))
    320 of 320 completions are glued to their prompts ("Is it offline?Sure."): begin them with a space or a new line.
    """
    return [*_glued(source), *_descriptions(source), *_few_steps(source, steps)]


def _glued(source: Source) -> Iterator[str]:
    """Of data whose prompt and completion are joined as they are; those of an implicit prompt were one text."""
    if source.style != "verbatim" or source.form == IMPLICIT_PROMPT.name:
        return
    pairs = [pair for item in source.all_items for pair in _pairs(item)]
    glued = [(prompt, completion) for prompt, completion in pairs if _is_glued(prompt, completion)]
    if glued:
        prompt, completion = glued[0]
        yield (
            f'{len(glued)} of {len(pairs)} completions are glued to their prompts ("{prompt[-20:]}{completion[:20]}"): '
            "begin them with a space or a new line."
        )


def _pairs(item: Question | Example) -> list[tuple[str, str]]:
    if isinstance(item, Question):
        return [(item.text, choice) for choice in item.choices]
    return [(str(item.prompt), item.completion)]


def _is_glued(prompt: str, completion: str) -> bool:
    """Whether a word begins where a word, or a sentence, has just ended. Marks such as [/INST] may stand before one."""
    if not prompt or not completion:
        return False
    before, after = prompt[-1], completion[0]
    # Where words are not set apart by spaces, as in Chinese, nothing can be told.
    wide = any(unicodedata.east_asian_width(one) in "WF" for one in (before, after))
    return not wide and after.isalnum() and (before.isalnum() or before in ".,;:!?\"')")


def _descriptions(source: Source) -> Iterator[str]:
    questions = [question for split in source.questions.values() for question in split]
    sets = Counter(frozenset(map(canonical, question.choices)) for question in questions)
    for choices, count in sets.items():
        words = sum(len(choice.split()) for choice in choices) / len(choices)
        if len(choices) > 1 and count >= SHARED_BY and words > NAME_WORDS:
            yield (
                f"the {len(choices)} choices that {count} questions share have {words:.0f} words on average: give each "
                f"({max(choices, key=len)[:40]!r}...) a short name instead, which takes fewer records to learn."
            )
            return


def _few_steps(source: Source, steps: Callable[[int], int]) -> Iterator[str]:
    if source.unpaired:
        rights = [example.right for example in source.examples.get("train", [])]
        count = min(sum(rights), len(rights) - sum(rights))
    else:
        count = len(source.questions.get("train", []))
    if count and (taken := steps(count)) < FEW_STEPS:
        what = "step" if taken == 1 else "steps"
        then = (
            "`likra eval MODEL --folds 5` says how good such heads are."
            if source.unpaired
            else "let `likra tune` find out how to train, and whether it is worth it."
        )
        yield f"{count} training examples a head make {taken} optimisation {what} with the default recipe: {then}"
