"""The folds of a cross-validation: whatever asks the same is in one fold."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from likra.data.canonical import canonical
from likra.data.question import Example, Question
from likra.data.sources import Source
from likra.errors import InputError


def foldable(source: Source) -> list[Question] | list[Example]:
    """The records of a source that are judged in folds: all of data that names no splits, else not its test split.

    Raises:
        InputError: Its questions have no choices, or there are none.
    """
    if source.hashed:
        return source.items("all")
    parts = source.examples or source.questions
    found = [split for split in ("train", "validation") if parts.get(split)]
    some = [item for split in found for item in source.items(split)]
    return cast(list[Question], some) if found else source.items("all")


def folds_of(items: Sequence[Question] | Sequence[Example], folds: int, seed: int = 0) -> list[int]:
    """The fold of each record, from 0: what asks the same is in one, and folds are about equal.

    Each fold has about its share of every label too, where records have labels that come again: right and wrong of
    unpaired data, the right answer of questions that share their choices (scikit-learn's `StratifiedGroupKFold`).

    Args:
        items: The records.
        folds: How many folds.
        seed: Of the draw.

    Raises:
        InputError: There are fewer groups than folds, or fewer than two folds.

    >>> asked = [Question(str(n), f"{n} plus 1?", ("two", "three"), 0) for n in range(4)]
    >>> sorted(folds_of(asked, 2))
    [0, 0, 1, 1]
    """
    if folds < 2:
        raise InputError(f"folds must be 2 or more, got {folds}.")
    groups = [item.asked for item in items]
    if len(set(groups)) < folds:
        raise InputError(
            f"folds is {folds}, but the data asks only {len(set(groups))} different things, and records that ask the "
            "same stay in one fold; give fewer folds or more records."
        )
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    labels, parts = _labels(items), list[Any]()
    if max(Counter(labels).values()) >= folds:  # else no label can have its share of every fold
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of labels that are rarer than there are folds
            parts = [part for _, part in splitter.split(groups, labels, groups)]
    if not parts or not all(len(part) for part in parts):  # labels and large groups can leave one empty
        parts = [part for _, part in GroupKFold(folds, shuffle=True, random_state=seed).split(groups, None, groups)]
    found = [0] * len(groups)
    for fold, part in enumerate(parts):
        for place in part.tolist():
            found[place] = fold
    return found


def shared_choices(questions: Sequence[Question]) -> tuple[str, ...] | None:
    """The choices that all of some questions have, in the first one's order: labels of classes; None where they differ.

    >>> shared_choices([Question("1", "ham", ("yes", "no")), Question("2", "eggs", ("no", "yes"))])
    ('yes', 'no')
    """
    sets = {frozenset(map(canonical, question.choices)) for question in questions}
    return tuple(dict.fromkeys(map(canonical, questions[0].choices))) if len(sets) == 1 else None


def _labels(items: Sequence[Question] | Sequence[Example]) -> list[str]:
    questions = [item for item in items if isinstance(item, Question)]
    if len(questions) < len(items):
        return [str(item.right) for item in items if isinstance(item, Example)]
    if shared_choices(questions) is None:
        return [""] * len(questions)
    return ["" if q.answer is None else canonical(q.choices[q.answer]) for q in questions]
