"""What a cross-validation found of unpaired data: records judged by heads that never saw them, nor their prompt."""

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from likra.errors import InputError
from likra.scoring.estimate import Estimate
from likra.scoring.folds_interval import wider
from likra.scoring.likelihoods import Floats, Ints, Likelihoods
from likra.scoring.lone_calibration import cross_fitted_lone
from likra.scoring.ranking import OverPrompts, best_threshold
from likra.scoring.verification import Verification, Verified


@dataclass(frozen=True)
class CrossVerification:
    """Unpaired records, each judged once by heads of the other folds.

    Thresholds are chosen on the records of the other folds, and P(right) is by calibrations fitted to other prompts.
    Intervals are those over prompts, `widening` times as far from the value: the folds' heads share training records
    (`likra.scoring.folds_interval`).

    Attributes:
        found: The table of all records, as if of one pair of heads.
        fold_N: [N] the fold of each record, from 0.
        tfidf_N: [N] scores of a classifier of the texts, fitted on the same folds.
    """

    found: Verification
    fold_N: Ints
    tfidf_N: Floats

    @property
    def likelihoods(self) -> Likelihoods:
        """The table of all records."""
        return self.found.likelihoods

    @property
    def folds(self) -> int:
        """How many folds there are."""
        return int(self.fold_N.max()) + 1

    @cached_property
    def methods(self) -> dict[str, Verified]:
        """method -> how well it does; `tfidf` last of those without adapters.

        Raises:
            InputError: All records are right, or all are wrong.
        """
        own = self.found.methods
        drawn, right_N, judged = OverPrompts(self.found.prompts_N), self.found.right_N, dict(self.found.scores)
        at = next((place for place, method in enumerate(judged) if method not in ("base", "pmi")), len(judged))
        ordered = [*list(judged.items())[:at], ("tfidf", self.tfidf_N), *list(judged.items())[at:]]
        found = {}
        for method, scores_N in ordered:
            if method in own:
                auroc, precision = own[method].auroc, own[method].average_precision
            else:
                auroc, precision = (drawn.share(values_R) for values_R in drawn.ranking(scores_N, right_N))
            brier = error = None
            with contextlib.suppress(InputError):  # too few prompts to fit P(right) to: there is none
                probability_N, _ = cross_fitted_lone(scores_N, right_N, self.found.prompts_N)
                brier = self._wider(drawn.share(drawn.means((probability_N - right_N) ** 2)))
                error = self._wider(drawn.calibration_error(probability_N, right_N))
            called_N = (scores_N >= self._thresholds(scores_N)) == right_N
            found[method] = Verified(
                self._wider(auroc),
                self._wider(precision),
                accuracy=self._wider(drawn.share(drawn.means(called_N.astype(float)))),
                brier=brier,
                ece=error,
            )
        return found

    def _thresholds(self, scores_N: Floats) -> Floats:
        """[N] the threshold that the records of the other folds choose for each."""
        found_N = np.zeros(len(scores_N))
        for fold in range(self.folds):
            own_N = self.fold_N == fold
            found_N[own_N] = best_threshold(scores_N[~own_N], self.found.right_N[~own_N])
        return found_N

    def _wider(self, found: Estimate) -> Estimate:
        return wider(found, self.folds)

    def as_json(self) -> dict[str, Any]:
        """What `Verification.as_json` gives, with the folds."""
        methods = {method: one.as_json() for method, one in self.methods.items()}
        return {**self.found.as_json(), "folds": self.folds, "threshold_of": "the other folds", "methods": methods}
