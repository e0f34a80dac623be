"""What the controls of an evaluation are computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from likra.scoring.likelihoods import Likelihoods


@dataclass(frozen=True)
class Answers:
    """What the shallow control learns from.

    Attributes:
        right, wrong: The answers; none where there are none to learn from.
        origin: Where they come from, or why there are none, in words.
    """

    right: Sequence[str]
    wrong: Sequence[str]
    origin: str


@dataclass(frozen=True)
class Controls:
    """What the controls of an evaluation are computed from.

    Attributes:
        tables: Control (`likra.data.controls.CONTROLS`) -> the table of the same questions, asked so.
        answers: What the shallow control learns from.
    """

    tables: Mapping[str, Likelihoods]
    answers: Answers
