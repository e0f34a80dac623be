"""What `likra demo` leaves behind: heads, results, a figure and a page."""

import dataclasses
import platform
from pathlib import Path
from typing import Any

import torch

from likra import __version__
from likra.files import new_folder, write_json
from likra.heads import Recipe
from likra.likelihood.table import NEGATIVE, POSITIVE
from likra.questions import Source
from likra.report import page, plots
from likra.saved import write_heads
from likra.study.curve import Curve, head_names


def write_demo(curve: Curve, source: Source, recipe: Recipe, out: Path) -> None:
    """Write a finished curve to a folder: `heads/seedN/`, `results.json`, `curve.png`, `report.html`."""
    base = curve.stack.base
    facts: dict[str, Any] = {
        "model": f"{base.name} ({type(base.model).__name__})",
        "recipe": f"Adam, learning rate {recipe.learning_rate:g}, batch {recipe.batch_size}, one epoch, LoRA rank "
        f"{recipe.rank}, alpha {recipe.alpha:g} on {recipe.targets}",
        "negatives": "one of each question's own wrong choices, at random",
        "seeds": ", ".join(map(str, curve.seeds)),
        "software": f"likra {__version__}, torch {torch.__version__}, {platform.machine()}",
    }
    with new_folder(out) as work:
        for seed in curve.seeds:
            names = dict(zip((POSITIVE, NEGATIVE), head_names(seed), strict=True))
            training = {"data": source.name, "negatives": "incorrect", "questions": curve.sizes[-1]}
            own = dataclasses.replace(recipe, seed=seed)
            write_heads(work / "heads" / f"seed{seed}", curve.stack, names, own, curve.weight, source.style, training)
        write_json(work / "results.json", curve.as_json())
        plots.save_png(plots.curve_figure(curve), work / "curve.png")
        (work / "report.html").write_text(page.curve_page(curve, facts), encoding="utf-8")
