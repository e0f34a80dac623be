"""Learning curves: accuracy against the number of training questions (paper, Figures 1 and 3)."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from likra.errors import InputError
from likra.heads.base import Base
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.judge.evaluation import Evaluation
from likra.likelihood.engine import score
from likra.likelihood.table import BASE, Likelihoods
from likra.questions.negatives import negatives, positives
from likra.questions.prompts import Prompter
from likra.questions.question import Question
from likra.study.course import Lessons, check_sizes, follow, head_stack, lessons


@dataclass
class Curve:
    """A finished learning curve.

    Attributes:
        sizes: Numbers of training questions, rising, from 0.
        seeds: Seeds; each drew its own questions, negatives and first weights.
        tables: size -> likelihoods of the test questions under the base and every seed's two heads.
        stack: The heads as trained on the largest size.
        weight: w that the accuracies are taken at.
    """

    sizes: list[int]
    seeds: list[int]
    stack: HeadStack
    weight: float = 1.0
    tables: dict[int, Likelihoods] = field(default_factory=dict)

    def evaluation(self, size: int, seed: int, weight: float | None = None) -> Evaluation:
        """The judgement of one seed's heads at one size."""
        positive, negative = head_names(seed)
        return Evaluation(self.tables[size], positive, negative, self.weight if weight is None else weight)

    def as_json(self) -> list[dict[str, Any]]:
        """One object per size and seed, as `likra eval --json` prints it, with `seed` and `size`."""
        return [
            {"seed": seed, "size": size, **self.evaluation(size, seed).as_json()}
            for size in self.sizes
            for seed in self.seeds
        ]

    def mean(self, size: int, method: str, weight: float | None = None) -> float:
        """Accuracy of a method at one size, mean over the seeds."""
        return sum(self.evaluation(size, s, weight).methods[method].accuracy for s in self.seeds) / len(self.seeds)


def head_names(seed: int) -> tuple[str, str]:
    """Names of one seed's positive and negative head."""
    return f"seed{seed}-positive", f"seed{seed}-negative"


def learning_curve(
    base: Base,
    train: Sequence[Question],
    test: Sequence[Question],
    *,
    style: str,
    sizes: Sequence[int],
    seeds: Sequence[int],
    recipe: Recipe,
    kind: str = "incorrect",
    shots: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Curve:
    """Train every seed's two heads in one stack, in one pass, and judge them at every size on the way.

    At a constant learning rate a head that has seen n questions is the head that is trained on those n alone, so one
    pass gives every size.

    Args:
        base: The base model; it carries the heads afterwards.
        train: Training questions with known answers, at least as many as the largest size.
        test: Questions to judge.
        style: Prompt style.
        sizes: Numbers of training questions; 0 is the untrained heads.
        seeds: One pair of heads per seed.
        recipe: Its schedule must be constant, without warm-up, over one epoch; its seed is not used.
        kind: Kind of negatives; `all` gives several per question and so does not fit a curve over questions.
        shots: Solved training questions shown before each test question, the same for all (the paper shows 25);
            training prompts have none.
        progress: Called with (steps done, steps in all, a note).

    Raises:
        InputError: The recipe, the sizes or the number of questions do not allow the curve.
    """
    sizes, seeds = check_sizes(sizes, len(train), recipe), list(seeds)
    if kind == "all":
        raise InputError("a learning curve of the demo's kind needs one negative per question; choose another kind.")
    prompter, asking = Prompter(style), Prompter(style, shots, train)
    learned: dict[str, Lessons] = {}
    for seed in seeds:
        drawn = random.Random(seed).sample(list(train), sizes[-1])
        examples = (positives(drawn, prompter), negatives(drawn, prompter, kind, seed=seed))
        for name, side in zip(head_names(seed), examples, strict=True):
            random.Random(f"{seed} 0").shuffle(side)  # both sides alike
            learned[name] = lessons(base, [[example] for example in side])
    stack = head_stack(base, recipe, learned, [2 * seed + side for seed in seeds for side in (0, 1)])
    curve = Curve(sizes, seeds, stack)

    def judge(size: int) -> None:
        meta = {"size": size, "base": base.name, "style": style}
        curve.tables[size] = score(base, stack, test, asking, (BASE, *learned), meta=meta)

    try:
        follow(stack, learned, recipe, sizes, judge, progress=progress)
    except BaseException:
        stack.remove()
        raise
    return curve
