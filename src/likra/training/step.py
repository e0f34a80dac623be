"""What one optimisation step did."""

import json
from collections.abc import Mapping
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

    @property
    def figures(self) -> dict[str, float]:
        """What of it is logged, by name.

        >>> Step(1, {"positive": 2.5}, {"positive": 1e-4}, {"positive": 8}).figures
        {'train/loss/positive': 2.5, 'train/learning_rate/positive': 0.0001, 'train/examples/positive': 8}
        """
        parts: dict[str, Mapping[str, float]]
        parts = {"loss": self.losses, "learning_rate": self.rates, "examples": self.examples}
        return {f"train/{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def as_json(self) -> str:
        return json.dumps(vars(self))
