"""The learning rate and the number of epochs that suit some data, where nobody says otherwise."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import cast

from likra.data.advice import SHARED_BY
from likra.data.canonical import canonical
from likra.data.question import Example, Question
from likra.data.sources import Source
from likra.errors import InputError
from likra.scoring.cross_validation import Recipe
from likra.training.config import TrainingConfig

RECIPES: dict[str, str] = {"auto": "what suits the data", "paper": "the paper's"}
PAPER = Recipe(1e-4, 1)
"""The paper's (section 3), for thousands of questions."""
LARGEST = 512
"""Examples a head up to which others than the paper's were measured (docs/experiments.md)."""
STEPS = 48
"""Optimisation steps that several epochs are to make."""


def check_recipe(recipe: str | None) -> None:
    """Raise InputError where there is no such recipe."""
    if recipe is not None and recipe not in RECIPES:
        raise InputError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}.")


def suited(counts: Collection[int], labels: bool, config: TrainingConfig) -> TrainingConfig:
    """A configuration with the learning rate and the epochs that did well on data of this size and kind.

    Up to `LARGEST` examples a head: 3e-4, and up to three epochs as long as they make no more than about `STEPS` steps;
    of labels 1e-3, and up to five epochs. Of more the paper's; of labels 3e-4 and one epoch.

    Args:
        counts: How many examples each adapter learns; the largest counts.
        labels: Whether they are labels (`are_labels`).
        config: All else of how heads are trained.

    >>> from likra.models.lora_config import LoraShape
    >>> found = suited([60, 60], False, TrainingConfig(lora=LoraShape()))
    >>> found.learning_rate, found.num_train_epochs
    (0.0003, 3)
    """
    count = max(counts, default=0)
    recipe = Recipe(3e-4, 1) if labels else PAPER
    if count <= LARGEST:
        rate, most = (1e-3, 5) if labels else (3e-4, 3)
        each = dataclasses.replace(config, num_train_epochs=1).steps(max(1, count))
        recipe = Recipe(rate, min(most, math.ceil(STEPS / each)))
    return dataclasses.replace(config, **vars(recipe))


def are_labels(data: Source | Sequence[Question] | Sequence[Example]) -> bool:
    """Whether right answers are labels: of a table, or names that `SHARED_BY` questions and more have to choose from.

    Yes and no, and letters that stand for options in the prompt, are none.

    >>> texts = [Question(str(n), f"Text {n}", ("sales", "support", "other"), 0) for n in range(20)]
    >>> are_labels(texts), are_labels([])
    (True, False)
    """
    if isinstance(data, Source):
        if data.columns or data.unpaired:
            return bool(data.columns)
        items: Sequence[Question] | Sequence[Example] = [one for some in data.questions.values() for one in some]
    else:
        items = data
    if not items or isinstance(items[0], Example):
        return False
    sets = Counter(frozenset(map(canonical, question.choices)) for question in cast(Sequence[Question], items))
    named = all(len(choices) > 2 and any(len(choice) > 1 for choice in choices) for choices in sets)
    return named and len(items) >= SHARED_BY * len(sets)


def by_recipe(
    recipe: str,
    counts: Collection[int],
    data: Source | Sequence[Question] | Sequence[Example],
    config: TrainingConfig,
) -> TrainingConfig:
    """A configuration with the learning rate and the epochs of one of `RECIPES`; the rest is as in `suited`."""
    if recipe == "paper":
        return dataclasses.replace(config, **vars(PAPER))
    return suited(counts, are_labels(data), config)
