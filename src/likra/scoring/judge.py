"""What makes scores and probabilities of a table: arithmetic, no model."""

from collections.abc import Sequence
from dataclasses import dataclass

from likra.scoring.calibration import Calibration
from likra.scoring.calibration_error import CalibrationRecord
from likra.scoring.config import Scoring
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import NEGATIVE, POSITIVE, Likelihoods
from likra.scoring.scores import method_of


@dataclass(frozen=True)
class Judge:
    """How the adapters of a Likra are scored with, unless asked otherwise; attributes as `Likra` has them."""

    heads: Sequence[str]
    weight: float
    style: str
    calibration: CalibrationRecord | None

    def evaluation(self, table: Likelihoods, scoring: Scoring | None = None) -> Evaluation:
        """Scores and accuracies of a table."""
        own = scoring or Scoring()
        method_of(self.heads, own.method)
        positive, negative = (name if name in self.heads else None for name in (POSITIVE, NEGATIVE))
        return Evaluation(table, positive, negative, own.weight_or(self.weight), own.normalization, own.method)

    def probable(self, scoring: Scoring | None = None, shots: int = 0, style: str | None = None) -> Calibration | None:
        """What turns such scores into probabilities, if there is something; default: the scores of `Likra.score`."""
        own, asked = self.calibration.calibration if self.calibration else None, scoring or Scoring()
        scored_by = None if method_of(self.heads, asked.method) == method_of(self.heads) else asked.method
        scores = (asked.weight_or(self.weight), asked.normalization, shots, style or self.style, scored_by)
        return own if own and own.of(*scores) else None
