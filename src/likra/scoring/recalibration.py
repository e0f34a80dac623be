"""A calibration for heads that have changed, by scores of records that they have not learned."""

from collections.abc import Sequence
from typing import Any

from likra.errors import InputError
from likra.scoring.calibration_error import CalibrationRecord, calibrate_on
from likra.scoring.lone_calibration import calibrate_lone_on
from likra.scoring.teaching import Compared, together


def recalibrated(
    old: CalibrationRecord | None, compared: Sequence[Compared], *, lone: bool, style: str, data: str | None = None
) -> tuple[CalibrationRecord | None, str]:
    """What takes the place of a calibration once heads have been taught; None where there is nothing.

    The one of before is for other scores, so it never stays. The new one is for scores of the same weight and
    normalization, by the same method, and chooses a threshold for the same error budget if there was one.

    Args:
        old: The calibration of the heads before; None where they had none.
        compared: Records that were judged before and after.
        lone: Whether it is that of lone candidates.
        style: The prompt template that the heads are asked in.
        data: What the corrections are called; kept.

    Returns:
        The calibration, and what became of the old one as a sentence; empty where there is nothing to say.
    """
    what = "The calibration of lone candidates" if lone else "The calibration"

    def none(why: str) -> tuple[None, str]:
        return None, (f"{what} of before is dropped: {why}; `likra calibrate` makes another." if old else "")

    own = old.calibration if old else None
    if own and (own.shots or own.style not in (None, style)):
        return none("it is for prompts that were worded otherwise")
    used = [one for one in compared if one.lone == lone and one.table.meta.get("style") == style]
    if not used:
        return none(f"no {'lone candidates were' if lone else 'questions were'} judged")
    whole, split = together(used), "out of fold" + (", and old records" if used[1:] else "")
    scoring: dict[str, Any] = {}
    if own:
        scoring = {"weight": own.weight, "normalization": own.normalization, "method": own.scored_by}
    try:
        if lone:
            record = calibrate_lone_on(whole.verification(**scoring), data=data, split=split)
        else:
            budget = old.automation.budget if old and old.automation else None
            method = own.method if own else "temperature"
            judged = whole.evaluation(**scoring)
            record = calibrate_on(judged, method, error_budget=budget, data=data, split=split)
    except InputError as error:
        return none(str(error).rstrip("."))
    if not record.helps:
        return none("the records judged here give none that is better than none")
    told = f"{what} is new, by {record.questions} records judged here"
    told += f": expected calibration error {record.before:.4f} without it, {record.after:.4f} with it"
    told += f"; Brier score {record.briers[0]:.4f} and {record.briers[1]:.4f}." if record.briers else "."
    automated = record.automation.sentences if record.automation else []
    return record, " ".join([told, *automated])
