"""The file `evaluations.json` beside adapters: what `likra eval` recorded of them."""

import json
from pathlib import Path
from typing import Any, cast

from likra.errors import InputError
from likra.utils.files import write_json
from likra.utils.locations import EVALUATIONS

#: An evaluation with these alike replaces an earlier one.
SETTINGS = ("data", "split", "shots", "sampled_shots", "limit", "weight", "normalization", "template")


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """The recorded evaluations, oldest first; none where there is no such file.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / EVALUATIONS
    if not path.exists():
        return []
    try:
        evaluations = json.loads(path.read_text(encoding="utf-8"))
        for one in evaluations:
            if "normalisation" in one:  # as older files spell it
                one["normalization"] = one.pop("normalisation")
            one.setdefault("template", None)  # older files do not say it: that of the data
            _ = [one[key] for key in (*SETTINGS, "questions", "date")]
            _ = [float(value[key]) for value in one["methods"].values() for key in ("accuracy", "low", "high")]
            if "reading_gain" in one:  # which the card shows, of the method that ranks
                best = one["test"]["first"]
                _ = [float(one["controls"]["blind"][best][key]) for key in ("accuracy", "low", "high")]
                _ = [float(one["reading_gain"][best][key]) for key in ("value", "low", "high")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is damaged ({type(error).__name__}: {error}); remove it, and record again."
        ) from None
    return cast(list[dict[str, Any]], evaluations)


def record_evaluation(evaluation: dict[str, Any], folder: Path) -> None:
    """Keep an evaluation beside its adapters, in place of an earlier one with the same `SETTINGS`."""
    kept = [one for one in read_evaluations(folder) if any(one[key] != evaluation[key] for key in SETTINGS)]
    write_json(folder / EVALUATIONS, [*kept, evaluation])
