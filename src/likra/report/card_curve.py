"""A learning curve for the model card: what `likra study curve` or `likra demo` left, as a table and a figure."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likra.builtin import WORLD
from likra.errors import InputError
from likra.files import new_file, write_json
from likra.judge import METHOD_TITLES, wilson
from likra.layout import CURVE, CURVE_FIGURE
from likra.report.figures import draw
from likra.study.results import RESULTS, Row, load_rows, where

_DEMO = "results.json"


def keep_curve(folder: Path, base: str, heads: Path) -> None:
    """Copy a learning curve to where the card of some heads finds it.

    Args:
        folder: Output folder of `likra study curve` or `likra demo`.
        base: The base of the heads; the curve must be of it.
        heads: The heads' folder.

    Raises:
        InputError: The folder has no such curve, or several.
    """
    if (folder / _DEMO).is_file() and not (folder / RESULTS).exists():
        if base != WORLD:
            raise InputError(f"--curve {folder}: is of the model `{WORLD}`, and these heads are of {base}.")
        curve = _of_demo(folder / _DEMO)
        with new_file(heads / CURVE_FIGURE) as work:
            shutil.copyfile(folder / "curve.png", work)
    else:
        found = where(load_rows(folder / RESULTS), study="curve")
        rows = where(found, model=base)
        if len({row["data"] for row in rows}) != 1:
            models, data = (dict.fromkeys(row[label] for row in found) for label in ("model", "data"))
            there = f"of {', '.join(models) or 'no model'}, on {', '.join(data) or 'no source'}"
            raise InputError(f"--curve {folder}: needs one curve of {base}, and there is none or several ({there}).")
        curve = _of_study(rows)
        with new_file(heads / CURVE_FIGURE) as work:
            draw("curve", rows)[0].figure.savefig(work, dpi=150, format="png")
    write_json(heads / CURVE, curve)


def _of_demo(path: Path) -> dict[str, Any]:
    """Mean over the seeds, Wilson's interval over the questions."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        methods, questions = list(results[0]["methods"]), results[0]["questions"]
        by_size: dict[int, list[dict[str, Any]]] = {}
        for one in results:
            by_size.setdefault(one["size"], []).append(one["methods"])
        means = {
            size: {method: sum(one[method]["accuracy"] for one in found) / len(found) for method in methods}
            for size, found in sorted(by_size.items())
        }
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: is not what `likra demo` wrote ({type(error).__name__}: {error}).") from None
    rows = []
    for size, mean in means.items():
        bounds = {method: wilson(value, questions) for method, value in mean.items()}
        rows.append({"size": size, "methods": {method: _share(mean[method], *bounds[method]) for method in methods}})
    return _curve(WORLD, questions, len({one["seed"] for one in results}), "the questions", methods, rows)


def _of_study(found: Sequence[Row]) -> dict[str, Any]:
    """Mean and interval over seeds and questions, as the study has them."""
    accuracy = where(found, quantity="accuracy")
    means = where(accuracy, seed=-1)
    rows: dict[int, dict[str, Any]] = {size: {} for size in sorted({row["size"] for row in means})}
    for row in means:
        rows[row["size"]][row["method"]] = _share(row["value"], row["low"], row["high"])
    seeds = {row["seed"] for row in accuracy} - {-1}
    sizes = [{"size": size, "methods": methods} for size, methods in rows.items()]
    return _curve(means[0]["data"], means[0]["count"], len(seeds), "seeds and questions", list(METHOD_TITLES), sizes)


def _share(accuracy: float, low: float, high: float) -> dict[str, float]:
    return {"accuracy": accuracy, "low": low, "high": high}


def _curve(
    data: str, questions: int, seeds: int, over: str, methods: list[str], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    return {"data": data, "questions": questions, "seeds": seeds, "over": over, "methods": methods, "rows": rows}
