"""A learning curve for the model card: the results of `likra study curve` or `likra demo`, as a table and a figure."""

from pathlib import Path
from typing import Any

import pandas as pd

from likra.errors import InputError
from likra.lab.runner.results import RESULTS, load_table, pick
from likra.lab.study import STUDIES
from likra.scoring.scores import METHOD_TITLES
from likra.utils.files import new_file, write_json
from likra.utils.locations import CURVE, CURVE_FIGURE


def keep_curve(folder: Path, base: str, heads: Path) -> None:
    """Copy a learning curve to where the card of some heads finds it.

    Args:
        folder: Output folder of `likra study curve` or `likra demo`.
        base: The base of the heads; the curve must be of it.
        heads: The heads' folder.

    Raises:
        InputError: The folder has no such curve, or several.
    """
    found = pick(load_table(folder / RESULTS), study="curve")
    rows = pick(found, model=base)
    if rows["data"].nunique() != 1:
        models, data = (", ".join(found[label].drop_duplicates()) for label in ("model", "data"))
        there = f"of {models or 'no model'}, on {data or 'no source'}"
        raise InputError(f"--curve {folder}: needs one curve of {base}, and there is none or several ({there}).")
    with new_file(heads / CURVE_FIGURE) as work:
        STUDIES["curve"].draw(rows)[0].figure.savefig(work, dpi=150, format="png")
    write_json(heads / CURVE, _curve(pick(rows[rows["method"].isin(METHOD_TITLES)], quantity="accuracy")))


def _curve(accuracy: pd.DataFrame) -> dict[str, Any]:
    """Mean and interval over seeds and questions, as the study has them."""
    means = pick(accuracy, seed=-1).rename(columns={"value": "accuracy"})
    by_method = means.set_index("method")[["size", "accuracy", "low", "high"]]
    sizes = [
        {"size": int(size), "methods": some[["accuracy", "low", "high"]].to_dict("index")}
        for size, some in by_method.groupby("size")
    ]
    return {
        "data": means["data"].iloc[0],
        "questions": int(means["count"].iloc[0]),
        "seeds": len(set(accuracy["seed"]) - {-1}),
        "over": "seeds and questions",
        "methods": list(METHOD_TITLES),
        "rows": sizes,
    }
