"""Which score a candidate gets."""

from dataclasses import dataclass

from likra.errors import InputError
from likra.scoring.scores import READERS, check_normalization, check_weight


@dataclass(frozen=True)
class Scoring:
    """Which score a candidate gets.

    Attributes:
        method: What candidates are ranked by, one of `READERS`; default: the best that the adapters allow.
        weight: w in L+ - w * L-; default: the adapters' own.
        normalization: What a score is divided by, one of `NORMALIZATIONS`.
        min_confidence: Candidates that are less probably right are marked as withheld (`Candidate.withheld`).

    Raises:
        InputError: One of them is out of range.

    >>> Scoring("sft").normalization
    'raw'
    >>> Scoring(weight=float("nan"))
    Traceback (most recent call last):
    likra.errors.InputError: weight must be a finite number, got nan.
    """

    method: str | None = None
    weight: float | None = None
    normalization: str = "raw"
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in READERS:
            raise InputError(f"method must be one of {', '.join(READERS)}, got {self.method!r}.")
        if self.weight is not None:
            check_weight(self.weight)
        check_normalization(self.normalization)
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise InputError(f"min_confidence must be between 0 and 1, got {self.min_confidence}.")

    def weight_or(self, own: float) -> float:
        """The weight, or the adapters' own where none was given."""
        return own if self.weight is None else self.weight
