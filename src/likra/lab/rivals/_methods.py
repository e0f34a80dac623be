"""What differs between the trainings that TRL does."""

import importlib.util
from collections.abc import Sequence
from typing import Any

from likra.errors import InputError

BETA = 0.1  # TRL's default, and the papers' for DPO and KTO

#: Token ids of a prompt, its right and its wrong completion.
Encoded = tuple[list[int], list[int], list[int]]


class Training:
    """How one of TRL's trainers trains.

    Losses are named with r, which is beta times log(policy / base) of a completion (the sum over its tokens); beta is
    0.1, s is the logistic function, and the base is the model without the adapter.

    Attributes:
        name: Name of the method.
        rows_per_triple: Rows of the trainer for each prompt with a right and a wrong answer.
        reward_head: Whether a linear head gives rewards, in place of the likelihoods of the policy.
    """

    name: str
    rows_per_triple = 1
    reward_head = False

    def trainer(self, trl: Any) -> tuple[Any, Any, dict[str, Any]]:
        """TRL's trainer, its configuration, and the options of this method alone."""
        raise NotImplementedError

    def rows(self, encoded: Sequence[Encoded], batch: int) -> list[dict[str, Any]]:
        """The tokenized rows that the trainer reads, in its order."""
        return [{"prompt_ids": prompt, "chosen_ids": right, "rejected_ids": wrong} for prompt, right, wrong in encoded]


def check_trl() -> None:
    """Raise InputError unless TRL is installed."""
    if importlib.util.find_spec("trl") is None:
        raise InputError("the rivals are trained by TRL; pip install 'likra[rivals]'.")
