"""Figures 1 and 3: accuracy against size; the jump, and the worth of one negative in positives."""

import numpy as np

from likra.judge.bootstrap import Estimate, estimate, paired_p_value
from likra.likelihood.table import Floats
from likra.study.cells import Store
from likra.study.outcome import METHODS, Outcome
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "Learning curves"
TESTS: tuple[str, ...] = ("own",)
LEARNING = ("sft", "base_likra", "likra")

#: Where the paper finds the jump and its worth (Figure 1).
PAPER_PHASE = (64, 256)


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("curve", task)
        drawn = outcome.resampled()
        means: dict[tuple[str, int], Floats] = {}
        for method in METHODS:
            for size in plan.sizes:
                credit_SQ = outcome.credit(method, size)
                means[method, size] = drawn.means(credit_SQ)
                found = estimate(means[method, size])
                sheet.add("accuracy", found, method=method, size=size, count=credit_SQ.shape[1])
                sheet.add_seeds("accuracy", credit_SQ, plan.seeds, method=method, size=size)
        for method, other in (("likra", "sft"), ("likra", "base_likra"), ("sft", "base"), ("likra", "base")):
            for size in plan.sizes:
                p = paired_p_value(outcome.credit(method, size), outcome.credit(other, size))
                difference = estimate(means[method, size] - means[other, size])
                sheet.add("difference", difference, method=f"{method}-{other}", size=size, p=p)
        trained = [size for size in plan.sizes if size > 0]
        for method in LEARNING:
            steps = steps_of(means, method, trained)
            largest_R = steps.max(axis=0)
            sheet.add("jump", estimate(largest_R), method=method)
            sheet.add("jump_at", estimate(np.array(trained)[steps.argmax(axis=0)]), method=method)
            for size, step_R in zip(trained, steps, strict=True):
                sheet.add("step", estimate(step_R), method=method, size=size)
            if len(trained) > 1:
                sheet.add("per_doubling", estimate(_slope(means, method, trained)), method=method)
        for name, (first, last) in _phases(means, trained).items():
            sheet.add("worth", _worth(means, first, last), part=name, size=last, at=first)
        result += sheet.rows
    return result


def steps_of(means: dict[tuple[str, int], Floats], method: str, trained: list[int]) -> Floats:
    """[sizes, 1 + R] gain of each size over the one before it; over the plain base at the first.

    (Likra without training is at chance by its ties, which no user would take for its starting point.)
    """
    before = [means["base", trained[0]], *(means[method, size] for size in trained[:-1])]
    return np.stack([means[method, size] - other for size, other in zip(trained, before, strict=True)])


def _slope(means: dict[tuple[str, int], Floats], method: str, trained: list[int]) -> Floats:
    """[1 + R] accuracy per doubling of the size, by least squares."""
    doublings = np.log2(trained)
    centred = doublings - doublings.mean()
    slope_R: Floats = centred @ np.stack([means[method, size] for size in trained]) / (centred**2).sum()
    return slope_R


def _phases(means: dict[tuple[str, int], Floats], trained: list[int]) -> dict[str, tuple[int, int]]:
    """Name -> first and last size: the paper's phase, and that of this curve's own jump, up to two sizes beyond it."""
    phases = {}
    if all(size in trained for size in PAPER_PHASE):
        phases["paper"] = PAPER_PHASE
    if len(trained) > 2:
        jump = int(steps_of(means, "base_likra", trained)[:, 0].argmax())
        phases["jump"] = (trained[jump - 1] if jump else 0, trained[min(jump + 2, len(trained) - 1)])
    return phases


def _worth(means: dict[tuple[str, int], Floats], first: int, last: int) -> Estimate:
    """How many positives one negative is worth: the gain of Base-Likra (wrong answers alone) over that of SFT (right
    answers alone), from one size to another. Infinite where SFT does not gain; 0 where Base-Likra does not.
    """

    def gain(method: str) -> Floats:
        before_R = means[method, first] if first else means["base", last]  # the base is the same at every size
        gain_R: Floats = means[method, last] - before_R
        return gain_R

    negatives_R, positives_R = gain("base_likra"), gain("sft")
    with np.errstate(divide="ignore", invalid="ignore"):
        worth_R = np.where(negatives_R <= 0, 0.0, np.where(positives_R <= 0, np.inf, negatives_R / positives_R))
    return estimate(worth_R)
