"""The report where there are voices: rows, figures and sentences about what changes along their axis."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, pivot, plain, share, short
from likra.lab.runner.outcome import METHODS, Outcome
from likra.lab.runner.results import Sheet, one, pick
from likra.lab.runner.task import NEGATIVE, POSITIVE
from likra.lab.studies.mechanism.findings import entries, findings
from likra.lab.studies.mechanism.update import add_updates, update_figure, update_sentence, update_tables
from likra.lab.study import pairs_of
from likra.scoring.bootstrap import over_seeds
from likra.scoring.likelihoods import BASE


def measure(outcome: Outcome, sheet: Sheet) -> None:
    """Add the results of one task."""
    found, drawn = findings(outcome), outcome.drawn

    def accuracy(credits: Any, **labels: Any) -> None:
        sheet.add("accuracy", drawn.means(np.array(credits)), **labels)

    for size in outcome.plan.sizes:
        for method in METHODS:
            accuracy(outcome.credit(method, size), method=method, size=size)
    add_updates(found, sheet)
    for entry, of_seeds in entries(found, "axis"):
        labels = {"method": entry["head"], "size": entry["size"]}
        for quantity in ("position", "alignment", "chance"):
            for block in range(len(entry.get(quantity, []))):
                values = [one[quantity][block] for one in of_seeds]
                sheet.add(quantity, over_seeds(values), part=str(block), **labels)
        if entry["head"] != BASE:
            for block, values in enumerate(_shifts(found, entry["size"], of_seeds)):
                sheet.add("shift", over_seeds(values), part=str(block), **labels)
    for block in range(len(found[0]["scale"])):
        sheet.add("axis_length", over_seeds([of_seed["scale"][block] for of_seed in found]), part=str(block))
    transplants = [of_seed["transplant"] for of_seed in found]
    for name in transplants[0]["credits"]:
        accuracy([one["credits"][name] for one in transplants], method="transplant", part=name)
    for tried, of_seeds in entries(transplants, "tried"):
        labels = {"part": str(tried["block"]), "at": tried["strength"]}
        values = [one["accuracy"] for one in of_seeds]
        sheet.add("accuracy_in_training", over_seeds(values), method="transplant", **labels)
    for name in found[0]["named"]:
        accuracy([one["named"][name] for one in found], method="named", part=name)
    for step, of_seeds in entries(found, "first_step"):
        labels = {"size": step["examples"], "at": float(step["times"])}
        accuracy([one["credits"] for one in of_seeds], method="first_step", **labels)


def draw(rows: pd.DataFrame) -> list[canvas.Drawn]:
    """The figures of one model and source."""
    return [update_figure(rows), stand_in_figure(rows), first_step_figure(rows)]


def say(rows: pd.DataFrame) -> Section:
    """Sentences and tables about one model and source."""
    positions = pick(rows, quantity="position")
    last, block = positions["size"].max(), _last_block(rows)
    accuracy = pick(rows, quantity="accuracy")

    def in_block(quantity: str, method: str) -> str:
        return plain(one(rows, quantity=quantity, method=method, size=last, part=block))

    def reached(**labels: object) -> str:
        return share(one(accuracy, **labels))

    steps = pick(accuracy, method="first_step")
    best = steps.loc[steps["value"].idxmax()]
    single = one(steps, at=1.0, size=best["size"])
    sentences = [
        "on the axis of voices (0: reliable, 1: unreliable; last block), bare prompts stand at "
        f"{in_block('position', BASE)} in the base, at {in_block('position', NEGATIVE)} under the negative head "
        f"and at {in_block('position', POSITIVE)} under the positive head, after {last} {QUESTIONS}.",
        f"the negative head's shift has a cosine of {in_block('alignment', NEGATIVE)} with that axis "
        f"({in_block('chance', NEGATIVE)} with a random direction).",
        f"held against the base, the negative head reaches {reached(method='base_likra', size=last)} percent; one "
        f"direction in its place {reached(method='transplant', part='axis')}, a random direction of the same "
        f"length {reached(method='transplant', part='random')}, an unreliable source named in the prompt "
        f"{reached(method='named', part='base_against_unreliable')}; the base alone "
        f"{reached(method='base', size=last)}.",
        f"one gradient step on {best['size']} wrong answers gives {share(single)} percent, and {share(best)} if it "
        f"is taken {best['at']:.0f} times as far (the best of those tried; on the test questions, so a little "
        "flattered).",
        update_sentence(rows),
    ]
    tables = update_tables(rows)
    captions = {"position": "position on the axis of voices", "alignment": "cosine of the shift with the axis"}
    for quantity, caption in captions.items():
        found = pick(rows, quantity=quantity, method=NEGATIVE)
        blocks = {name: f"block {name}" for name in found["part"].drop_duplicates()}
        tables.append(pivot(found, f"{caption}, negative head", "part", blocks, plain))
    return Section(sentences, tables)


def _shifts(found: Sequence[dict[str, Any]], size: int, heads: Sequence[dict[str, Any]]) -> Iterator[list[float]]:
    """For each block, how far each seed's head moves hidden states, as a share of their own length."""
    bases = [next(at for at in one["axis"] if at["head"] == BASE and at["size"] == size) for one in found]
    for block in range(len(heads[0]["position"])):
        # From distances between the voices to shares of the hidden states' own length.
        yield [
            (now["position"][block] - base["position"][block]) * one["scale"][block]
            for now, base, one in zip(heads, bases, found, strict=True)
        ]


def _last_block(rows: pd.DataFrame) -> str:
    return str(pick(rows, quantity="position")["part"].astype(int).max())


def axis_figure(rows: pd.DataFrame) -> canvas.Drawn:
    figure, both = canvas.blank(7.6, 4.0, columns=2)
    sizes = canvas.sizes_of(pick(rows, quantity="position"))
    for (model, data), colour, marker in zip(pairs_of(rows), canvas.CYCLE, canvas.CYCLE_MARKERS, strict=False):
        some = pick(rows, model=model, data=data)
        for axes, quantity in zip(both, ("shift", "alignment"), strict=True):
            of_head = canvas.by_size(some, quantity=quantity, method=NEGATIVE, part=_last_block(some))
            at = [sizes.index(size) for size in of_head["size"]]
            canvas.line(axes, at, of_head, label=short(model), colour=colour, marker=marker)
    for axes in both:
        canvas.size_axis(axes, sizes, QUESTIONS)
        axes.axhline(0, color=canvas.GREY, lw=1)
    both[0].set_ylabel("shift towards the unreliable voice\n(share of the states' length)")
    both[1].set_ylabel("cosine of the head's shift\nwith the axis")
    canvas.legend_below(figure, both[0], ncols=3)
    caption = (
        "How far the negative head moves hidden states (last block, before the answer) along the direction that "
        "separates unreliable from reliable voices. Bands: 95% intervals over seeds (Student's t)."
    )
    return canvas.Drawn("mechanism-axis", caption, figure)


def stand_in_figure(rows: pd.DataFrame) -> canvas.Drawn:
    sizes = canvas.sizes_of(pick(rows, quantity="position"))
    accuracy = pick(rows, quantity="accuracy")
    figure, axes = canvas.blank(6.4, 5.0)
    at = canvas.size_axis(axes, sizes)
    curve = canvas.by_size(accuracy, method="base_likra")
    canvas.line(axes, at, curve, label="negative head (Base-Likra)", colour=canvas.ORANGE, marker="^")
    shown = [curve]
    for labels, label, colour, style in (
        ({"method": "transplant", "part": "axis"}, "one direction in its place", canvas.RED, "-"),
        (
            {"method": "named", "part": "base_against_unreliable"},
            "an unreliable source named in its place",
            canvas.BLUE,
            "--",
        ),
        ({"method": "transplant", "part": "random"}, "a random direction in its place", canvas.GREEN, ":"),
        ({"method": "base", "size": sizes[-1]}, "Base", canvas.GREY, "--"),
    ):
        found = pick(accuracy, **labels)
        row = one(found)
        axes.axhline(row["value"], color=colour, ls=style, label=label)
        if math.isfinite(row["low"]):
            axes.axhspan(row["low"], row["high"], color=colour, alpha=0.06, lw=0)
        shown.append(found)
    canvas.accuracy_axis(axes, pd.concat(shown))
    canvas.legend_below(figure, axes, ncols=1)
    return canvas.drawn("mechanism-stand-in", "What can stand in for the negative head", figure, rows)


def first_step_figure(rows: pd.DataFrame) -> canvas.Drawn:
    figure, axes = canvas.blank()
    accuracy = pick(rows, quantity="accuracy")
    steps = pick(accuracy, method="first_step")
    for count, (colour, marker) in zip(canvas.sizes_of(steps), canvas.RISING, strict=False):
        some = pick(steps, size=count).sort_values("at")
        label = f"one step on {count} wrong answers"
        canvas.line(axes, [math.log2(times) for times in some["at"]], some, label=label, colour=colour, marker=marker)
    base = pick(accuracy, method="base", size=canvas.sizes_of(pick(rows, quantity="position"))[-1])
    axes.axhline(base["value"].iloc[0], color=canvas.GREY, ls="--", label="Base")
    times = sorted(set(steps["at"]))
    axes.set_xticks([math.log2(value) for value in times], [f"{value:g}" for value in times])
    axes.set_xlabel("the first step, taken so many times as far as Adam does")
    canvas.accuracy_axis(axes, pd.concat([steps, base]))
    canvas.legend_below(figure, axes, ncols=1)
    return canvas.drawn("mechanism-first-step", "The first gradient step alone, against the base", figure, rows)
