"""What methods cost, in tokens and operations."""

import json
from dataclasses import dataclass
from pathlib import Path

from likra.utils.files import write_json

_FILE = "facts.json"


@dataclass(frozen=True)
class Cost:
    """What the cost of a method is computed from.

    Attributes:
        parameters: Parameters of the base that a token is multiplied with: all but a separate input embedding.
        question: Tokens read per test question, each distinct one once: the prompt, each candidate, and its share of
            the few-shot examples.
        right, wrong: Tokens of the right and of the wrong answers trained on, prompts included; 0 where there are none.
    """

    parameters: int
    question: float
    right: int
    wrong: int

    @property
    def flops(self) -> float:
        """Floating-point operations of reading one test question once: 2 per parameter and token.

        >>> Cost(parameters=100, question=7.5, right=0, wrong=0).flops
        1500.0
        """
        return 2 * self.parameters * self.question

    def save(self, folder: Path) -> None:
        """Keep it in a job's folder."""
        write_json(folder / _FILE, vars(self))

    @classmethod
    def load(cls, folder: Path) -> "Cost":
        """The cost that a job kept."""
        return cls(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
