"""The files `calibration.json` and `lone_calibration.json` (of lone candidates) beside adapters."""

import json
import math
from dataclasses import asdict
from pathlib import Path

from likra.errors import InputError
from likra.scoring.budget import Automation
from likra.scoring.calibration import PLATT, Calibration, check_calibration
from likra.scoring.calibration_error import CalibrationRecord
from likra.scoring.scores import check_normalization, check_weight
from likra.utils.files import write_json
from likra.utils.locations import CALIBRATION, LONE_CALIBRATION


def write_calibration(record: CalibrationRecord, folder: Path) -> None:
    """Write a calibration into a folder of adapters, in place of an earlier one of its kind."""
    name = LONE_CALIBRATION if record.calibration.method == PLATT else CALIBRATION
    write_json(folder / name, {name: value for name, value in asdict(record).items() if name != "read"})


def read_calibration(folder: Path, name: str = CALIBRATION) -> CalibrationRecord | None:
    """The record in `calibration.json`, or in `lone_calibration.json`; None where there is no such file.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / name
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        own = fields.pop("calibration")
        if "normalisation" in own:  # as older files spell it
            own["normalization"] = own.pop("normalisation")
        steps = tuple((float(x), float(y)) for x, y in own.pop("steps"))
        calibration = Calibration(**own, steps=steps)
        if name == CALIBRATION:
            check_calibration(calibration.method)
        elif calibration.method != PLATT or not math.isfinite(calibration.bias):
            raise ValueError("it is not one of lone candidates")
        check_weight(calibration.weight)
        check_normalization(calibration.normalization)
        finite = all(math.isfinite(number) for step in steps for number in step)
        if not 0 < calibration.temperature < math.inf or not finite:
            raise ValueError("a number is out of range")
        if fields.get("automation") is not None:
            fields["automation"] = Automation.from_json(fields["automation"])
        if fields.get("briers") is not None:
            fields["briers"] = tuple(map(float, fields["briers"]))
        points = tuple(
            (float(sure), float(given), float(wrong)) for sure, given, wrong in fields.pop("risk_coverage", ())
        )
        if not all(0 <= number <= 1 for point in points for number in point):
            raise ValueError("a number of its risk_coverage is not from 0 to 1")
        return CalibrationRecord(calibration, **fields, risk_coverage=points)
    except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path}: is damaged ({error}); remove it, and calibrate again.") from None
