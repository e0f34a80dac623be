"""What `likra demo` leaves behind: heads, results, a figure and a page."""

import platform
from pathlib import Path
from typing import Any

import torch

from likra import __version__
from likra.files import new_folder, write_json
from likra.heads import Base, Recipe, write_adapter
from likra.report import page, plots
from likra.study.curve import Curve


def write_demo(curve: Curve, base: Base, recipe: Recipe, out: Path) -> None:
    """Write a finished curve to a folder: `heads/`, `results.json`, `curve.png`, `report.html`."""
    facts: dict[str, Any] = {
        "model": f"{base.name} ({type(base.model).__name__})",
        "recipe": f"Adam, learning rate {recipe.learning_rate:g}, batch {recipe.batch_size}, one epoch, LoRA rank "
        f"{recipe.rank}, alpha {recipe.alpha:g} on {recipe.targets}",
        "negatives": "one of each question's own wrong choices, at random",
        "seeds": ", ".join(map(str, curve.seeds)),
        "software": f"likra {__version__}, torch {torch.__version__}, {platform.machine()}",
    }
    with new_folder(out) as work:
        for name in curve.stack.names:
            write_adapter(curve.stack, name, work / "heads" / name)
        write_json(work / "results.json", curve.as_json())
        plots.save_png(plots.curve_figure(curve), work / "curve.png")
        (work / "report.html").write_text(page.curve_page(curve, facts), encoding="utf-8")
