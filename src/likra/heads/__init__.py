"""Who answers: LoRA heads stacked on one frozen base, their training, and PEFT's format."""

from likra.heads.adapters import read_adapter, write_adapter
from likra.heads.base import Base, as_base, load_base
from likra.heads.recipe import SCHEDULES, Recipe
from likra.heads.stack import ACTIVATIONS, HeadStack
from likra.heads.training import Step, Trainer

__all__ = [
    "ACTIVATIONS",
    "SCHEDULES",
    "Base",
    "HeadStack",
    "Recipe",
    "Step",
    "Trainer",
    "as_base",
    "load_base",
    "read_adapter",
    "write_adapter",
]
