"""The frozen base model, the adapters stacked on it, and PEFT's format."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likra.models.adapters import read_adapter, write_adapter
    from likra.models.base import Base, as_base, load_base
    from likra.models.lora_config import ADAPT, lora_config
    from likra.models.stack import HeadStack

_WHERE = {
    "ADAPT": "likra.models.lora_config",
    "Base": "likra.models.base",
    "HeadStack": "likra.models.stack",
    "as_base": "likra.models.base",
    "load_base": "likra.models.base",
    "lora_config": "likra.models.lora_config",
    "read_adapter": "likra.models.adapters",
    "write_adapter": "likra.models.adapters",
}

__all__ = ["ADAPT", "Base", "HeadStack", "as_base", "load_base", "lora_config", "read_adapter", "write_adapter"]


def __getattr__(name: str) -> Any:
    # Loaded when first used: what needs no model must not wait for torch.
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
