"""The frozen base model, the adapters stacked on it, and PEFT's format."""

from likra.models.adapters import read_adapter, write_adapter
from likra.models.base import Base, as_base, load_base
from likra.models.lora_config import lora_config
from likra.models.stack import ADAPT, HeadStack

__all__ = ["ADAPT", "Base", "HeadStack", "as_base", "load_base", "lora_config", "read_adapter", "write_adapter"]
