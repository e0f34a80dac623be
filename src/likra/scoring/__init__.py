"""Accuracies, intervals and calibration: arithmetic on a `Likelihoods` table, with numpy alone."""

from likra.scoring.abstention import AbstentionReport, abstention
from likra.scoring.accuracy import accuracy, clopper_pearson, credit, wilson
from likra.scoring.bootstrap import Resampled, estimate, over_seeds, paired_p_value
from likra.scoring.budget import Automated, Automation
from likra.scoring.calibration import CALIBRATIONS, Calibration, fit, softmax
from likra.scoring.calibration_error import (
    CalibrationRecord,
    calibrate,
    chance_error,
    confidence,
    cross_fitted,
    expected_calibration_error,
)
from likra.scoring.config import Scoring
from likra.scoring.coverage import risk_coverage, risks
from likra.scoring.estimate import Estimate
from likra.scoring.evaluation import Evaluation
from likra.scoring.paired import Comparison, mcnemar
from likra.scoring.scores import METHOD_TITLES, NORMALIZATIONS, method_scores, normalise, ratio

__all__ = [
    "CALIBRATIONS",
    "METHOD_TITLES",
    "NORMALIZATIONS",
    "AbstentionReport",
    "Automated",
    "Automation",
    "Calibration",
    "CalibrationRecord",
    "Comparison",
    "Estimate",
    "Evaluation",
    "Resampled",
    "Scoring",
    "abstention",
    "accuracy",
    "calibrate",
    "chance_error",
    "clopper_pearson",
    "confidence",
    "credit",
    "cross_fitted",
    "estimate",
    "expected_calibration_error",
    "fit",
    "mcnemar",
    "method_scores",
    "normalise",
    "over_seeds",
    "paired_p_value",
    "ratio",
    "risk_coverage",
    "risks",
    "softmax",
    "wilson",
]
