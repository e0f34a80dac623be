"""P(right) of lone candidates: fitted to unpaired records, and measured on records that it was not fitted to."""

from dataclasses import replace

import numpy as np

from likra.data.overlap import sketch
from likra.errors import InputError
from likra.scoring.calibration import PLAIN, PLATT, Calibration, fit_lone
from likra.scoring.calibration_error import FOLDS, CalibrationRecord, expected_calibration_error
from likra.scoring.likelihoods import Floats, Ints
from likra.scoring.verification import Verification


def cross_fitted_lone(scores_N: Floats, right_N: Floats, prompts_N: Ints, seed: int = 0) -> tuple[Floats, Floats]:
    """[N] P(right) of each record from a calibration fitted to the records of four fifths of the other prompts; and the
    share of right ones among those.

    Raises:
        InputError: There are fewer prompts than folds, or a fold holds all the right or all the wrong records.
    """
    count = int(prompts_N.max()) + 1
    if count < FOLDS:
        raise InputError(f"records of {count} prompts are too few to calibrate on; give at least {FOLDS} prompts.")
    found_N, share_N = np.full(len(scores_N), np.nan), np.full(len(scores_N), np.nan)
    for part in np.array_split(np.random.default_rng(seed).permutation(count), FOLDS):
        here_N = np.isin(prompts_N, part)
        if not 0 < right_N[~here_N].mean() < 1:
            raise InputError("there are too few right or too few wrong records to calibrate on; give more of them.")
        found_N[here_N] = fit_lone(scores_N[~here_N], right_N[~here_N]).probabilities(scores_N[here_N])
        share_N[here_N] = right_N[~here_N].mean()
    return found_N, share_N


def calibrate_lone_on(
    found: Verification, method: str = "temperature", *, data: str | None = None, split: str | None = None
) -> CalibrationRecord:
    """Fit P(right) on records that the adapters were not trained on, for the method that candidates are ranked by.

    Args:
        found: The records, judged.
        method: `temperature`, with a bias, or `PLAIN`.
        data, split: What they are called; kept.

    Raises:
        InputError: They are too few, or all right, or all wrong.
    """
    table, right_N, scores_N = found.likelihoods, found.right_N, found.scores[found.best]
    usual = found.best == list(found.scores)[-1]
    own = fit_lone(
        scores_N,
        right_N,
        weight=found.weight,
        normalization=found.normalization,
        style=table.meta.get("style"),
        scored_by=None if usual else found.best,
    )
    plain_N = Calibration(PLATT, 1.0, "raw", 1.0).probabilities(scores_N)
    fitted_N, share_N = cross_fitted_lone(scores_N, right_N, found.prompts_N)
    if method == PLAIN:
        own, fitted_N = replace(own, temperature=1.0, bias=0.0), plain_N
    before, after = (expected_calibration_error(one_N, right_N) for one_N in (plain_N, fitted_N))
    plain, fitted, even = (float(((one_N - right_N) ** 2).mean()) for one_N in (plain_N, fitted_N, share_N))
    asked, briers = sketch(table.questions), (plain, fitted, even)
    return CalibrationRecord(own, data, split, found.count, before, after, asked, table.rounding, briers)
