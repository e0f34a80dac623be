"""How all figures are drawn: size, colours, bands of intervals."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from likra.lab.report.text import name_of
from likra.lab.runner.results import pick
from likra.scoring.scores import METHOD_TITLES
from likra.utils.files import new_file

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
#: Colours and markers of the two heads, and of three amounts that rise.
HEADS = {"positive": (BLUE, "s"), "incorrect": (RED, "o")}
RISING = ((ORANGE, "^"), (PINK, "D"), (RED, "o"))
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


BANDS = "Bands and bars: 95% intervals over seeds and questions."


@dataclass(frozen=True)
class Drawn:
    """A figure with its name in a folder, and its caption."""

    name: str
    caption: str
    figure: Figure


def drawn(name: str, caption: str, figure: Figure, rows: pd.DataFrame | None = None, note: str = BANDS) -> Drawn:
    """A figure with its caption: what it shows, of which model and source, and a note on its bands."""
    of = "" if rows is None else f"; {name_of(rows)}"
    return Drawn(name, f"{caption}{of}. {note}", figure)


def blank(width: float = 6.0, height: float = 4.0, columns: int = 1, **shared: Any) -> tuple[Figure, Any]:
    """A figure of so many inches with one or more axes beside each other."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(1, columns, **shared)


def sizes_of(rows: pd.DataFrame) -> list[int]:
    """The numbers of training questions that the rows have, rising."""
    return sorted(set(rows["size"][rows["size"] >= 0].tolist()))


def by_size(rows: pd.DataFrame, **labels: Any) -> pd.DataFrame:
    """The rows with these labels that are over all seeds, in the order of their sizes."""
    return pick(rows, seed=-1, **labels).sort_values("size", kind="stable")


def line(
    axes: Axes, at: Sequence[float], rows: pd.DataFrame, *, label: str, colour: str, marker: str = "o", **more: Any
) -> None:
    """A line through the rows' values, with their intervals as a band."""
    style = {"linestyle": "-" if marker else "--", **more}
    axes.plot(at, rows["value"].tolist(), **style, marker=marker or None, color=colour, label=label, ms=5)
    bounded = [(x, low, high) for x, low, high in zip(at, rows["low"], rows["high"], strict=True) if math.isfinite(low)]
    if marker and bounded:
        xs, low, high = zip(*bounded, strict=True)
        axes.fill_between(xs, low, high, color=colour, alpha=0.14, lw=0)


def method_line(axes: Axes, at: Sequence[float], rows: pd.DataFrame, method: str, **more: Any) -> None:
    """A line of one of the paper's methods, in its colour."""
    own = {"label": METHOD_TITLES[method], "colour": COLOURS[method], "marker": MARKERS[method]}
    line(axes, at, rows, **{**own, **more})


def arms(rows: pd.DataFrame) -> list[list[float]]:
    """Lengths of the rows' error bars, downwards and upwards; 0 where there is no interval."""
    low, high = (rows[end].where(rows["low"].map(math.isfinite), rows["value"]) for end in ("low", "high"))
    return [(rows["value"] - low).clip(lower=0).tolist(), (high - rows["value"]).clip(lower=0).tolist()]


def size_axis(axes: Axes, sizes: Sequence[int], label: str = "training questions (for each head)") -> list[int]:
    """Label an axis with sizes at equal distances; returns where they stand."""
    at = list(range(len(sizes)))
    axes.set_xticks(at, [str(size) for size in sizes], fontsize=11, rotation=45 if len(sizes) > 6 else 0)
    axes.set_xlabel(label)
    return at


def accuracy_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Label the other axis, with a margin around the rows."""
    values = [value for value in rows[["value", "low", "high"]].to_numpy().ravel().tolist() if math.isfinite(value)]
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
