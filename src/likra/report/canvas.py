"""What all figures have in common: size, colours, bands of intervals."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from likra.files import new_file
from likra.study.results import Row

# The palette of Okabe and Ito (2008), which colour-blind readers can tell apart; markers differ too.
GREY, BLACK = "#7f7f7f", "#222222"
ORANGE, SKY, GREEN, BLUE, RED, PINK, YELLOW = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#b8a800",
)
COLOURS = {"base": GREY, "sft": BLUE, "base_likra": ORANGE, "likra": RED}
MARKERS = {"base": "", "sft": "s", "base_likra": "^", "likra": "o"}
CYCLE = (RED, BLUE, ORANGE, GREEN, PINK, SKY, BLACK, YELLOW)
CYCLE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_STYLE: dict[str, Any] = {
    "font.size": 13,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "likra",  # the same figure is the same file
}


def canvas(width: float = 6.0, height: float = 4.0, columns: int = 1, **shared: Any) -> tuple[Figure, Any]:
    """A figure of so many inches with one or more axes beside each other."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns, **shared)


def line(
    axes: Axes, at: Sequence[float], rows: Sequence[Row], *, label: str, colour: str, marker: str = "o", **more: Any
) -> None:
    """A line through the rows' values, with their intervals as a band."""
    style = {"linestyle": "-" if marker else "--", **more}
    axes.plot(at, [row["value"] for row in rows], **style, marker=marker or None, color=colour, label=label, ms=5)
    bounded = [(x, row["low"], row["high"]) for x, row in zip(at, rows, strict=True) if math.isfinite(row["low"])]
    if marker and bounded:
        xs, low, high = zip(*bounded, strict=True)
        axes.fill_between(xs, low, high, color=colour, alpha=0.14, lw=0)


def whisker(axes: Axes, x: float, row: Row, *, colour: str, marker: str = "o", label: str | None = None) -> None:
    """A point with its interval."""
    low, high = (row["low"], row["high"]) if math.isfinite(row["low"]) else (row["value"], row["value"])
    errors = [[max(0.0, row["value"] - low)], [max(0.0, high - row["value"])]]
    axes.errorbar([x], [row["value"]], yerr=errors, fmt=marker, color=colour, ms=7, capsize=4, label=label)


def size_axis(axes: Axes, sizes: Sequence[int], label: str = "training questions (for each head)") -> list[int]:
    """Label an axis with sizes at equal distances; returns where they stand."""
    at = list(range(len(sizes)))
    axes.set_xticks(at, [str(size) for size in sizes], fontsize=11, rotation=45 if len(sizes) > 6 else 0)
    axes.set_xlabel(label)
    return at


def accuracy_axis(axes: Axes, rows: Sequence[Row]) -> None:
    """Label the other axis, and leave room for what stands there."""
    values = [row[key] for row in rows for key in ("value", "low", "high") if math.isfinite(row[key])]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * max(0.1, high - low)
    axes.set_ylim(max(0.0, low - room), min(1.02, high + room))
    axes.set_ylabel("accuracy (share of questions)")


def legend(axes: Axes, **more: Any) -> None:
    axes.legend(frameon=False, handlelength=1.8, **{"loc": "best", "fontsize": 11, **more})


def legend_below(figure: Figure, axes: Axes, ncols: int = 2) -> None:
    """A legend under the figure, for axes that have no room for one."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize=11)


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG."""
    with new_file(folder / f"{name}.png") as work:
        figure.savefig(work, dpi=150, format="png")
    with new_file(folder / f"{name}.svg") as work:
        work.write_text(as_svg(figure), encoding="utf-8")


def as_svg(figure: Figure) -> str:
    """The figure as an <svg> element."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
