"""Whether the error among automated decisions is still within its budget, by new decisions."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from likra.scoring.budget import Automated, check_error_budget
from likra.scoring.calibration_error import CalibrationRecord, confidence
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Floats

LEVEL = 0.05  # of the test
ENOUGH = 0.5  # power below which decisions are too few to tell


@dataclass(frozen=True)
class Kept:
    """Whether a promise is kept: that at most a budget's share of automated decisions is wrong.

    Attributes:
        automated: The new decisions that are automated, and their error.
        budget: What was promised.
        p_value: Probability of as many wrong ones or more, if the error were exactly the budget (exact binomial test).
        power: Probability that the test finds an error of twice the budget (at most 1) with so many decisions.
    """

    automated: Automated
    budget: float
    p_value: float
    power: float

    @property
    def holds(self) -> bool:
        """False where there are more wrong ones than chance makes of an error within the budget."""
        return self.p_value > LEVEL

    @property
    def enough(self) -> bool:
        """Whether there are enough decisions for `holds` to say something."""
        return not self.holds or self.power >= ENOUGH

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        allowed, twice = f"{100 * self.budget:g}%", f"{100 * min(1.0, 2 * self.budget):g}%"
        if not self.holds:
            return f"The promise no longer holds: the error is above {allowed} beyond chance (p = {self.p_value:.2g})."
        if not self.automated.error.count:
            return "Too few to tell: nothing is automated."
        found = f"an error of {twice} would be found with a probability of {self.power:.2f}"
        if not self.enough:
            return f"Too few to tell: with {self.automated.error.count} automated, {found}."
        return f"No sign that the error is above {allowed} (p = {self.p_value:.2g}; {found})."

    def as_json(self) -> dict[str, Any]:
        automated = asdict(self.automated)
        if not self.automated.error.count:
            automated["error"] = None
        return {
            "holds": self.holds,
            "enough": self.enough,
            "error_budget": self.budget,
            "p_value": self.p_value,
            "power": self.power,
            **automated,
        }


def check(
    threshold: float,
    confidence_Q: Floats,
    credit_Q: Floats,
    budget: float,
    groups: Sequence[Hashable] | None = None,
) -> Kept:
    """Check new decisions against a budget.

    Args:
        threshold: Confidence from which decisions are automated.
        confidence_Q, credit_Q, groups: As in `likra.scoring.budget.choose`.
        budget: Largest share of wrong ones among automated decisions.

    Raises:
        InputError: The budget is out of range, there is no decision, or a confidence is not a probability.

    >>> import numpy as np
    >>> found = check(0.8, np.full(40, 0.9), np.repeat([1.0, 0.0], [30, 10]), budget=0.05)
    >>> found.holds, found.automated.error.value
    (False, 0.25)
    """
    from scipy.stats import binom

    check_error_budget(budget)
    automated = Automated.of(threshold, confidence_Q, credit_Q, groups)
    count = math.floor(automated.independent + 1e-9)
    if not count:
        return Kept(automated, budget, 1.0, 0.0)
    # Rounded down, so that ties and dependent decisions raise no false alarm.
    wrong = math.floor(automated.error.value * count + 1e-9)
    p_value = float(binom.sf(wrong - 1, count, budget))
    fewest_wrong = int(binom.isf(LEVEL, count, budget)) + 1  # that the test rejects
    power = float(binom.sf(fewest_wrong - 1, count, min(1.0, 2 * budget)))
    return Kept(automated, budget, p_value, power)


def check_on(found: Evaluation, record: CalibrationRecord, budget: float | None = None) -> Kept:
    """`check` by the answers of an evaluation's best method.

    Args:
        found: On new questions, scored as the calibration's were.
        record: The calibration, with the threshold.
        budget: Default: that which the threshold was chosen for.

    Raises:
        ValueError: The record has no threshold.
    """
    automation = record.automation
    if automation is None or automation.average is None:
        raise ValueError("nothing is automated")
    scores_QC = found.scores[found.best]
    return check(
        automation.average.threshold,
        confidence(record.calibration.probabilities(scores_QC), scores_QC),
        found.credits[found.best],
        automation.budget if budget is None else budget,
        [question.asked for question in found.likelihoods.questions],
    )
