"""What one optimisation step did."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What one optimisation step did.

    Attributes:
        step: Number of the step, from 1.
        losses: adapter -> mean loss in nats per predicted token, for the adapters that trained.
        rates: adapter -> learning rate.
        examples: adapter -> examples seen so far, all epochs counted.
    """

    step: int
    losses: dict[str, float]
    rates: dict[str, float]
    examples: dict[str, int]

    def as_json(self) -> str:
        return json.dumps(vars(self))
