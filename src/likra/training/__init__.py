"""How adapters learn: one trainer for all of them at once, and what may be chosen about it."""

from typing import TYPE_CHECKING, Any

from likra.training.config import SCHEDULES, TrainingConfig
from likra.training.step import Step

if TYPE_CHECKING:
    from likra.training.trainer import Trainer

__all__ = ["SCHEDULES", "Step", "Trainer", "TrainingConfig"]


def __getattr__(name: str) -> Any:
    # Loaded when first used: what only looks at saved adapters must not wait for torch.
    if name == "Trainer":
        from likra.training.trainer import Trainer

        return Trainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
