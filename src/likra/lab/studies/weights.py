"""Figure 4: accuracy against the weight of the negative head."""

import numpy as np
import pandas as pd

from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, plain, points
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.results import Sheet, each, one, pick
from likra.lab.study import Study, study

WEIGHTS = tuple(round(0.1 * step, 1) for step in range(16))


@study("weights")
class Weights(Study):
    about = "Figure 4: accuracy against the weight of the negative head, 0 to 1.5."
    title = "The weight of the negative head"

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        for size in outcome.plan.sizes:
            if size == 0:
                continue
            means = np.stack([outcome.means("likra", size, weight=weight) for weight in WEIGHTS])
            for weight, mean_R in zip(WEIGHTS, means, strict=True):
                sheet.add("accuracy", mean_R, method="likra", size=size, at=weight)
            # argmax takes the smallest of equally good weights.
            sheet.add("best_weight", np.array(WEIGHTS)[means.argmax(axis=0)], method="likra", size=size)
            full = WEIGHTS.index(1.0)
            sheet.add("gain_over_no_weight", means[full] - means[0], method="likra", size=size)
            sheet.add("loss_at_one", means.max(axis=0) - means[full], method="likra", size=size)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        found = pick(rows, quantity="accuracy")
        sizes = canvas.sizes_of(found)
        picked = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
        figure, axes = canvas.blank()
        for size, (colour, marker) in zip(picked, canvas.RISING, strict=False):
            some = pick(found, size=size).sort_values("at")
            canvas.line(axes, some["at"].tolist(), some, label=f"{size} questions", colour=colour, marker=marker)
        axes.set_xlabel("weight w of the negative head")
        canvas.accuracy_axis(axes, found)
        canvas.legend_below(figure, axes, ncols=3)
        caption = "Accuracy of Likra against the weight; at 0 it is SFT"
        return [canvas.drawn("weights", caption, figure, rows)]

    def say(self, rows: pd.DataFrame) -> Section:
        sentences = []
        for best in each(pick(rows, quantity="best_weight")):
            gain, loss = (
                one(rows, quantity=name, size=best["size"]) for name in ("gain_over_no_weight", "loss_at_one")
            )
            sentences.append(
                f"after {best['size']} {QUESTIONS} the best weight is {plain(best)}; weight 1 is {points(gain)} points "
                f"above weight 0, and {points(loss)} below the best."
            )
        return Section(sentences)
