"""`--report-to`: where runs are logged, and what of a result is."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from likra.utils.tracking import NOWHERE, TRACKERS, Tracking

ReportTo = Annotated[
    list[str] | None,
    typer.Option(
        "--report-to",
        metavar="TRACKER,...",
        help=f"Log the run there too: {', '.join(TRACKERS)}. tensorboard writes to `runs` beside DIR, or to "
        "$TENSORBOARD_LOGGING_DIR; wandb and trackio to their own places, WANDB_MODE=offline without a network. "
        "[default: nowhere]",
        show_default=False,
    ),
]


def tracking(report_to: Sequence[str] | None, heads: Path, *, new: bool = False) -> Tracking:
    """What --report-to asks for.

    Args:
        report_to: What was given; each may be several names, separated by commas.
        heads: The folder of the heads; or their name, or the base's, on the hub.
        new: Whether the folder is yet to be written.

    Raises:
        InputError: A tracker is unknown or not installed, or logs would be where the heads are to be.
    """
    from likra.errors import InputError

    names = tuple(dict.fromkeys(name.strip() for given in report_to or () for name in given.split(",")))
    if not names:
        return NOWHERE
    place = heads.resolve()
    beside = place.parent if new or heads.exists() else Path.cwd()
    folder = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or beside / "runs").resolve()
    if new and place in (folder, *folder.parents):
        raise InputError(f"report_to: logs would be in {folder}, where the heads are to be; choose another --out.")
    return Tracking(names, place.name, folder)


def log(tracking: Tracking, known: Mapping[str, Any], step: int = 0) -> None:
    """Log a result as a run of its own.

    Args:
        tracking: Where to.
        known: The result as `--json` prints it; logged are its methods and controls, the rest is what it was got with.
        step: Optimisation steps that the heads were trained for.
    """
    logged = {**known.get("methods", {}), **known.get("controls", {})}
    logged |= {name: known[name] for name in ("reading_gain", "expected") if name in known}
    about = {name: value for name, value in known.items() if not isinstance(value, dict)}
    with tracking.run("eval", about) as run:
        run.log(dict(_flat("eval", logged)), step)


def _flat(name: str, value: Any) -> list[tuple[str, float]]:
    """The numbers in an object, by their path in it."""
    if isinstance(value, Mapping):
        return [found for key, one in value.items() for found in _flat(f"{name}/{key}", one)]
    return [(name, value)] if isinstance(value, int | float) and not isinstance(value, bool) else []
