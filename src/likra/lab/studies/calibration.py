"""How sure is sure: calibration error before and after, and answering only when sure."""

import numpy as np
import pandas as pd

from likra.errors import InputError
from likra.lab.report import canvas
from likra.lab.report.text import QUESTIONS, Section, pivot, plain, share
from likra.lab.runner.outcome import Outcome, credits
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, one, pick
from likra.lab.runner.task import Task
from likra.lab.study import Study, study
from likra.scoring.bootstrap import over_seeds
from likra.scoring.calibration import CALIBRATIONS, softmax
from likra.scoring.calibration_error import (
    FOLDS,
    chance_error,
    confidence,
    cross_fitted,
    expected_calibration_error,
)
from likra.scoring.coverage import risks
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import BASE, Floats, Ints
from likra.scoring.scores import METHOD_TITLES

SHOWN = ("base", "sft", "likra")
COVERAGES = tuple(round(0.05 * step, 2) for step in range(2, 21))
_COLOURS = (canvas.GREY, canvas.RED, canvas.BLUE)
#: Ways from scores to probabilities -> their titles.
TITLES = {"softmax": "softmax as it is", **{name: name for name in CALIBRATIONS}}


@study("calibration")
class Calibration(Study):
    about = "How sure is sure: calibration error before and after; answering only when sure."
    title = "Calibration and abstention"

    def check(self, plan: Plan, task: Task) -> None:
        if len(task.test()) < FOLDS:
            raise InputError(f"{task.data}: {len(task.test())} test questions are too few; give at least {FOLDS}.")

    def measure(self, outcome: Outcome, sheet: Sheet) -> None:
        plan = outcome.plan
        for size in plan.sizes:
            if size == 0:
                continue  # all of Likra's scores are 0
            for method in SHOWN:
                scores_SQC = outcome.scores(method, size)
                table = outcome.table(BASE, plan.seeds[0], size)
                answers_Q, credit_SQ = table.answers_Q, credits(scores_SQC, table)
                for name in TITLES:
                    sure_SQ = np.stack([_confidence(scores_QC, answers_Q, name) for scores_QC in scores_SQC])
                    labels = {"method": method, "part": name, "size": size, "count": len(answers_Q)}
                    pairs = list(zip(sure_SQ, credit_SQ, strict=True))
                    sheet.add("ece", _of_seeds([expected_calibration_error(*pair) for pair in pairs]), **labels)
                    sheet.add("ece_by_chance", _of_seeds([chance_error(sure_Q) for sure_Q in sure_SQ]), **labels)
                    if size == plan.sizes[-1] and name != "softmax":
                        risk_RK = risks(sure_SQ, credit_SQ, COVERAGES, outcome.drawn)
                        for place, coverage in enumerate(COVERAGES):
                            sheet.add("risk", risk_RK[:, place], at=coverage, **labels)

    def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
        errors, risk = pick(rows, quantity="ece"), pick(rows, quantity="risk", part="temperature")
        figure, both = canvas.blank(7.6, 4.2, columns=2, sharey=True)
        for axes, method in zip(both, ("sft", "likra"), strict=True):
            at = canvas.size_axis(axes, canvas.sizes_of(errors), QUESTIONS)
            for (part, title), colour, marker in zip(TITLES.items(), _COLOURS, "xos", strict=False):
                some = canvas.by_size(errors, method=method, part=part)
                canvas.line(axes, at, some, label=title, colour=colour, marker=marker)
            axes.set_title(METHOD_TITLES[method], fontsize=13)
        both[0].set_ylim(bottom=0)
        both[0].set_ylabel("expected calibration error")
        canvas.legend_below(figure, both[0], ncols=3)
        second, axes = canvas.blank()
        for method in SHOWN:
            some = pick(risk, method=method).sort_values("at")
            canvas.method_line(axes, some["at"].tolist(), some, method)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("coverage (share of questions answered, the surest first)")
        axes.set_ylabel("risk (share of answers\nthat are wrong)")
        canvas.legend(axes)
        over = "Bands: 95% intervals over seeds (Student's t); few questions alone give an error too (see the text)."
        fitted = (
            "Calibration error of the answers given, each judged by a calibration that was fitted to other questions"
        )
        last = canvas.sizes_of(risk)[-1]
        surest = (
            f"Answering only when sure, after {last} training questions, by probabilities of one fitted temperature"
        )
        return [
            canvas.drawn("calibration", fitted, figure, rows, over),
            canvas.drawn("risk-coverage", surest, second, rows),
        ]

    def say(self, rows: pd.DataFrame) -> Section:
        last, tables, sentences = rows["size"].max(), [], []
        for method in SHOWN:
            own, title = pick(rows, method=method), METHOD_TITLES[method]
            caption = f"expected calibration error of {title}, mean and 95% interval over seeds"
            errors = pick(own, quantity="ece")
            tables.append(pivot(errors, caption, "part", TITLES, plain))
            before, after = (one(errors, part=part, size=last) for part in ("softmax", "temperature"))
            chance = one(own, quantity="ece_by_chance", part="temperature", size=last)
            half, whole = (one(own, quantity="risk", part="temperature", at=coverage) for coverage in (0.5, 1.0))
            sentences.append(
                f"{title} has a calibration error of {plain(before)} as it is and {plain(after)} with a temperature, "
                f"after {last} {QUESTIONS}; exactly right probabilities of as many answers would have {plain(chance)}, "
                "by chance."
            )
            sentences.append(
                f"{title} after {last} {QUESTIONS} gives {share(whole)} percent wrong answers if it answers always, "
                f"{share(half)} if it answers the half of which it is surest."
            )
        return Section(sentences, tables)


def _of_seeds(values: list[float]) -> Estimate:
    """The mean with its interval over seeds; without one for the base, which is the same for all."""
    found = over_seeds(values if len(set(values)) > 1 else values[:1])
    return Estimate(found.value, float(np.maximum(0.0, found.low)), found.high)


def _confidence(scores_QC: Floats, answers_Q: Ints, name: str) -> Floats:
    """[Q] how sure each answer is, by a calibration that has not seen its question."""
    found_QC = softmax(scores_QC) if name == "softmax" else cross_fitted(scores_QC, answers_Q, name)
    return confidence(found_QC, scores_QC)
