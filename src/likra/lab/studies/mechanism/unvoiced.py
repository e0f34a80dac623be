"""The report where there are no voices: what can stand in for the negative head, as rows, figures and sentences."""

import numpy as np
import pandas as pd

from likra.data.controls import BLIND
from likra.lab.report import canvas
from likra.lab.report.text import HEAD_TITLES, QUESTIONS, Section, Table, accuracies, plain, points, share
from likra.lab.runner.outcome import METHODS, Outcome, credits
from likra.lab.runner.results import Sheet, each, estimate_of, one, pick
from likra.lab.runner.task import NEGATIVE, POSITIVE
from likra.lab.studies.mechanism.findings import findings
from likra.lab.studies.mechanism.update import add_updates, update_figure, update_sentence, update_tables
from likra.scoring.bootstrap import Resampled, estimate, over_seeds
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import METHOD_TITLES, normalise, ratio

#: The file of a job with the test questions' likelihoods by what stands in for the negative head, and their names.
STAND_INS = "stand-ins.parquet"
HEAD, PROMPTED, ASKED, RANDOM = "head", "prompted", "asked", "_random"

#: What stands in for the negative head -> what it is, in the order of figures and tables.
TITLES = {
    BASE: "the base itself",
    HEAD: "the base with the head's mean shift added",
    f"{HEAD}{RANDOM}": "the base with a random direction (1)",
    PROMPTED: "the base with the wrong-answer direction added",
    f"{PROMPTED}{RANDOM}": "the base with a random direction (2)",
    ASKED: "the base asked for a wrong answer",
    BLIND: "a negative head trained blind",
}
#: Method that has a negative head -> the same without one, from which its gain is measured.
_START = {"base_likra": "base", "likra": "sft"}


def measure(outcome: Outcome, sheet: Sheet) -> None:
    """Add the results of one task."""
    found, last = findings(outcome), outcome.plan.sizes[-1]
    for size in outcome.plan.sizes:
        for method in METHODS:
            sheet.add("accuracy", outcome.means(method, size), method=method, size=size)
    add_updates(found, sheet)
    _add_stand_ins(outcome, sheet, last)
    for name in found[0]["length"]:
        for block in range(len(found[0]["length"][name])):
            values = [of_seed["length"][name][block] for of_seed in found]
            sheet.add("direction_length", over_seeds(values), method=name, part=str(block), size=last)
        for place, tried in enumerate(found[0]["tried"][name]):
            values = [of_seed["tried"][name][place]["accuracy"] for of_seed in found]
            labels = {"method": name, "part": str(tried["block"]), "at": tried["strength"], "size": last}
            sheet.add("accuracy_in_training", over_seeds(values), **labels)
        for seed, of_seed in zip(outcome.plan.seeds, found, strict=True):
            labels = {"method": name, "part": str(of_seed["chosen"][name]["block"]), "seed": seed, "size": last}
            sheet.add("chosen_strength", of_seed["chosen"][name]["strength"], **labels)
    for quantity in ("alignment", "chance"):
        for block in range(len(found[0].get(quantity, []))):
            values = [of_seed[quantity][block] for of_seed in found]
            sheet.add(quantity, over_seeds(values), method=NEGATIVE, part=str(block), size=last)
    if "cosine_of_blind" in found[0]:
        sheet.add("cosine_of_blind", over_seeds([one["cosine_of_blind"] for one in found]), method=BLIND, size=last)


def _add_stand_ins(outcome: Outcome, sheet: Sheet, size: int) -> None:
    """Add how well each method does with each stand-in as L-, and how alike stand-in and head move the answers.

    Rows: `stand_in` (accuracy), `stand_in_gain` (accuracy less that of the method without a negative head), `recovered`
    (that gain as a share of the negative head's own; only where the latter is above 0, interval and all), `over_random`
    (accuracy less that with a random direction of the same length), and `agreement`.
    """
    plan, drawn = outcome.plan, outcome.drawn
    tables = [Likelihoods.load(folder / STAND_INS) for folder in outcome.folders[0]]
    of = {name: np.stack([table.head(name) for table in tables]) for name in tables[0].heads}
    base_SQC, negative_SQC = (outcome.logprobs(head, size) for head in (BASE, NEGATIVE))
    for method, right in {"base_likra": BASE, "likra": POSITIVE}.items():
        right_SQC = outcome.logprobs(right, size)
        reached = {}
        for name, other_SQC in of.items():
            ratio_SQC = ratio(right_SQC, other_SQC, plan.weight)
            scores_SQC = np.stack([normalise(scores_QC, tables[0], plan.normalisation) for scores_QC in ratio_SQC])
            reached[name] = drawn.means(credits(scores_SQC, tables[0]))
        start, whole = outcome.means(_START[method], size), outcome.means(method, size)
        gains = estimate(whole - start).low > 0
        for name, mean_R in reached.items():
            labels = {"method": method, "part": name, "size": size}
            sheet.add("stand_in", mean_R, count=len(tables[0].questions), **labels)
            sheet.add("stand_in_gain", mean_R - start, **labels)
            if gains:
                with np.errstate(divide="ignore", invalid="ignore"):
                    sheet.add("recovered", (mean_R - start) / (whole - start), **labels)
            if f"{name}{RANDOM}" in reached:
                sheet.add("over_random", mean_R - reached[f"{name}{RANDOM}"], **labels)
        sheet.add("head_gain", whole - start, method=method, size=size)
    for name, other_SQC in of.items():
        if name != BASE:
            agreement_R = agreement(other_SQC - base_SQC, negative_SQC - base_SQC, drawn)
            sheet.add("agreement", agreement_R, method=NEGATIVE, part=name, size=size)


def agreement(one_SQC: Floats, other_SQC: Floats, drawn: Resampled) -> Floats:
    """[1 + R]: the correlation of two changes of log-likelihoods, each less its mean over a question's choices.

    A change that all choices of a question share ranks nothing. Of all data first, then of each resample.

    Args:
        one_SQC: A change, in nats; NaN where there is no choice.
        other_SQC: Another one.
        drawn: The resamples.

    >>> from likra.scoring.bootstrap import Resampled
    >>> one = np.array([[[1.0, 2.0], [0.0, -3.0]]])
    >>> round(float(agreement(one, 2 * one + 5, Resampled(1, 2, resamples=10))[0]), 6)
    1.0
    """
    one_SQC, other_SQC = (some - np.nanmean(some, axis=-1, keepdims=True) for some in (one_SQC, other_SQC))
    product, first, second = (
        drawn.means(np.nansum(left * right, axis=-1))
        for left, right in ((one_SQC, other_SQC), (one_SQC, one_SQC), (other_SQC, other_SQC))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation_R: Floats = product / np.sqrt(first * second)
    return correlation_R


def draw(rows: pd.DataFrame) -> list[canvas.Drawn]:
    """The figures of one model and source."""
    return [update_figure(rows), _stand_in_figure(rows)]


def _stand_in_figure(rows: pd.DataFrame) -> canvas.Drawn:
    figure, both = canvas.blank(9.6, 4.6, columns=2, sharey=True)
    found, accuracy = pick(rows, quantity="stand_in"), pick(rows, quantity="accuracy")
    names = [name for name in TITLES if name in set(found["part"])][::-1]
    for axes, (method, start) in zip(both, _START.items(), strict=True):
        own = pick(found, method=method).set_index("part").loc[names].reset_index()
        at = list(range(len(names)))
        axes.errorbar(own["value"], at, xerr=canvas.arms(own), fmt="o", color=canvas.COLOURS[method], capsize=3)
        for shown in (method, start):
            row = one(accuracy, method=shown, size=own["size"].iloc[0])
            axes.axvline(row["value"], color=canvas.COLOURS[shown], ls="--", label=METHOD_TITLES[shown])
        axes.set_yticks(at, [TITLES[name] for name in names], fontsize=10)
        axes.set_xlabel(f"accuracy, {METHOD_TITLES[method]}'s L+")
        canvas.legend(axes, loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=2)
    caption = "What can stand in for the negative head as L-, beside the method with the head and the one without"
    return canvas.drawn("mechanism-stand-in", caption, figure, rows)


def say(rows: pd.DataFrame) -> Section:
    """Sentences and tables about one model and source."""
    last = int(pick(rows, quantity="stand_in")["size"].max())
    sentences = [
        *(_place_sentence(rows, method, last) for method in ("likra", "base_likra")),
        *_recovery_sentences(rows),
        _agreement_sentence(rows),
        *_alignment_sentences(rows),
        *_blind_sentences(rows),
        update_sentence(rows),
    ]
    return Section(sentences, [*update_tables(rows), accuracies(rows, METHOD_TITLES), _table(rows), _chosen(rows)])


def _place_sentence(rows: pd.DataFrame, method: str, size: int) -> str:
    found, accuracy = pick(rows, quantity="stand_in", method=method), pick(rows, quantity="accuracy", size=size)
    parts = "; ".join(f"{TITLES[name]} {share(one(found, part=name))}" for name in _names(found))
    start = _START[method]
    return (
        f"{METHOD_TITLES[method]} reaches {share(one(accuracy, method=method))} percent after {size} {QUESTIONS} "
        f"({METHOD_TITLES[start]}: {share(one(accuracy, method=start))}). With something else in the negative head's "
        f"place it reaches: {parts}."
    )


def _recovery_sentences(rows: pd.DataFrame) -> list[str]:
    """What share of the negative head's gain each stand-in recovers, and whether a random direction does as much."""
    sentences = []
    for method, start in reversed(_START.items()):
        gain = one(rows, quantity="head_gain", method=method)
        against = f"{METHOD_TITLES[method]}'s gain over {METHOD_TITLES[start]}"
        found = pick(rows, quantity="recovered", method=method)
        if found.empty:
            sentences.append(f"{against}, {points(gain)} points, is not above 0, so that no share of it is stated.")
            continue
        for name in [name for name in (HEAD, PROMPTED, ASKED, BLIND) if name in set(found["part"])]:
            more = _beside_random(rows, method, name)
            recovers = f"{TITLES[name]} recovers {share(one(found, part=name))} percent"
            sentences.append(f"of {against}, {points(gain)} points, {recovers}{more}.")
    return sentences


def _beside_random(rows: pd.DataFrame, method: str, name: str) -> str:
    """How a direction compares with its control; empty for what has none."""
    if (found := pick(rows, quantity="over_random", method=method, part=name)).empty:
        return ""
    over = one(found)
    verdict = "does more than" if over["low"] > 0 else "does less than" if over["high"] < 0 else "cannot be told from"
    return f"; it {verdict} a random direction of the same length ({points(over)} points)"


def _agreement_sentence(rows: pd.DataFrame) -> str:
    found = pick(rows, quantity="agreement")
    parts = "; ".join(f"{TITLES[name]} {plain(one(found, part=name))}" for name in _names(found))
    return (
        "the correlation, within questions, of how the negative head changes the answers' log-likelihoods with how "
        f"others change them: {parts}."
    )


def _alignment_sentences(rows: pd.DataFrame) -> list[str]:
    found = pick(rows, quantity="alignment")
    if found.empty:
        return []
    block = str(found["part"].astype(int).max() // 2)
    return [
        f"in block {block}, half way, the head's mean shift has a cosine of {plain(one(found, part=block))} with the "
        f"direction from plain prompts to those that ask for a wrong answer "
        f"({plain(one(rows, quantity='chance', part=block))} with a random direction)."
    ]


def _blind_sentences(rows: pd.DataFrame) -> list[str]:
    found = pick(rows, quantity="cosine_of_blind")
    if found.empty:
        return []
    gains = " and ".join(
        f"{points(one(rows, quantity='stand_in_gain', method=method, part=BLIND))} points of {METHOD_TITLES[method]}'s "
        f"{points(one(rows, quantity='head_gain', method=method))}"
        for method in ("likra", "base_likra")
    )
    return [
        f"a negative head that is trained on the same wrong answers without their questions has {gains}; its update "
        f"has a cosine of {plain(one(found))} with the ordinary one, from the same first weights."
    ]


def _names(found: pd.DataFrame) -> list[str]:
    return [name for name in TITLES if name in set(found["part"])]


def _table(rows: pd.DataFrame) -> Table:
    """Accuracy and agreement with each stand-in."""
    found, alike = pick(rows, quantity="stand_in"), pick(rows, quantity="agreement")
    body = [
        [
            TITLES[name],
            *(share(one(found, method=method, part=name)) for method in _START),
            plain(one(alike, part=name)) if estimate_of(alike, part=name) else "",
        ]
        for name in _names(found)
    ]
    header = [
        "as L-",
        *(f"{METHOD_TITLES[method]}'s L+" for method in _START),
        f"agreement with the {HEAD_TITLES[NEGATIVE]}",
    ]
    return Table("in the negative head's place: accuracy in percent, and agreement, 95% interval", header, body)


def _chosen(rows: pd.DataFrame) -> Table:
    """Where each seed's directions were added."""
    found = pick(rows, quantity="chosen_strength")
    body = [
        [TITLES[row["method"]], str(row["seed"]), row["part"], f"{row['value']:g}", f"{length['value']:.2g}"]
        for row in each(found)
        for length in [one(rows, quantity="direction_length", method=row["method"], part=row["part"])]
    ]
    header = ["direction", "seed", "block", "strength", "its length, as a share of hidden states'"]
    return Table("blocks and strengths that were chosen on training questions", header, body)
