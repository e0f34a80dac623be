"""What the numbers say: pure arithmetic on a `Likelihoods` table."""

from likra.judge.accuracy import Accuracy, accuracy, credit, wilson
from likra.judge.bootstrap import Estimate, Resampled, estimate, over_seeds, paired_p_value
from likra.judge.evaluation import Evaluation
from likra.judge.paired import Comparison, mcnemar
from likra.judge.scores import METHOD_TITLES, NORMALISATIONS, method_scores, normalise, ratio

__all__ = [
    "METHOD_TITLES",
    "NORMALISATIONS",
    "Accuracy",
    "Comparison",
    "Estimate",
    "Evaluation",
    "Resampled",
    "accuracy",
    "credit",
    "estimate",
    "mcnemar",
    "method_scores",
    "normalise",
    "over_seeds",
    "paired_p_value",
    "ratio",
    "wilson",
]
