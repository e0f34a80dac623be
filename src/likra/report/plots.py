"""Figures of the demo's learning curve."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from likra.judge import METHOD_TITLES, wilson
from likra.likelihood.table import Likelihoods
from likra.report.canvas import COLOURS, GREEN, PINK, as_svg, canvas
from likra.study.catalogue.weights import WEIGHTS
from likra.study.curve import Curve, head_names

__all__ = ["COLOURS", "as_svg", "curve_figure", "likelihood_figure", "save_png", "weight_figure"]

RIGHT, WRONG = GREEN, PINK


def curve_figure(curve: Curve) -> Figure:
    """Accuracy of each method against size: mean over seeds, with the Wilson 95% interval over the questions."""
    questions = len(curve.tables[curve.sizes[0]].questions)
    figure, axes = canvas(7.2, 4.4)
    at = range(len(curve.sizes))
    for method in ("base", "sft", "base_likra", "likra"):
        means = [curve.mean(size, method) for size in curve.sizes]
        axes.plot(
            at, means, "--" if method == "base" else "-o", color=COLOURS[method], label=METHOD_TITLES[method], ms=4
        )
        if method != "base":
            low, high = zip(*(wilson(mean, questions) for mean in means), strict=True)
            axes.fill_between(at, low, high, color=COLOURS[method], alpha=0.12, lw=0)
    axes.set_xticks(list(at), [str(size) for size in curve.sizes])
    axes.set(xlabel="training questions (for each head)", ylabel="accuracy", ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    return figure


def weight_figure(curve: Curve) -> Figure:
    """Accuracy of Likra against the negative head's weight (paper, Figure 4), at three sizes."""
    figure, axes = canvas(5.2, 3.6)
    trained = [size for size in curve.sizes if size] or curve.sizes
    picked = sorted({trained[0], trained[len(trained) // 2], trained[-1]})
    for shade, size in zip(np.linspace(0.35, 1, len(picked)), picked, strict=True):
        line = [curve.mean(size, "likra", weight) for weight in WEIGHTS]
        axes.plot(WEIGHTS, line, "-o", ms=3, color=COLOURS["likra"], alpha=float(shade), label=f"{size} questions")
    axes.set(xlabel="weight of the negative head", ylabel="accuracy of Likra", ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    return figure


def likelihood_figure(curve: Curve) -> Figure:
    """Mean log-likelihood of right and wrong candidates under each head (paper, Figures 2 and 6)."""
    figure, (left, right) = canvas(8.4, 3.6, columns=2, sharey=True)
    at = range(len(curve.sizes))
    for axes, side, title in ((left, 0, "positive head"), (right, 1, "negative head")):
        for index, (label, colour) in enumerate((("right answers", RIGHT), ("wrong answers", WRONG))):
            line = [
                np.mean([_right_and_wrong(curve.tables[size], head_names(seed)[side])[index] for seed in curve.seeds])
                for size in curve.sizes
            ]
            axes.plot(at, line, "-o", ms=4, color=colour, label=label)
        axes.set_xticks(list(at), [str(size) for size in curve.sizes], fontsize=9)
        axes.set(title=title, xlabel="training questions", ylabel="log-likelihood (nats)")
        axes.legend(frameon=False)
    return figure


def _right_and_wrong(table: Likelihoods, head: str) -> tuple[float, float]:
    logprob_QC = table.once(table.head(head))
    right_QC = np.arange(logprob_QC.shape[1]) == table.answers_Q[:, None]
    return float(np.nanmean(logprob_QC[right_QC])), float(np.nanmean(logprob_QC[~right_QC]))


def save_png(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=150)
