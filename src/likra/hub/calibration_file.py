"""The file `calibration.json` beside adapters."""

import json
import math
from dataclasses import asdict
from pathlib import Path

from likra.errors import InputError
from likra.scoring.budget import Automation
from likra.scoring.calibration import Calibration, check_calibration
from likra.scoring.calibration_error import CalibrationRecord
from likra.scoring.scores import check_normalization, check_weight
from likra.utils.files import write_json
from likra.utils.locations import CALIBRATION


def write_calibration(record: CalibrationRecord, folder: Path) -> None:
    """Write `calibration.json` into a folder of adapters."""
    write_json(folder / CALIBRATION, {name: value for name, value in asdict(record).items() if name != "read"})


def read_calibration(folder: Path) -> CalibrationRecord | None:
    """The record in `calibration.json`; None where there is no such file.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        own = fields.pop("calibration")
        if "normalisation" in own:  # as older files spell it
            own["normalization"] = own.pop("normalisation")
        steps = tuple((float(x), float(y)) for x, y in own.pop("steps"))
        calibration = Calibration(**own, steps=steps)
        check_calibration(calibration.method)
        check_weight(calibration.weight)
        check_normalization(calibration.normalization)
        finite = all(math.isfinite(number) for step in steps for number in step)
        if not 0 < calibration.temperature < math.inf or not finite:
            raise ValueError("a number is out of range")
        if fields.get("automation") is not None:
            fields["automation"] = Automation.from_json(fields["automation"])
        return CalibrationRecord(calibration, **fields)
    except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path}: is damaged ({error}); remove it, and calibrate again.") from None
