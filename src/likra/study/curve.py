"""Learning curves: accuracy against the number of training questions (paper, Figures 1 and 3)."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from likra.errors import InputError
from likra.heads.base import Base
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.heads.training import Step, Trainer
from likra.judge.evaluation import Evaluation
from likra.likelihood.engine import score
from likra.likelihood.table import BASE, Likelihoods
from likra.questions.negatives import negatives, positives
from likra.questions.prompts import Prompter
from likra.questions.question import Question
from likra.questions.tokens import common_ending, encode_pair


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
    sizes, seeds = sorted(set(sizes)), list(seeds)
    _check(sizes, len(train), recipe, kind)
    prompter, asking = Prompter(style), Prompter(style, shots, train)
    names = [name for seed in seeds for name in head_names(seed)]
    data, orders = {}, {}
    for seed in seeds:
        drawn = random.Random(seed).sample(list(train), sizes[-1])
        examples = (positives(drawn, prompter), negatives(drawn, prompter, kind, seed=seed))
        for name, side in zip(head_names(seed), examples, strict=True):
            data[name] = [encode_pair(base.tokenizer, e.prompt, e.completion, base.max_length) for e in side]
            orders[name] = seed
    stack = HeadStack(
        base,
        names,
        rank=recipe.rank,
        alpha=recipe.alpha,
        targets=recipe.target_names,
        activation=recipe.activation,
        invocation=common_ending(base.tokenizer, [pair.context for pairs in data.values() for pair in pairs] or [()]),
        seeds=[2 * seed + side for seed in seeds for side in (0, 1)],
    )
    curve = Curve(sizes, seeds, stack)
    steps = recipe.steps(sizes[-1])

    def judge(size: int, step: int) -> None:
        progress(step, steps, f"(judging {size} questions)")
        curve.tables[size] = score(base, stack, test, asking, (BASE, *names), meta={"size": size, "base": base.name})
        progress(step, steps, "")

    def watch(step: Step) -> None:
        progress(step.step, steps, "")
        if step.examples[names[0]] in sizes:
            judge(step.examples[names[0]], step.step)

    if sizes[0] == 0:
        judge(0, 0)
    if steps:
        Trainer(stack, data, recipe, seeds=orders, on_step=watch).run()
    return curve


def _check(sizes: list[int], questions: int, recipe: Recipe, kind: str) -> None:
    if not sizes or sizes[0] < 0:
        raise InputError("--sizes: give one or more numbers of training questions, 0 or more.")
    if sizes[-1] > questions:
        raise InputError(f"--sizes {sizes[-1]}: there are only {questions} training questions.")
    odd = [size for size in sizes[:-1] if size % recipe.examples_per_step]
    if odd:
        raise InputError(
            f"--sizes {odd[0]}: every size but the last must be a multiple of {recipe.examples_per_step}, the examples "
            "of one step."
        )
    if recipe.schedule != "constant" or recipe.warmup or recipe.epochs != 1 or kind == "all":
        raise InputError(
            "a learning curve in one pass needs a constant learning rate, no warm-up, one epoch, and one "
            "negative per question."
        )
