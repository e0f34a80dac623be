"""The figures of each study, drawn from its rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from likra.judge import METHOD_TITLES
from likra.report.canvas import (
    BLUE,
    COLOURS,
    CYCLE,
    CYCLE_MARKERS,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PINK,
    RED,
    accuracy_axis,
    canvas,
    legend,
    legend_below,
    line,
    size_axis,
    whisker,
)
from likra.report.titles import CALIBRATION_TITLES, KIND_TITLES, RIVAL_TITLES, TEST_TITLES, WAYS
from likra.study.results import Row, where


@dataclass(frozen=True)
class Drawn:
    """A figure with what it is called in a folder and what stands under it."""

    name: str
    caption: str
    figure: Figure


def draw(study: str, rows: Sequence[Row]) -> list[Drawn]:
    """The figures of one study."""
    return _FIGURES[study]([row for row in rows if row["study"] == study])


def pairs_of(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(model, data) of the rows, in their order."""
    return list(dict.fromkeys((row["model"], row["data"]) for row in rows))


def short(name: str) -> str:
    """A model's or a source's name with one folder before it at most."""
    return "/".join([part for part in name.split("/") if part not in ("", ".", "..")][-2:])


def _slug(*names: str) -> str:
    return "-".join("".join(c if c.isalnum() else "-" for c in short(name)).strip("-") for name in names)


def _sizes(rows: Sequence[Row]) -> list[int]:
    return sorted({row["size"] for row in rows if row["size"] >= 0})


def _by_size(rows: Sequence[Row], **labels: object) -> list[Row]:
    return sorted(where(rows, seed=-1, **labels), key=lambda row: row["size"])


def _each(rows: Sequence[Row], one: Callable[[Sequence[Row]], list[Drawn]]) -> list[Drawn]:
    """The figures of every model and source, named after them."""
    return [
        Drawn(f"{drawn.name}-{_slug(model, data)}", drawn.caption, drawn.figure)
        for model, data in pairs_of(rows)
        for drawn in one(where(rows, model=model, data=data))
    ]


def _each_source(rows: Sequence[Row], one: Callable[[Sequence[Row]], list[Drawn]]) -> list[Drawn]:
    """The figures of every source, all models in each."""
    return [
        Drawn(f"{drawn.name}-{_slug(data)}", drawn.caption, drawn.figure)
        for data in dict.fromkeys(row["data"] for row in rows)
        for drawn in one(where(rows, data=data))
    ]


def _of(rows: Sequence[Row]) -> str:
    return f"{short(rows[0]['model'])}, {short(rows[0]['data'])}"


_BANDS = "Bands and bars: 95% intervals over seeds and questions."


def _curve(rows: Sequence[Row]) -> list[Drawn]:
    accuracy = where(rows, quantity="accuracy", seed=-1)
    figure, axes = canvas()
    at = size_axis(axes, _sizes(accuracy))
    for method, title in METHOD_TITLES.items():
        line(axes, at, _by_size(accuracy, method=method), label=title, colour=COLOURS[method], marker=MARKERS[method])
    accuracy_axis(axes, accuracy)
    legend(axes)
    steps = where(rows, quantity="step")
    second, axes = canvas()
    trained = _sizes(steps)
    at = size_axis(axes, trained, "up to so many training questions")
    for method in ("sft", "base_likra", "likra"):
        title = METHOD_TITLES[method]
        line(axes, at, _by_size(steps, method=method), label=title, colour=COLOURS[method], marker=MARKERS[method])
    axes.axhline(0, color=GREY, lw=1)
    axes.set_ylabel("accuracy gained\nsince the size before")
    legend(axes)
    return [
        Drawn("curve", f"Accuracy against size; {_of(rows)}. {_BANDS}", figure),
        Drawn(
            "steps",
            f"Accuracy gained from each size to the next (the first: over the base); {_of(rows)}. {_BANDS}",
            second,
        ),
    ]


def _likelihoods(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="logprob")
    figure, both = canvas(7.6, 4.0, columns=2, sharey=True)
    for axes, head, title in zip(both, ("positive", "incorrect"), ("positive head", "negative head"), strict=True):
        at = size_axis(axes, _sizes(found), "training questions")
        for part, colour, marker in (("right", GREEN, "o"), ("wrong", PINK, "v")):
            line(
                axes, at, _by_size(found, method=head, part=part), label=f"{part} answers", colour=colour, marker=marker
            )
        axes.set_title(title, fontsize=13)
    both[0].set_ylabel("log-likelihood (nats per answer)")
    legend(both[0])
    gaps = where(rows, quantity="gap")
    second, axes = canvas()
    at = size_axis(axes, _sizes(gaps))
    line(axes, at, _by_size(gaps, method="positive"), label="positive head", colour=BLUE, marker="s")
    line(axes, at, _by_size(gaps, method="incorrect"), label="negative head", colour=RED, marker="o")
    axes.axhline(0, color=GREY, lw=1)
    axes.set_ylabel("right minus wrong\n(nats per answer)")
    legend(axes)
    return [
        Drawn("likelihoods", f"Mean log-likelihood of test answers under each head; {_of(rows)}. {_BANDS}", figure),
        Drawn("gaps", f"How much likelier right answers are than wrong ones; {_of(rows)}. {_BANDS}", second),
    ]


def _weights(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy")
    sizes = _sizes(found)
    picked = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
    figure, axes = canvas()
    for size, colour, marker in zip(picked, (ORANGE, PINK, RED), ("^", "D", "o"), strict=False):
        some = sorted(where(found, size=size), key=lambda row: row["at"])
        line(axes, [row["at"] for row in some], some, label=f"{size} questions", colour=colour, marker=marker)
    axes.set_xlabel("weight w of the negative head")
    accuracy_axis(axes, found)
    legend_below(figure, axes, ncols=3)
    return [Drawn("weights", f"Accuracy of Likra against the weight; at 0 it is SFT; {_of(rows)}. {_BANDS}", figure)]


def _negatives(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy")
    figure, axes = canvas(6.4, 4.2)
    at = size_axis(axes, _sizes(found))
    kinds = [kind for kind in KIND_TITLES if where(found, negatives=kind)]
    for kind, colour, marker in zip(kinds, (RED, ORANGE, GREEN, PINK, "#56b4e9"), CYCLE_MARKERS, strict=False):
        line(axes, at, _by_size(found, negatives=kind), label=KIND_TITLES[kind], colour=colour, marker=marker)
    line(axes, at, _by_size(found, method="sft"), label="no negatives (SFT)", colour=BLUE, marker="s")
    accuracy_axis(axes, found)
    legend_below(figure, axes)
    return [Drawn("negatives", f"Likra with each kind of negatives; {_of(rows)}. {_BANDS}", figure)]


def _models(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy", seed=-1)
    pairs = pairs_of(found)
    figure, axes = canvas(max(6.0, 1.6 * len(pairs) + 2), 4.2)
    for shift, method in enumerate(METHOD_TITLES):
        for place, (model, data) in enumerate(pairs):
            [row] = where(found, model=model, data=data, method=method)
            label = METHOD_TITLES[method] if place == 0 else None
            whisker(
                axes,
                place + 0.16 * (shift - 1.5),
                row,
                colour=COLOURS[method],
                marker=MARKERS[method] or "_",
                label=label,
            )
    axes.set_xticks(range(len(pairs)), [f"{short(model)}\n{short(data)}" for model, data in pairs], fontsize=11)
    axes.set_xlabel("base model and source")
    accuracy_axis(axes, found)
    legend_below(figure, axes, ncols=4)
    size = _sizes(found)[-1]
    return [Drawn("models", f"Accuracy after {size} training questions. {_BANDS}", figure)]


def _rivals(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy", seed=-1)
    size = _sizes(found)[-1]
    last = where(found, size=size)
    ranked = sorted(last, key=lambda row: row["value"])
    figure, axes = canvas(6.4, 0.36 * len(ranked) + 1.2)
    for place, row in enumerate(ranked):
        colour = COLOURS.get(row["method"], "#009e73")
        errors = [[max(0.0, row["value"] - row["low"])], [max(0.0, row["high"] - row["value"])]]
        axes.errorbar([row["value"]], [place], xerr=errors, fmt="o", color=colour, capsize=4, ms=7)
    axes.set_yticks(range(len(ranked)), [RIVAL_TITLES[row["method"]] for row in ranked], fontsize=11)
    axes.set_xlabel("accuracy (share of questions)")
    axes.set_ylabel("method")
    second, axes = canvas(6.4, 4.4)
    at = size_axis(axes, _sizes(found))
    shown = ("likra", "base_likra", "sft", "dpo_reward", "nca_reward", "kto_reward", "reward", "unlikelihood")
    for method, colour, marker in zip(shown, CYCLE, CYCLE_MARKERS, strict=True):
        some = _by_size(found, method=method)
        if some:
            line(axes, at, some, label=RIVAL_TITLES[method], colour=COLOURS.get(method, colour), marker=marker)
    accuracy_axis(axes, [row for row in found if row["method"] in shown])
    legend_below(second, axes)
    return [
        Drawn("rivals", f"Every method after {size} right and {size} wrong answers; {_of(rows)}. {_BANDS}", figure),
        Drawn("rival-curves", f"The same against size; {_of(rows)}. {_BANDS}", second),
    ]


def _distractors(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy")
    figure, both = canvas(7.6, 4.0, columns=2, sharey=True)
    for axes, test in zip(both, ("own", "random"), strict=True):
        some = where(found, test=test)
        at = size_axis(axes, _sizes(some), "training questions")
        for kind, colour, marker in (("incorrect", RED, "o"), ("irrelevant", ORANGE, "^")):
            title = f"trained on {'near-misses' if kind == 'incorrect' else 'random answers'}"
            line(axes, at, _by_size(some, negatives=kind), label=title, colour=colour, marker=marker)
        line(axes, at, _by_size(some, method="sft"), label="SFT", colour=BLUE, marker="s")
        line(axes, at, _by_size(some, method="base"), label="Base", colour=GREY, marker="")
        axes.set_title(TEST_TITLES[test], fontsize=13)
    accuracy_axis(both[0], found)
    legend_below(figure, both[0])
    return [Drawn("distractors", f"Likra by training negatives and test distractors; {_of(rows)}. {_BANDS}", figure)]


def _groups(rows: Sequence[Row]) -> list[Drawn]:
    """One panel per group, if there are some and not too many (a benchmark may have dozens)."""
    groups = [group for group in dict.fromkeys(row["part"] for row in rows) if group != "all"]
    if not 1 < len(groups) <= 6:
        return []
    world = ("well", "little", "never")
    order = sorted(groups, key=lambda group: world.index(group) if group in world else -1)
    figure, several = canvas(2.6 * len(order) + 0.6, 4.2, columns=len(order), sharey=True)
    for axes, group in zip(several, order, strict=True):
        of_group = where(rows, part=group)
        at = size_axis(axes, _sizes(of_group), "training questions")
        for method in ("base", "sft", "likra"):
            some = _by_size(of_group, method=method)
            line(axes, at, some, label=METHOD_TITLES[method], colour=COLOURS[method], marker=MARKERS[method])
        axes.set_title(f"{group} ({of_group[0]['count']})", fontsize=13)
    accuracy_axis(several[0], rows)
    legend(several[0])
    name = f"coverage-{_slug(rows[0]['model'], rows[0]['data'])}"
    return [Drawn(name, f"Accuracy by group (questions in brackets); {_of(rows)}. {_BANDS}", figure)]


def _coverage(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy")
    drawn = [one for model, data in pairs_of(found) for one in _groups(where(found, model=model, data=data))]
    pairs = pairs_of(found)
    if len(pairs) > 1:
        figure, axes = canvas(6.4, 4.2)
        whole = where(found, part="all")
        size_axis(axes, _sizes(whole))
        for (model, data), colour, marker in zip(pairs, CYCLE, CYCLE_MARKERS, strict=False):
            for method, title in (("likra", "Likra"), ("base", "Base")):
                some = _by_size(where(whole, model=model, data=data), method=method)
                at = [_sizes(whole).index(row["size"]) for row in some]
                shape = marker if method == "likra" else ""
                line(axes, at, some, label=f"{short(model)}: {title}", colour=colour, marker=shape)
        accuracy_axis(axes, whole)
        legend_below(figure, axes)
        drawn.append(Drawn("controls", f"The same on models pretrained on other text. {_BANDS}", figure))
    return drawn


def _scaling(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy")
    figure, axes = canvas()
    for method, title in METHOD_TITLES.items():
        some = sorted(where(found, method=method), key=lambda row: row["at"])
        at = [row["at"] / 1e6 for row in some]
        line(axes, at, some, label=title, colour=COLOURS[method], marker=MARKERS[method])
    axes.set_xscale("log")
    axes.set_xlabel("compute per question (million operations)")
    accuracy_axis(axes, found)
    legend(axes)
    size = _sizes(found)[-1]
    caption = (
        f"Accuracy against the compute of judging, one point per base model, after {size} training questions. Likra "
        f"reads each question twice. {_BANDS}"
    )
    return [Drawn("scaling", caption, figure)]


def _paraphrase(rows: Sequence[Row]) -> list[Drawn]:
    found = where(rows, quantity="accuracy")
    figure, axes = canvas()
    at = size_axis(axes, _sizes(found))
    for method in ("base", "sft", "likra"):
        title = METHOD_TITLES[method]
        line(axes, at, _by_size(found, method=method, test="own"), label=title, colour=COLOURS[method], marker="o")
        label = f"{title}, reworded"
        some = _by_size(found, method=method, test="reworded")
        line(axes, at, some, label=label, colour=COLOURS[method], marker="x", linestyle=":")
    accuracy_axis(axes, found)
    legend_below(figure, axes, ncols=3)
    return [Drawn("paraphrase", f"The same questions, answers in other words; {_of(rows)}. {_BANDS}", figure)]


def _mechanism(rows: Sequence[Row]) -> list[Drawn]:
    drawn = _each(rows, _mechanism_of_one)
    pairs = pairs_of(rows)
    if len(pairs) > 1:
        drawn.append(_axis_of_all(rows, pairs))
    return drawn


def _axis_of_all(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> Drawn:
    figure, both = canvas(7.6, 4.0, columns=2)
    for (model, data), colour, marker in zip(pairs, CYCLE, CYCLE_MARKERS, strict=False):
        some = where(rows, model=model, data=data)
        block = str(max(int(row["part"]) for row in where(some, quantity="position")))
        for axes, quantity in zip(both, ("shift", "alignment"), strict=True):
            of_head = _by_size(some, quantity=quantity, method="incorrect", part=block)
            at = [_sizes(where(rows, quantity="position")).index(row["size"]) for row in of_head]
            line(axes, at, of_head, label=short(model), colour=colour, marker=marker)
    for axes in both:
        size_axis(axes, _sizes(where(rows, quantity="position")), "training questions")
        axes.axhline(0, color=GREY, lw=1)
    both[0].set_ylabel("shift towards the unreliable voice\n(share of the states' length)")
    both[1].set_ylabel("cosine of the head's shift\nwith the axis")
    legend_below(figure, both[0], ncols=3)
    caption = (
        "How far the negative head moves hidden states (last block, before the answer) along the direction that "
        "separates unreliable from reliable voices. Bands: 95% intervals over seeds (Student's t)."
    )
    return Drawn("mechanism-axis", caption, figure)


def _mechanism_of_one(rows: Sequence[Row]) -> list[Drawn]:
    sizes = _sizes(where(rows, quantity="position"))
    place = {size: index for index, size in enumerate(sizes)}
    geometry, both = canvas(7.6, 4.0, columns=2)
    labels = {
        "cosine": "cosine with the last update",
        "rank": "stable rank of the update",
    }
    for axes, (quantity, label) in zip(both, labels.items(), strict=True):
        for head, title, colour, marker in (
            ("positive", "positive head", BLUE, "s"),
            ("incorrect", "negative head", RED, "o"),
        ):
            some = _by_size(rows, quantity=quantity, method=head)
            line(axes, [place[row["size"]] for row in some], some, label=title, colour=colour, marker=marker)
        size_axis(axes, sizes, "training questions")
        axes.set_ylabel(label)
    legend(both[0], loc="lower right")
    stand_in, axes = canvas(6.4, 5.0)
    at = size_axis(axes, sizes)
    curve = where(rows, quantity="accuracy", method="base_likra")
    line(axes, at, _by_size(curve), label="negative head (Base-Likra)", colour=ORANGE, marker="^")
    [axis] = where(rows, quantity="accuracy", method="transplant", part="axis")
    [chance] = where(rows, quantity="accuracy", method="transplant", part="random")
    [named] = where(rows, quantity="accuracy", method="named", part="base_against_unreliable")
    [base] = where(rows, quantity="accuracy", method="base", size=sizes[-1])
    for row, label, colour, style in (
        (axis, "one direction in its place", RED, "-"),
        (named, "an unreliable source named in its place", BLUE, "--"),
        (chance, "a random direction in its place", GREEN, ":"),
        (base, "Base", GREY, "--"),
    ):
        axes.axhline(row["value"], color=colour, ls=style, label=label)
        if math.isfinite(row["low"]):
            axes.axhspan(row["low"], row["high"], color=colour, alpha=0.06, lw=0)
    accuracy_axis(axes, [*curve, axis, chance, named, base])
    legend_below(stand_in, axes, ncols=1)
    first, axes = canvas()
    steps = where(rows, quantity="accuracy", method="first_step")
    for count, colour, marker in zip(_sizes(steps), (ORANGE, PINK, RED), ("^", "D", "o"), strict=False):
        some = sorted(where(steps, size=count), key=lambda row: row["at"])
        line(
            axes,
            [math.log2(row["at"]) for row in some],
            some,
            label=f"one step on {count} wrong answers",
            colour=colour,
            marker=marker,
        )
    axes.axhline(base["value"], color=GREY, ls="--", label="Base")
    times = sorted({row["at"] for row in steps})
    axes.set_xticks([math.log2(value) for value in times], [f"{value:g}" for value in times])
    axes.set_xlabel("the first step, taken so many times as far as Adam does")
    accuracy_axis(axes, [*steps, base])
    legend_below(first, axes, ncols=1)
    return [
        Drawn(
            "mechanism-update",
            f"The update of each head as it learns; {_of(rows)}. Bands: over seeds (Student's t).",
            geometry,
        ),
        Drawn("mechanism-stand-in", f"What can stand in for the negative head; {_of(rows)}. {_BANDS}", stand_in),
        Drawn("mechanism-first-step", f"The first gradient step alone, against the base; {_of(rows)}. {_BANDS}", first),
    ]


def _calibration(rows: Sequence[Row]) -> list[Drawn]:
    errors, risks = where(rows, quantity="ece"), where(rows, quantity="risk", part="temperature")
    figure, both = canvas(7.6, 4.2, columns=2, sharey=True)
    for axes, method in zip(both, ("sft", "likra"), strict=True):
        at = size_axis(axes, _sizes(errors), "training questions")
        for part, colour, marker in zip(CALIBRATION_TITLES, (GREY, RED, BLUE), ("x", "o", "s"), strict=True):
            some = _by_size(errors, method=method, part=part)
            line(axes, at, some, label=CALIBRATION_TITLES[part], colour=colour, marker=marker)
        axes.set_title(METHOD_TITLES[method], fontsize=13)
    both[0].set_ylim(bottom=0)
    both[0].set_ylabel("expected calibration error")
    legend_below(figure, both[0], ncols=3)
    second, axes = canvas()
    for method in ("base", "sft", "likra"):
        some = sorted(where(risks, method=method), key=lambda row: row["at"])
        line(
            axes,
            [row["at"] for row in some],
            some,
            label=METHOD_TITLES[method],
            colour=COLOURS[method],
            marker=MARKERS[method],
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("coverage (share of questions answered, the surest first)")
    axes.set_ylabel("risk (share of answers\nthat are wrong)")
    legend(axes)
    size = _sizes(risks)[-1]
    over = "Bands: 95% intervals over seeds (Student's t); few questions alone give an error too (see the text)."
    return [
        Drawn(
            "calibration",
            f"Calibration error of the answers given, each judged by a calibration that was fitted to other questions; "
            f"{_of(rows)}. {over}",
            figure,
        ),
        Drawn(
            "risk-coverage",
            f"Answering only when sure, after {size} training questions, by probabilities of one fitted temperature; "
            f"{_of(rows)}. {_BANDS}",
            second,
        ),
    ]


def _generation(rows: Sequence[Row]) -> list[Drawn]:
    ways = [way for way in WAYS if where(rows, method=way)]
    figure, both = canvas(7.6, 0.34 * len(ways) + 1.8, columns=2, sharey=True)
    for axes, part, title in zip(both, ("greedy", "drawn"), ("greedy", "drawn at temperature 1"), strict=True):
        for quantity, colour, marker, label in (
            ("true", GREEN, "o", "true"),
            ("false", PINK, "v", "false (a wrong choice)"),
        ):
            found = {row["method"]: row for row in where(rows, quantity=quantity, part=part)}
            some = [(place, found[way]) for place, way in enumerate(reversed(ways)) if way in found]
            values = [row["value"] for _, row in some]
            ends = [
                [max(0.0, row["value"] - row["low"]) for _, row in some],
                [max(0.0, row["high"] - row["value"]) for _, row in some],
            ]
            places = [place for place, _ in some]
            axes.errorbar(values, places, xerr=ends, fmt=marker, color=colour, capsize=3, ms=6, label=label)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8])
        axes.set_xlabel("share of answers")
        axes.set_title(title, fontsize=13)
    both[0].set_yticks(range(len(ways)), [WAYS[way] for way in reversed(ways)], fontsize=11)
    both[0].set_ylabel("who writes")
    legend_below(figure, both[0])
    size = _sizes(rows)[-1]
    return [
        Drawn("generation", f"Answers written after {size} training questions; {_of(rows)}. {_BANDS}", figure),
    ]


_FIGURES: dict[str, Callable[[Sequence[Row]], list[Drawn]]] = {
    "curve": lambda rows: _each(rows, _curve),
    "models": _models,
    "likelihoods": lambda rows: _each(rows, _likelihoods),
    "weights": lambda rows: _each(rows, _weights),
    "negatives": lambda rows: _each(rows, _negatives),
    "rivals": lambda rows: _each(rows, _rivals),
    "distractors": lambda rows: _each(rows, _distractors),
    "coverage": _coverage,
    "scaling": lambda rows: _each_source(rows, _scaling),
    "mechanism": _mechanism,
    "paraphrase": lambda rows: _each(rows, _paraphrase),
    "calibration": lambda rows: _each(rows, _calibration),
    "generation": lambda rows: _each(rows, _generation),
}
