"""How sure is sure: calibration error before and after, and answering only when sure."""

import numpy as np

from likra.judge.bootstrap import Estimate, estimate, over_seeds
from likra.judge.calibration import (
    CALIBRATIONS,
    chance_error,
    confidence,
    cross_fitted,
    expected_calibration_error,
    risks,
    softmax,
)
from likra.likelihood.table import Floats, Ints
from likra.study.cells import Store
from likra.study.outcome import Outcome, credits
from likra.study.plan import Plan
from likra.study.plan import pair_cells as cells
from likra.study.results import Row, Sheet

__all__ = ["TESTS", "TITLE", "cells", "rows"]

TITLE = "Calibration and abstention"
TESTS: tuple[str, ...] = ("own",)
METHODS = ("base", "sft", "likra")
COVERAGES = tuple(round(0.05 * step, 2) for step in range(2, 21))


def rows(plan: Plan, store: Store) -> list[Row]:
    result: list[Row] = []
    for task in plan.tasks:
        outcome, sheet = Outcome(plan, store, task, [plan.both(task)]), Sheet("calibration", task)
        for size in plan.sizes:
            if size == 0:
                continue  # all of Likra's scores are 0
            for method in METHODS:
                scores_SQC = outcome.scores(method, size)
                table = outcome.table("base", plan.seeds[0], size)
                answers_Q, credit_SQ = table.answers_Q, credits(scores_SQC, table)
                for name in ("softmax", *CALIBRATIONS):
                    sure_SQ = np.stack([_confidence(scores_QC, answers_Q, name) for scores_QC in scores_SQC])
                    labels = {"method": method, "part": name, "size": size, "count": len(answers_Q)}
                    pairs = list(zip(sure_SQ, credit_SQ, strict=True))
                    sheet.add("ece", _of_seeds([expected_calibration_error(*pair) for pair in pairs]), **labels)
                    sheet.add("ece_by_chance", _of_seeds([chance_error(sure_Q) for sure_Q in sure_SQ]), **labels)
                    if size == plan.sizes[-1] and name != "softmax":
                        risk_RK = risks(sure_SQ, credit_SQ, COVERAGES, outcome.resampled())
                        for place, coverage in enumerate(COVERAGES):
                            sheet.add("risk", estimate(risk_RK[:, place]), at=coverage, **labels)
        result += sheet.rows
    return result


def _of_seeds(values: list[float]) -> Estimate:
    """The mean with its interval over seeds; without one for the base, which is the same for all."""
    found = over_seeds(values if len(set(values)) > 1 else values[:1])
    return Estimate(found.value, float(np.maximum(0.0, found.low)), found.high)


def _confidence(scores_QC: Floats, answers_Q: Ints, name: str) -> Floats:
    """[Q] how sure each answer is, by a calibration that has not seen its question."""
    found_QC = softmax(scores_QC) if name == "softmax" else cross_fitted(scores_QC, answers_Q, name)
    return confidence(found_QC, scores_QC)
