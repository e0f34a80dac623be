"""The learning rate and the number of epochs that suit some data, where nobody says otherwise."""

import dataclasses
import math
from collections.abc import Sequence
from typing import cast

from likra.data.folds import shared_choices
from likra.data.question import Example, Question
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
LABELLED = 10
"""Questions with the same choices, from which on these count as labels."""


def suited(
    items: Sequence[Question] | Sequence[Example],
    config: TrainingConfig,
    *,
    limit: int | None = None,
    share: float = 1.0,
) -> TrainingConfig:
    """A configuration with the learning rate and the epochs that did well on data of this size and kind.

    Up to `LARGEST` examples a head: 3e-4, and up to three epochs as long as they make no more than about `STEPS` steps;
    of questions that share their choices (labels), 1e-3 and up to five epochs. Else the paper's.

    Args:
        items: The training data.
        config: All else of how heads are trained.
        limit: Only so many of them are used (of unpaired data: of each label).
        share: Only so large a part of them is used.

    >>> from likra.models.lora_config import LoraShape
    >>> asked = [Question(str(n), f"{n} plus 1?", (str(n + 1), str(n)), 0) for n in range(60)]
    >>> found = suited(asked, TrainingConfig(lora=LoraShape()))
    >>> found.learning_rate, found.num_train_epochs
    (0.0003, 3)
    """
    labelled = False
    if items and isinstance(items[0], Example):
        rights = [item.right for item in cast(Sequence[Example], items)]
        count = max(sum(rights), len(rights) - sum(rights))
    else:
        count = len(items)
        labelled = count >= LABELLED and shared_choices(cast(Sequence[Question], items)) is not None
    count = max(1, round(share * (count if limit is None else min(limit, count))))
    recipe = PAPER
    if count <= LARGEST:
        rate, most = (1e-3, 5) if labelled else (3e-4, 3)
        each = dataclasses.replace(config, num_train_epochs=1).steps(count)
        recipe = Recipe(rate, min(most, math.ceil(STEPS / each)))
    return dataclasses.replace(config, **vars(recipe))


def asked_for(
    items: Sequence[Question] | Sequence[Example],
    config: TrainingConfig,
    *,
    recipe: str = "auto",
    learning_rate: float | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    share: float = 1.0,
) -> TrainingConfig:
    """A configuration with the learning rate and the epochs that were asked for.

    Args:
        items, config, limit, share: As `suited` takes them.
        recipe: One of `RECIPES`, where neither of the following is given.
        learning_rate, epochs: What is given; beside one of them the other is the paper's.

    Raises:
        InputError: There is no such recipe, or a value is out of its range.
    """
    if recipe not in RECIPES:
        raise InputError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}.")
    if recipe == "auto" and learning_rate is None and epochs is None:
        return suited(items, config, limit=limit, share=share)
    given = {"learning_rate": learning_rate, "num_train_epochs": epochs}
    return dataclasses.replace(
        config, **vars(PAPER) | {name: value for name, value in given.items() if value is not None}
    )
