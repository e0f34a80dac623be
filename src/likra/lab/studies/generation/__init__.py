"""How often written answers are true: heads alone, together, merged, distilled, and the best of n."""

import dataclasses
import json

import numpy as np
import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import Section, Table, p_value, points, share
from likra.lab.runner.jobs import Job
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, each, one, pick
from likra.lab.runner.task import Task
from likra.lab.study import Study, study
from likra.scoring.bootstrap import paired_p_value

#: The file of a job, and the module that does it.
ANSWERS, _WORK = "answers.json", "likra.lab.studies.generation.writing"
MERGED, DISTILLED = "merged", "distilled"
#: Values of a that are looked at; 0 is the positive head with the plausibility cut-off and nothing else.
AMOUNTS = (0.0, 0.5, 1.0, 2.0, 4.0)
_DECODINGS = {"greedy": "the likeliest token at each place", "drawn": "drawn at temperature 1"}

#: Way of writing -> its title.
WAYS: dict[str, str] = {
    "base": "Base",
    "base_cut": "Base, cut-off only",
    "sft": "SFT",
    "likra-0": "SFT, cut-off only",
    "base_likra": "Base-Likra, a=1",
    **{f"likra-{amount:g}": f"Likra, a={amount:g}" for amount in AMOUNTS if amount},
    MERGED: "Merged, a=1",
    DISTILLED: "Distilled, a=1",
    "pick": "Base, best of 16 by the ratio",
}


@study("generation")
class Generation(Study):
    about = "How often written answers are true: base, SFT, both heads together, merged, distilled, best of 16."
    title = "Answers written by both heads"

    def check(self, plan: Plan, task: Task) -> None:
        from likra.mining import check_style

        check_style(task.source.style)

    def by_seed(self, plan: Plan, task: Task) -> list[dict[int, Job]]:
        return [dataclasses.replace(plan, sizes=plan.sizes[-1:]).own_pair(self.name, _WORK, task)]

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        found = [json.loads((folder / ANSWERS).read_text("utf-8")) for folder in outcome.folders[0]]
        drawn = outcome.drawn
        for decoding in _DECODINGS:
            ways = [way for way in WAYS if decoding in found[0][way]]
            shares = {
                (way, quantity): np.array([of_seed[way][decoding][quantity] for of_seed in found])
                for way in ways
                for quantity in ("true", "false")
            }
            for way in ways:
                labels = {"method": way, "part": decoding, "size": outcome.plan.sizes[-1]}
                labels["count"] = shares[way, "true"].shape[1]
                for quantity in ("true", "false"):
                    sheet.add(quantity, drawn.means(shares[way, quantity]), **labels)
                # The gain that a cut-off alone does not explain.
                if way != "likra-0":
                    own, rival = shares[way, "true"], shares["likra-0", "true"]
                    gain = drawn.means(own) - drawn.means(rival)
                    sheet.add("difference", gain, p=paired_p_value(own, rival), **labels)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        ways = [way for way in reversed(WAYS) if way in set(rows["method"])]
        figure, both = canvas.blank(7.6, 0.34 * len(ways) + 1.8, columns=2, sharey=True)
        for axes, part, title in zip(both, _DECODINGS, ("greedy", "drawn at temperature 1"), strict=True):
            for quantity, colour, marker, label in (
                ("true", canvas.GREEN, "o", "true"),
                ("false", canvas.PINK, "v", "false (a wrong choice)"),
            ):
                found = pick(rows, quantity=quantity, part=part).set_index("method", drop=False)
                some = found.loc[[way for way in ways if way in found.index]]
                places = [ways.index(way) for way in some["method"]]
                style = {"fmt": marker, "color": colour, "capsize": 3, "ms": 6, "label": label}
                axes.errorbar(some["value"].tolist(), places, xerr=canvas.arms(some), **style)
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8])
            axes.set_xlabel("share of answers")
            axes.set_title(title, fontsize=13)
        both[0].set_yticks(range(len(ways)), [WAYS[way] for way in ways], fontsize=11)
        both[0].set_ylabel("who writes")
        canvas.legend_below(figure, both[0])
        caption = f"Answers written after {canvas.sizes_of(rows)[-1]} training questions"
        return [canvas.drawn("generation", caption, figure, rows)]

    def say(self, rows: pd.DataFrame) -> Section:
        tables = []
        header = ["who writes", "true, in percent", "false, in percent", "true, minus SFT with the cut-off, in points"]
        for part, name in _DECODINGS.items():
            body = []
            for way, title in WAYS.items():
                found = pick(rows, method=way, part=part)
                if found.empty:
                    continue
                shares = [share(one(found, quantity=quantity)) for quantity in ("true", "false")]
                against = [f"{points(row)}, {p_value(row)}" for row in each(pick(found, quantity="difference"))]
                body.append([title, *shares, *(against or [""])])
            tables.append(Table(f"answers to {rows['count'].iloc[0]} questions, {name}", header, body))
        both = one(rows, quantity="difference", method="likra-1", part="drawn")
        sentence = f"drawn, both heads (a=1) are true {points(both)} points more often than SFT with the same cut-off"
        return Section([f"{sentence}, {p_value(both)}."], tables)
