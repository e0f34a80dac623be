"""What the numbers say: pure arithmetic on a `Likelihoods` table."""

from likra.judge.accuracy import Accuracy, accuracy, credit, wilson
from likra.judge.bootstrap import Estimate, Resampled, estimate, over_seeds, paired_p_value
from likra.judge.calibration import (
    CALIBRATIONS,
    Calibration,
    Fitted,
    confidence,
    cross_fitted,
    expected_calibration_error,
    risk_coverage,
)
from likra.judge.evaluation import Evaluation
from likra.judge.paired import Comparison, mcnemar
from likra.judge.scores import METHOD_TITLES, NORMALISATIONS, method_scores, normalise, ratio

__all__ = [
    "CALIBRATIONS",
    "METHOD_TITLES",
    "NORMALISATIONS",
    "Accuracy",
    "Calibration",
    "Comparison",
    "Estimate",
    "Evaluation",
    "Fitted",
    "Resampled",
    "accuracy",
    "confidence",
    "credit",
    "cross_fitted",
    "estimate",
    "expected_calibration_error",
    "mcnemar",
    "method_scores",
    "normalise",
    "over_seeds",
    "paired_p_value",
    "ratio",
    "risk_coverage",
    "wilson",
]
