"""The shape of an adapter: PEFT's `LoraConfig`, and what of it the stack can do."""

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from likra.errors import InputError

if TYPE_CHECKING:
    from peft import LoraConfig

ALL_LINEAR = "all-linear"

#: Where adapters act.
ADAPT: dict[str, str] = {
    "everywhere": "plain LoRA, on every token (the paper)",
    "completion": "only from the end of the prompt on; the prompt is read by the plain base, once for all adapters",
}

#: The shape of adapters unless another is asked for. The paper does not say its own; this is the common choice.
DEFAULTS: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": ALL_LINEAR}

#: Fields that the stack follows, or that say nothing of what is computed.
_FOLLOWED = frozenset(
    [
        *("r", "lora_alpha", "use_rslora", "target_modules"),
        *("task_type", "inference_mode", "base_model_name_or_path", "revision", "peft_type", "peft_version"),
        *("auto_mapping", "runtime_config", "fan_in_fan_out"),
    ]
)


@dataclass(frozen=True)
class LoraShape:
    """What of a `LoraConfig` tells how an adapter computes: that of saved adapters, which need no PEFT to be loaded."""

    r: int = DEFAULTS["r"]
    lora_alpha: float = DEFAULTS["lora_alpha"]
    target_modules: str | Collection[str] | None = DEFAULTS["target_modules"]
    use_rslora: bool = False


def lora_config(**fields: Any) -> "LoraConfig":
    """PEFT's `LoraConfig`, with likra's `DEFAULTS` for what is not given.

    Example:
        >>> lora_config(r=8).lora_alpha
        32
    """
    from peft import LoraConfig

    return LoraConfig(**{**DEFAULTS, **fields})


def check_lora(config: "LoraConfig | LoraShape") -> None:
    """Raise InputError unless the stack can do what a configuration asks for; says which fields it cannot."""
    if not isinstance(config, LoraShape):
        _check_plain(config)
    if type(config.r) is not int or config.r < 1:
        raise InputError(f"r must be 1 or more, got {config.r!r}.")
    if not (math.isfinite(config.lora_alpha) and config.lora_alpha > 0):
        raise InputError(f"lora_alpha must be a positive number, got {config.lora_alpha!r}.")


def _check_plain(config: "LoraConfig") -> None:
    from peft import LoraConfig

    if not isinstance(config, LoraConfig):
        raise InputError(f"lora must be a peft.LoraConfig, got {config!r}.")
    if config.task_type not in (None, "CAUSAL_LM"):
        raise InputError(f"task_type must be CAUSAL_LM, got {config.task_type!r}.")
    plain = LoraConfig()
    odd = [
        f"{field.name} ({getattr(config, field.name)!r})"
        for field in dataclasses.fields(config)
        if field.name not in _FOLLOWED and getattr(config, field.name) != getattr(plain, field.name)
    ]
    if odd:
        raise InputError(
            f"LoraConfig: {', '.join(odd)} cannot be used; likra trains plain LoRA without dropout or bias."
        )


def scaling_of(config: "LoraConfig | LoraShape") -> float:
    """What an adapter's update is multiplied by: alpha / r, or alpha / sqrt(r) with `use_rslora`."""
    return scaling(config.lora_alpha, config.r, config.use_rslora)


def scaling(alpha: float, rank: int, use_rslora: bool) -> float:
    """The same of its parts."""
    return alpha / (rank**0.5 if use_rslora else rank)


def as_fields(config: "LoraConfig | LoraShape") -> dict[str, Any]:
    """What tells one adapter's shape from another's, for a file; `LoraShape(**fields)` reads it."""
    targets = config.target_modules
    fields: dict[str, Any] = {"r": config.r, "lora_alpha": config.lora_alpha}
    fields["target_modules"] = sorted(targets) if isinstance(targets, set | list) else targets
    return {**fields, "use_rslora": config.use_rslora}
