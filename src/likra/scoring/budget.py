"""What can be automated: the confidence from which answers are taken without a look, so that few of them are wrong."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from likra.errors import InputError
from likra.scoring.accuracy import clopper_pearson
from likra.scoring.estimate import Estimate
from likra.scoring.likelihoods import Floats, Ints

LEVEL = 0.95  # how sure "sure" is


@dataclass(frozen=True)
class Automated:
    """The decisions of which the confidence is at least a threshold, and how many of them are wrong.

    Attributes:
        threshold: The lowest confidence, a probability.
        share: Share of all decisions, with its exact 95% interval; `count` is the number of all decisions.
        error: Share of wrong ones among the automated, with its exact 95% interval; `count` is the number of the
            automated. An interval is that of a threshold which these decisions did not choose.
        independent: How many independent decisions say as much as the automated: fewer where groups are given.
    """

    threshold: float
    share: Estimate
    error: Estimate
    independent: float

    @classmethod
    def of(
        cls, threshold: float, confidence_Q: Floats, credit_Q: Floats, groups: Sequence[Hashable] | None = None
    ) -> Self:
        """Those at a threshold; the arguments are as in `choose`. Where there are none, their error has no value."""
        found = _Surest.of(confidence_Q, credit_Q, groups)
        count = int((confidence_Q >= threshold).sum())
        share = count / len(confidence_Q)
        of_all = clopper_pearson(share, float(found.independent_K[-1]))
        if not count:
            return cls(threshold, Estimate(0.0, *of_all, len(confidence_Q)), Estimate(math.nan, 0.0, 1.0, 0), 0.0)
        wrong, independent = float(found.wrong_K[count - 1]), float(found.independent_K[count - 1])
        error = Estimate(wrong / count, *clopper_pearson(wrong / count, independent), count)
        return cls(threshold, Estimate(share, *of_all, len(confidence_Q)), error, independent)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """What `dataclasses.asdict` made of one."""
        both = Estimate(**fields["share"]), Estimate(**fields["error"])
        return cls(float(fields["threshold"]), *both, float(fields["independent"]))

    @property
    def sentence(self) -> str:
        """Both numbers in words.

        >>> Automated(0.9, Estimate(0.41, 0.33, 0.5, 200), Estimate(0.032, 0.011, 0.07, 82), 82).sentence
        'share automated 41.0% (33.0 to 50.0), error there 3.2% (1.1 to 7.0)'
        """
        error = f"error there {_percent(self.error)}" if self.error.count else "no error to tell"
        return f"share automated {_percent(self.share)}, {error}"


@dataclass(frozen=True)
class Automation:
    """What can be automated at an error budget, by decisions of which it is known whether they were right.

    Attributes:
        budget: The largest share of wrong ones among automated decisions.
        decisions: How many decisions it was chosen by.
        average: The threshold at which that share is within the budget on average over such choices; None: there is no
            such threshold. This is the one that is used.
        sure: The threshold at which it is within the budget with 95% certainty; None: there are too few decisions for
            one, or they are not good enough.
    """

    budget: float
    decisions: int
    average: Automated | None
    sure: Automated | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """What `as_json` made of one; raises ValueError, KeyError or TypeError where it did not."""
        both = {name: Automated.from_json(one) if (one := fields[name]) else None for name in ("average", "sure")}
        check_error_budget(fields["budget"])
        if any(one and not 0 <= one.threshold <= 1 for one in both.values()):
            raise ValueError("a threshold is not a probability")
        return cls(float(fields["budget"]), int(fields["decisions"]), both["average"], both["sure"])

    @property
    def sentences(self) -> list[str]:
        """What people are told."""
        allowed = f"an error budget of {100 * self.budget:g}%"
        if self.average is None:
            least = math.ceil(1 / self.budget) - 1
            return [
                f"Nothing can be automated at {allowed}: that takes {least} decisions without an error at the least, "
                f"the surest of these {self.decisions}."
            ]
        found = [f"At {allowed}, from a probability of {self.average.threshold:.4f} on: {self.average.sentence}."]
        if self.sure:
            found.append(
                f"With {100 * LEVEL:g}% certainty within the budget: from {self.sure.threshold:.4f} on, "
                f"{self.sure.sentence}."
            )
        else:
            found.append(
                f"That holds on average, not with {100 * LEVEL:g}% certainty, which takes {fewest(self.budget)} "
                "decisions without an error at the least."
            )
        return found


def choose(
    confidence_Q: Floats, credit_Q: Floats, budget: float, groups: Sequence[Hashable] | None = None
) -> Automation:
    """The lowest confidences from which decisions can be automated.

    `average` is the lowest threshold at which `(wrong + 1) / (automated + 1)` is within the budget. To count one error
    more keeps the share of wrong ones among new automated decisions within the budget on average (the argument is that
    of Barber and Candes 2015 on knockoffs; Jin and Candes 2023, arXiv 2210.01408, select predictions by it); with
    `wrong / automated` it would be above. `sure` is found by fixed-sequence testing (Angelopoulos et al. 2021, arXiv
    2110.01052): from the surest decisions on, thresholds are lowered as long as an exact binomial test at level 0.05
    rejects that the error is above the budget. docs/statistics.md compares them.

    Args:
        confidence_Q: [Q] probability that each decision is right, by what has not seen it (out of fold).
        credit_Q: [Q] whether it is: 1 or 0, or a share where answers tie.
        budget: Largest share of wrong ones among automated decisions, above 0 and below 1.
        groups: [Q] decisions with the same one (their prompt, say) depend on each other; default: none do.

    Raises:
        InputError: The budget is out of range, there is no decision, or a confidence is not a probability.

    >>> found = choose(np.linspace(0.5, 1, 50), np.repeat([0.0, 1.0], 25), budget=0.05)
    >>> round(found.average.threshold, 2), found.average.error.count, found.sure
    (0.76, 25, None)
    """
    check_error_budget(budget)
    found = _Surest.of(confidence_Q, credit_Q, groups)
    wrong_K = found.wrong_K / np.arange(1, len(confidence_Q) + 1) * found.independent_K
    within = [end for end in found.ends if wrong_K[end] + 1 <= budget * (found.independent_K[end] + 1) + 1e-9]
    powerful = found.ends[found.independent_K[found.ends] >= fewest(budget)]
    passed = _surely_within(wrong_K[powerful], found.independent_K[powerful], budget)
    certain = powerful[: len(passed) if passed.all() else int(np.argmin(passed))]

    def at(end: int) -> Automated:
        return Automated.of(float(found.confidence_K[end]), confidence_Q, credit_Q, groups)

    return Automation(
        float(budget),
        len(confidence_Q),
        at(within[-1]) if within else None,
        at(certain[-1]) if len(certain) else None,
    )


def check_error_budget(budget: float) -> None:
    """Raise InputError unless `budget` is a share above 0 and below 1.

    >>> check_error_budget(5)
    Traceback (most recent call last):
    ...
    likra.errors.InputError: error_budget must be a share above 0 and below 1 (5% is 0.05), got 5.
    """
    if not 0 < budget < 1:
        raise InputError(f"error_budget must be a share above 0 and below 1 (5% is 0.05), got {budget:g}.")


def fewest(budget: float) -> int:
    """How many decisions without an error make 95% certainty that the error is within a budget.

    >>> fewest(0.05)
    59
    """
    return math.ceil(math.log(1 - LEVEL) / math.log(1 - budget))


def _surely_within(wrong_K: Floats, count_K: Floats, budget: float) -> NDArray[np.bool_]:
    """Whether so few wrong ones are improbable if the error is at the budget: the exact binomial test, one-sided."""
    from scipy.stats import binom

    # Whole numbers, on the safe side: shared ties and dependent decisions make fractions.
    passed_K: NDArray[np.bool_] = binom.cdf(np.ceil(wrong_K - 1e-9), np.floor(count_K + 1e-9), budget) <= 1 - LEVEL
    return passed_K


@dataclass(frozen=True)
class _Surest:
    """The K surest decisions, for every K.

    Attributes:
        confidence_K: The confidence of the K-th.
        wrong_K: How many are wrong.
        independent_K: How many independent decisions say as much: Kish's effective sample size, (sum m)^2 / sum m^2 for
            groups of m decisions that are all right or all wrong together.
        ends: Places (K - 1) at which a threshold can be: of decisions that are equally sure, the last.
    """

    confidence_K: Floats
    wrong_K: Floats
    independent_K: Floats
    ends: Ints

    @classmethod
    def of(cls, confidence_Q: Floats, credit_Q: Floats, groups: Sequence[Hashable] | None) -> Self:
        if not len(confidence_Q):
            raise InputError("there are no decisions to choose a threshold by; give some with known answers.")
        if not ((confidence_Q >= 0) & (confidence_Q <= 1)).all():
            raise InputError("confidences must be probabilities, from 0 to 1.")
        order = np.argsort(-confidence_Q, kind="stable")
        sizes_K = np.arange(1, len(order) + 1)
        ends = np.flatnonzero(np.diff(confidence_Q[order], append=-np.inf))
        independent_K = sizes_K.astype(float)
        if groups is not None:
            independent_K *= sizes_K / _squares([groups[one] for one in order])
        return cls(confidence_Q[order], np.cumsum(1 - credit_Q[order]), independent_K, ends)


def _squares(groups: Sequence[Hashable]) -> Floats:
    """[K] sums of the squares of how many of the first K belong to each group."""
    seen: dict[Hashable, int] = {}
    more_K = np.zeros(len(groups))
    for place, group in enumerate(groups):
        before = seen.get(group, 0)
        seen[group], more_K[place] = before + 1, 2 * before + 1
    return np.cumsum(more_K)


def _percent(found: Estimate) -> str:
    return f"{100 * found.value:.1f}% ({100 * found.low:.1f} to {100 * found.high:.1f})"
