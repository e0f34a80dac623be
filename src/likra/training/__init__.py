"""How adapters learn: one trainer for all of them at once, and what may be chosen about it."""

from likra.training.config import SCHEDULES, TrainingConfig
from likra.training.trainer import Step, Trainer

__all__ = ["SCHEDULES", "Step", "Trainer", "TrainingConfig"]
