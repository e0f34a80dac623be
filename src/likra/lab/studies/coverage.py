"""The gain by groups of questions (well, little or never covered in pretraining), on a model and on its controls."""

import numpy as np
import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, Table, points, share, short
from likra.lab.runner.outcome import METHODS, Outcome
from likra.lab.runner.results import Sheet, one, pick
from likra.lab.studies.curve import add_jump
from likra.lab.study import Study, pairs_of, study
from likra.scoring.likelihoods import Floats
from likra.scoring.scores import METHOD_TITLES

SHOWN = ("base", "sft", "likra")
#: Groups of the embedded questions, in the order in which they are drawn.
_ORDER = ("well", "little", "never")


@study("coverage")
class Coverage(Study):
    about = "The gain by groups of questions (field `group`), and on further models as controls."
    title = "What pretraining covered"

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        drawn, sizes = outcome.drawn, outcome.plan.sizes
        groups_Q = np.array(outcome.groups)
        for group in ("", *sorted(set(outcome.groups) - {""})):
            inside_Q = (groups_Q == group) if group else np.ones(len(groups_Q), dtype=bool)
            labels = {"part": group or "all", "count": int(inside_Q.sum())}
            means: dict[tuple[str, int], Floats] = {}
            for size in sizes:
                for method in METHODS:
                    credit_SQ = outcome.credit(method, size)
                    means[method, size] = drawn.means(np.where(inside_Q, credit_SQ, np.nan))
                    sheet.add("accuracy", means[method, size], method=method, size=size, **labels)
                for method, other in (("likra", "base"), ("likra", "sft"), ("base_likra", "base")):
                    difference = means[method, size] - means[other, size]
                    sheet.add("difference", difference, method=f"{method}-{other}", size=size, **labels)
            add_jump(sheet, means, "likra", [size for size in sizes if size > 0], **labels)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        """One panel per group, if there are some and not too many (a benchmark may have dozens)."""
        groups = [group for group in rows["part"].drop_duplicates() if group != "all"]
        if not 1 < len(groups) <= 6:
            return []
        order = sorted(groups, key=lambda group: _ORDER.index(group) if group in _ORDER else -1)
        figure, several = canvas.blank(2.6 * len(order) + 0.6, 4.2, columns=len(order), sharey=True)
        for axes, group in zip(several, order, strict=True):
            of_group = pick(rows, part=group)
            at = canvas.size_axis(axes, canvas.sizes_of(of_group), QUESTIONS)
            for method in SHOWN:
                canvas.method_line(axes, at, canvas.by_size(of_group, method=method), method)
            axes.set_title(f"{group} ({of_group['count'].iloc[0]})", fontsize=13)
        canvas.accuracy_axis(several[0], rows)
        canvas.legend(several[0])
        return [canvas.drawn("coverage", "Accuracy by group (questions in brackets)", figure, rows)]

    def figures(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy")
        return [*super().figures(found), *(_controls(found) if len(pairs_of(found)) > 1 else [])]

    def say(self, rows: pd.DataFrame) -> Section:
        last, body = rows["size"].max(), []
        for group in rows["part"].drop_duplicates():
            own = pick(rows, part=group)
            shares = [share(one(own, quantity="accuracy", size=last, method=method)) for method in SHOWN]
            gain = one(own, quantity="difference", size=last, method="likra-base")
            jump, at = (one(own, quantity=name) for name in ("jump", "jump_at"))
            leap = f"{points(jump)} at {at['value']:.0f} ({at['low']:.0f} to {at['high']:.0f})"
            body.append([group, str(gain["count"]), *shares, points(gain), leap])
        header = ["group", "questions", "Base", "SFT", "Likra", "Likra minus Base, in points", "Likra's largest step"]
        return Section([], [Table(f"accuracy in percent after {last} {QUESTIONS}", header, body)])


def _controls(found: pd.DataFrame) -> list[canvas.Drawn]:
    """All models in one figure."""
    whole = pick(found, part="all")
    figure, axes = canvas.blank(6.4, 4.2)
    sizes = canvas.sizes_of(whole)
    canvas.size_axis(axes, sizes)
    for (model, data), colour, marker in zip(pairs_of(found), canvas.CYCLE, canvas.CYCLE_MARKERS, strict=False):
        for method, shape in (("likra", marker), ("base", "")):
            some = canvas.by_size(whole, model=model, data=data, method=method)
            at = [sizes.index(size) for size in some["size"]]
            canvas.line(axes, at, some, label=f"{short(model)}: {METHOD_TITLES[method]}", colour=colour, marker=shape)
    canvas.accuracy_axis(axes, whole)
    canvas.legend_below(figure, axes)
    return [canvas.drawn("controls", "The same on models pretrained on other text", figure)]
