"""Figures 1 and 3: accuracy against size; the jump, and the worth of one negative in positives."""

import numpy as np
import pandas as pd

from likra.data.controls import BLIND, CONTROLS
from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, accuracies, p_value, pivot, plain, points
from likra.lab.rival import credits_of, jobs_of
from likra.lab.runner.jobs import Job
from likra.lab.runner.options import OPTIONS_TITLES, options_credits, options_jobs
from likra.lab.runner.outcome import METHODS, PMI_DC, PMI_DC_TITLE, SFT_BASE, SFT_BASE_TITLE, Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, one, pick
from likra.lab.runner.task import Task
from likra.lab.studies._controls import add_controls, control_tables
from likra.lab.study import Study, study
from likra.scoring.bootstrap import paired_p_value
from likra.scoring.likelihoods import Floats
from likra.scoring.scores import METHOD_TITLES

LEARNING = ("sft", "base_likra", "likra")

#: Where the paper finds the jump and its worth (Figure 1).
PAPER_PHASE = (64, 256)

#: All methods of the table of accuracies.
_TITLES = METHOD_TITLES | {SFT_BASE: SFT_BASE_TITLE} | OPTIONS_TITLES | {"pmi": "PMI", PMI_DC: PMI_DC_TITLE}

_DIFFERENCES = {
    "likra-sft": "Likra minus SFT",
    "likra-base_likra": "Likra minus Base-Likra",
    "likra-base": "Likra minus Base",
    f"likra-{SFT_BASE}": f"Likra minus ({SFT_BASE_TITLE})",
    f"likra-{PMI_DC}": f"Likra minus ({PMI_DC_TITLE})",
    "likra-pmi": "Likra minus PMI",
}


@study("curve")
class Curve(Study):
    about = "Figures 1 and 3: SFT, Base-Likra, Likra against size; the jump; the worth of a negative in positives."
    title = "Learning curves"
    tests = ("own", *CONTROLS)

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        return [plan.pair(task), *options_jobs(plan, task), jobs_of(plan, task, "pmi")]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        plan, drawn = outcome.plan, outcome.drawn
        means: dict[tuple[str, int], Floats] = {}
        for method in METHODS:
            for size in plan.sizes:
                credit_SQ = outcome.credit(method, size)
                means[method, size] = drawn.means(credit_SQ)
                sheet.add("accuracy", means[method, size], method=method, size=size, count=credit_SQ.shape[1])
                sheet.add_seeds("accuracy", credit_SQ, plan.seeds, method=method, size=size)
        for size in plan.sizes:
            add_controls(outcome, sheet, size, {method: means[method, size] for method in METHODS})
            for method, credit_SQ in options_credits(outcome, size).items():
                sheet.add("accuracy", drawn.means(credit_SQ), method=method, size=size, count=credit_SQ.shape[1])
                sheet.add_seeds("accuracy", credit_SQ, plan.seeds, method=method, size=size)
        for method, other in (("likra", "sft"), ("likra", "base_likra"), ("sft", "base"), ("likra", "base")):
            for size in plan.sizes:
                p = paired_p_value(outcome.credit(method, size), outcome.credit(other, size))
                lead_R = means[method, size] - means[other, size]
                sheet.add("difference", lead_R, method=f"{method}-{other}", size=size, p=p)
        free = credits_of(outcome, "pmi")
        if outcome.task.has(BLIND):
            free[PMI_DC] = outcome.credit(PMI_DC, plan.sizes[0])
        for size in plan.sizes:
            for method, credit_SQ in {SFT_BASE: outcome.credit(SFT_BASE, size), **free}.items():
                own_R, p = drawn.means(credit_SQ), paired_p_value(outcome.credit("likra", size), credit_SQ)
                sheet.add("accuracy", own_R, method=method, size=size, count=credit_SQ.shape[1])
                sheet.add("difference", means["likra", size] - own_R, method=f"likra-{method}", size=size, p=p)
        trained = [size for size in plan.sizes if size > 0]
        for method in LEARNING:
            steps = add_jump(sheet, means, method, trained)
            for size, step_R in zip(trained, steps, strict=True):
                sheet.add("step", step_R, method=method, size=size)
            if len(trained) > 1:
                sheet.add("per_doubling", _slope(means, method, trained), method=method)
        for name, (first, last) in _phases(means, trained).items():
            sheet.add("worth", _worth(means, first, last), part=name, size=last, at=first)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        accuracy = pick(rows[rows["method"].isin(METHODS)], quantity="accuracy", seed=-1)
        figure, axes = canvas.blank()
        at = canvas.size_axis(axes, canvas.sizes_of(accuracy))
        for method in METHODS:
            canvas.method_line(axes, at, canvas.by_size(accuracy, method=method), method)
        for (method, title), marker in zip(OPTIONS_TITLES.items(), ("", "v"), strict=True):
            some = canvas.by_size(accuracy, method=method)
            if not some.empty:
                canvas.line(axes, at, some, label=title, colour=canvas.GREEN, marker=marker)
        blind = canvas.by_size(pick(rows, quantity="control", test=BLIND), method="likra")
        if not blind.empty:
            title = f"{METHOD_TITLES['likra']}, blind"
            canvas.method_line(axes, at, blind, "likra", label=title, linestyle="--", marker="")
        canvas.accuracy_axis(axes, pd.concat([accuracy, blind]))
        canvas.legend(axes)
        steps = pick(rows, quantity="step")
        second, axes = canvas.blank()
        at = canvas.size_axis(axes, canvas.sizes_of(steps), "up to so many training questions")
        for method in LEARNING:
            canvas.method_line(axes, at, canvas.by_size(steps, method=method), method)
        axes.axhline(0, color=canvas.GREY, lw=1)
        axes.set_ylabel("accuracy gained\nsince the size before")
        canvas.legend(axes)
        gained = "Accuracy gained from each size to the next (the first: over the base)"
        return [
            canvas.drawn("curve", "Accuracy against size", figure, rows),
            canvas.drawn("steps", gained, second, rows),
        ]

    def say(self, rows: pd.DataFrame) -> Section:
        sentences = []
        for method in LEARNING:
            jump, at = (one(rows, quantity=name, method=method) for name in ("jump", "jump_at"))
            sentences.append(
                f"the largest step of {METHOD_TITLES[method]} adds {points(jump)} points, and ends at "
                f"{at['value']:.0f} ({at['low']:.0f} to {at['high']:.0f}) {QUESTIONS}."
            )
        for row in each(pick(rows, quantity="worth")):
            phase = "in the paper's phase" if row["part"] == "paper" else "around this curve's own jump"
            sentences.append(
                f"from {row['at']:.0f} to {row['size']} {QUESTIONS} ({phase}), one negative is worth {plain(row)} "
                "positives (the gain of Base-Likra over that of SFT; inf: SFT does not gain)."
            )
        differences = pivot(
            pick(rows, quantity="difference"),
            "differences in points, 95% interval, p of the paired test",
            "method",
            _DIFFERENCES,
            lambda row: f"{points(row)}, {p_value(row)}",
        )
        tables = [accuracies(rows, _TITLES), *control_tables(rows), differences]
        return Section(sentences, tables)


def add_jump(
    sheet: Sheet, means: dict[tuple[str, int], Floats], method: str, trained: list[int], **labels: object
) -> Floats:
    """Add the largest step of a method and where it ends; returns all steps, as `steps_of` gives them."""
    steps = steps_of(means, method, trained)
    sheet.add("jump", steps.max(axis=0), method=method, **labels)
    sheet.add("jump_at", np.array(trained)[steps.argmax(axis=0)], method=method, **labels)
    return steps


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


def _worth(means: dict[tuple[str, int], Floats], first: int, last: int) -> Floats:
    """[1 + R] how many positives one negative is worth, from one size to another.

    It is the gain of Base-Likra (wrong answers alone) over that of SFT (right answers alone): infinite where SFT does
    not gain, 0 where Base-Likra does not.
    """

    def gain(method: str) -> Floats:
        before_R = means[method, first] if first else means["base", last]  # the base is the same at every size
        gain_R: Floats = means[method, last] - before_R
        return gain_R

    negatives_R, positives_R = gain("base_likra"), gain("sft")
    with np.errstate(divide="ignore", invalid="ignore"):
        worth_R: Floats = np.where(negatives_R <= 0, 0.0, np.where(positives_R <= 0, np.inf, negatives_R / positives_R))
    return worth_R
