"""How adapters are trained: the paper's way, and what may be changed in it."""

import copy
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from likra.errors import InputError
from likra.models.lora_config import ADAPT, LoraShape, as_fields, check_lora, lora_config

if TYPE_CHECKING:
    from peft import LoraConfig

SCHEDULES: dict[str, str] = {
    "constant": "the same learning rate throughout",
    "linear": "falls linearly to zero",
    "cosine": "falls along a cosine to zero",
}
LOSSES: dict[str, str] = {
    "completion": "on the tokens of the completion",
    "text": "on the prompt's tokens too",
}

#: Names that the fields had in folders written before this version.
_FORMER = {
    "batch_size": "per_device_train_batch_size",
    "epochs": "num_train_epochs",
    "schedule": "lr_scheduler_type",
    "warmup": "warmup_ratio",
    "activation": "adapt",
}
_FORMER_LORA = {"rank": "r", "alpha": "lora_alpha", "targets": "target_modules"}


@dataclass(frozen=True, eq=False)
class TrainingConfig:
    """How adapters are trained. The defaults are the paper's (section 3): Adam, lr 1e-4, batch 8, one epoch.

    Fields are called as in transformers' `TrainingArguments`. The paper does not say rank, alpha or adapted layers; the
    defaults (`likra.models.lora_config.DEFAULTS`) are the common choice for LoRA.

    Attributes:
        learning_rate: Peak learning rate of Adam (no weight decay).
        per_device_train_batch_size: Examples per adapter in one forward pass.
        gradient_accumulation_steps: Forward passes per optimisation step; the loss is the mean over all of them.
        num_train_epochs: Passes over each adapter's examples.
        lr_scheduler_type: One of `SCHEDULES`, after the warm-up.
        warmup_ratio: Share of an adapter's optimisation steps in which its learning rate rises linearly from zero.
        lora: The adapters' shape, as PEFT has it; default: `lora_config()`. That of saved adapters is a `LoraShape`.
        adapt: `everywhere` or `completion`, see `likra.models.ADAPT`.
        loss: One of `LOSSES`: the tokens that are learned.
        bf16: Compute in bfloat16 (autocast); weights and Adam's state stay in float32.
        gradient_checkpointing: Recompute layers' outputs in the backward pass, to save memory.
        seed: Seed of the first weights and of the order of the examples.

    Raises:
        InputError: A value is out of its range, or `lora` asks for what the stack cannot do.

    Example:
        >>> TrainingConfig(num_train_epochs=2).steps(examples=20)
        6
    """

    learning_rate: float = 1e-4
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    num_train_epochs: int = 1
    lr_scheduler_type: str = "constant"
    warmup_ratio: float = 0.0
    lora: "LoraConfig | LoraShape" = dataclasses.field(default_factory=lora_config)
    adapt: str = "everywhere"
    loss: str = "completion"
    bf16: bool = False
    gradient_checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_lora(self.lora)
        # PEFT changes the configurations that it is given.
        object.__setattr__(self, "lora", copy.deepcopy(self.lora))
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate must be a positive number, got {self.learning_rate}.")
        if not 0 <= self.warmup_ratio < 1:
            raise InputError(
                f"warmup_ratio is a share of the steps; it must be at least 0 and below 1, got {self.warmup_ratio}."
            )
        for name, known in (("lr_scheduler_type", SCHEDULES), ("adapt", ADAPT), ("loss", LOSSES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}.")
        if self.loss == "text" and self.adapt == "completion":
            raise InputError(
                "loss 'text': adapters that act on completions only cannot learn prompts; choose loss 'completion'."
            )

    def __eq__(self, other: object) -> bool:
        """Whether both train alike: what of `lora` changes nothing does not count."""
        return isinstance(other, TrainingConfig) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(json.dumps(self.as_dict(), sort_keys=True))

    @property
    def examples_per_step(self) -> int:
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def steps(self, examples: int) -> int:
        """Optimisation steps for one adapter with so many examples; each epoch's last step may be smaller."""
        return self.num_train_epochs * math.ceil(examples / self.examples_per_step)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of optimisation step `step` (from 0) of `steps`.

        (`transformers.get_scheduler` has the same shapes, but a warm-up whose first step has a rate of 0 and moves
        nothing.)
        """
        rising = round(self.warmup_ratio * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        passed = (step - rising) / max(1, steps - rising)
        shapes = {"constant": 1.0, "linear": 1 - passed, "cosine": (1 + math.cos(math.pi * passed)) / 2}
        return self.learning_rate * shapes[self.lr_scheduler_type]

    def as_dict(self) -> dict[str, Any]:
        """The fields, for a JSON file; `from_dict` reads them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "lora": as_fields(self.lora)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "TrainingConfig":
        """What `as_dict` gave, of this version or of the one before.

        Raises:
            InputError: A value is out of its range.
            TypeError: A field is unknown.
        """
        found = {_FORMER.get(name, name): value for name, value in fields.items()}
        shape = {_FORMER_LORA[name]: found.pop(name) for name in list(found) if name in _FORMER_LORA}
        if isinstance(targets := shape.get("target_modules"), str):
            names = [name.strip() for name in targets.split(",")]
            shape["target_modules"] = targets if names == ["all-linear"] else names
        shape |= found.pop("lora", {})
        for name in ("adapt", "loss"):
            if found.get(name) == "answer":
                found[name] = "completion"
        return cls(lora=LoraShape(**shape), **found)
