"""The training examples of a set of questions, with the paper's kinds of negatives (section 4, Figure 5)."""

import random
from collections.abc import Sequence
from dataclasses import replace

from likra.data.canonical import canonical
from likra.data.question import Example, Question
from likra.data.templates import Prompter
from likra.errors import InputError

#: Kind of negatives -> what they are; the command line shows these words.
NEGATIVE_KINDS: dict[str, str] = {
    "incorrect": "one of the question's own wrong choices, at random",
    "all": "every wrong choice of the question",
    "irrelevant": "the right answer of another question of the source",
    "unrelated": "an answer from another source",
}


def positives(questions: Sequence[Question], prompter: Prompter) -> list[Example]:
    """One right example per question.

    Raises:
        InputError: A question's answer is not known.

    >>> positives([Question("1", "Which gas?", ("oxygen", "argon"), 0)], Prompter("plain"))
    [Example(prompt='Which gas?', completion=' oxygen', right=True)]
    """
    return [_example(prompter, question, _answer(question)) for question in questions]


def negatives(
    questions: Sequence[Question],
    prompter: Prompter,
    kind: str = "incorrect",
    *,
    seed: int = 0,
    pool: Sequence[str] = (),
) -> list[Example]:
    """Wrong examples: one per question, or one per wrong choice for `kind="all"`.

    Choices are told apart by their text (`likra.data.canonical.canonical`): a choice that repeats the right answer is
    not a wrong one, and a wrong one that is repeated counts once.

    Args:
        questions: Questions whose right answer is known.
        prompter: Words them.
        kind: One of `NEGATIVE_KINDS`.
        seed: Seed of the draw. The draw of one question does not depend on the others.
        pool: The answers that `irrelevant` and `unrelated` draw from: those of the whole source, and of another one.

    Raises:
        InputError: `kind` is unknown, or there is nothing to draw from.

    >>> gas = Question("1", "Which gas?", ("oxygen", "argon", "neon"), 0)
    >>> [example.completion for example in negatives([gas], Prompter("qa"), "all")]
    [' argon', ' neon']
    """
    if kind not in NEGATIVE_KINDS:
        raise InputError(f"{kind!r} is not a kind of negatives; the kinds are {', '.join(NEGATIVE_KINDS)}.")
    if kind in ("irrelevant", "unrelated") and not pool:
        raise InputError(f"negatives {kind!r} need answers to draw from; for 'unrelated' give those of another source.")
    if kind in ("irrelevant", "unrelated") and prompter.template.fills_blank:
        raise InputError(f"negatives {kind!r} are not defined for fill-in-the-blank questions; use 'incorrect'.")
    if kind == "irrelevant" and not prompter.template.has_prompt:
        raise InputError("negatives 'irrelevant' would be right sentences where no question is asked; use 'incorrect'.")
    if kind in ("irrelevant", "unrelated") and prompter.template.lists_options:
        raise InputError(f"negatives {kind!r} are no choice that a prompt lists; use 'incorrect' or 'all'.")
    examples = []
    for question in questions:
        rng = random.Random(f"{seed} {kind} {question.id}")
        answer = _answer(question)
        right = question.choices[answer]
        first: dict[str, int] = {}
        for place, choice in enumerate(question.choices):
            first.setdefault(canonical(choice), place)
        wrong = [place for text, place in first.items() if text != canonical(right)]
        if kind in ("incorrect", "all") and len(question.choices) == 1:
            raise InputError(
                f"{question.name} has its right answer only; find wrong ones with `likra mine`, or use "
                "negatives of kind 'irrelevant'."
            )
        if kind in ("incorrect", "all") and not wrong:
            raise InputError(f"{question.name} has no wrong choice: all of them are {right!r}.")
        if kind == "all":
            examples += [_example(prompter, question, choice) for choice in wrong]
        elif kind == "incorrect":
            examples.append(_example(prompter, question, rng.choice(wrong)))
        else:
            text = _other_than(right, pool, rng, kind)
            foreign = Question(question.id, question.text, (text,), where=question.where)
            examples.append(_example(prompter, foreign, 0))
    return examples


def with_random_distractors(questions: Sequence[Question], pool: Sequence[str], *, seed: int = 0) -> list[Question]:
    """The questions with their wrong choices replaced by as many answers of other questions, drawn from `pool`.

    The right choice keeps its place.

    Raises:
        InputError: The pool has too few different answers.

    >>> [found] = with_random_distractors([Question("1", "Which gas?", ("oxygen", "argon"), 0)], ["goat"])
    >>> found.choices
    ('oxygen', 'goat')
    """
    result = []
    for question in questions:
        rng = random.Random(f"{seed} distractors {question.id}")
        answer = _answer(question)
        choices: list[str] = [question.choices[answer]]
        for _ in range(100 * len(question.choices)):
            if len(choices) == len(question.choices):
                break
            text = rng.choice(pool)
            if canonical(text) not in map(canonical, choices):
                choices.append(text)
        else:
            raise InputError("random distractors: there are too few different answers to draw them from.")
        right = choices.pop(0)
        choices.insert(answer, right)
        result.append(replace(question, choices=tuple(choices)))
    return result


def _other_than(answer: str, texts: Sequence[str], rng: random.Random, kind: str) -> str:
    for _ in range(100):
        text = rng.choice(texts)
        if canonical(text) != canonical(answer):
            return text
    raise InputError(f"negatives {kind!r}: nearly every answer is {answer!r}; there is no other one to draw.")


def _example(prompter: Prompter, question: Question, choice: int) -> Example:
    prompt, completion = prompter.pairs(question)[choice]
    return Example(prompt, completion, right=choice == question.answer, where=question.where)


def _answer(question: Question) -> int:
    if question.answer is None:
        raise InputError(f"{question.name} has no known answer; only answered questions can train a head.")
    return question.answer
