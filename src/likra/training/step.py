"""What one optimisation step did."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What one optimisation step did.

    Attributes:
        step: Number of the step, from 1.
        losses: adapter -> mean loss in nats per predicted token, for the adapters that trained; of adapters that
            minimise one loss together, per question, by the name they have together.
        rates: adapter -> learning rate.
        examples: adapter -> examples (or questions) seen so far, all epochs counted.
    """

    step: int
    losses: dict[str, float]
    rates: dict[str, float]
    examples: dict[str, int]

    def as_json(self) -> str:
        return json.dumps(vars(self))
