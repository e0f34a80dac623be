"""The demo's report: one self-contained HTML page."""

from typing import Any

import jinja2
import numpy as np

from likra.judge import METHOD_TITLES, wilson
from likra.report import plots
from likra.study.curve import Curve, head_names

SHOWN_QUESTIONS = 10


def curve_page(curve: Curve, facts: dict[str, Any]) -> str:
    """The report of a learning curve.

    Args:
        curve: The curve.
        facts: How it was made, shown in a table: label -> value.
    """
    questions = len(curve.tables[curve.sizes[0]].questions)
    rows = [
        {
            "size": size,
            "cells": [_cell(curve.mean(size, method), questions, method) for method in METHOD_TITLES],
        }
        for size in curve.sizes
    ]
    shown = _shown_size(curve)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("likra.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("curve.html").render(
        facts=facts,
        methods=list(METHOD_TITLES.values()),
        rows=rows,
        curve_svg=plots.as_svg(plots.curve_figure(curve)),
        weight_svg=plots.as_svg(plots.weight_figure(curve)),
        likelihood_svg=plots.as_svg(plots.likelihood_figure(curve)),
        questions=questions,
        shown=_shown_questions(curve, shown),
        shown_size=shown,
        seed=curve.seeds[0],
        seeds=len(curve.seeds),
        sizes=curve.sizes,
    )


def _cell(mean: float, questions: int, method: str) -> dict[str, Any]:
    low, high = wilson(mean, questions)
    return {"mean": mean, "low": low, "high": high, "colour": plots.COLOURS[method]}


def _shown_size(curve: Curve) -> int:
    """64 questions, where the paper's jump begins, or the nearest size."""
    return min(curve.sizes, key=lambda size: abs(size - 64))


def _shown_questions(curve: Curve, size: int) -> list[dict[str, Any]]:
    """The first questions with every candidate's L+, L- and ratio under the first seed's heads."""
    table = curve.tables[size]
    positive, negative = head_names(curve.seeds[0])
    evaluation = curve.evaluation(size, curve.seeds[0])
    result = []
    for row, question in enumerate(table.questions[:SHOWN_QUESTIONS]):
        count = len(question.choices)
        likely = {"L+": table.head(positive)[row, :count], "L-": table.head(negative)[row, :count]}
        scores, distinct = evaluation.of_candidates["likra"][row, :count], table.distinct_QC[row]
        lowest = min(values.min() for values in likely.values())
        spread = float(np.abs(scores).max()) or 1.0
        sft, likra = int(likely["L+"].argmax()), int(scores.argmax())
        result.append(
            {
                "text": question.text or "Which is right?",
                "sft_right": distinct[sft] == table.answers_Q[row],
                "likra_right": distinct[likra] == table.answers_Q[row],
                "candidates": [
                    {
                        "text": choice,
                        "right": distinct[place] == table.answers_Q[row],
                        "sft": place == sft,
                        "likra": place == likra,
                        "bars": [
                            {
                                "name": name,
                                "value": float(values[place]),
                                # A likelihood's bar is longer the likelier the candidate is.
                                "width": 100 * (1 - float(values[place]) / (1.15 * lowest)),
                            }
                            for name, values in likely.items()
                        ],
                        "ratio": float(scores[place]),
                        "ratio_width": 50 * abs(float(scores[place])) / spread,
                    }
                    for place, choice in enumerate(question.choices)
                ],
            }
        )
    return result
