"""How heads are trained: the paper's recipe, and what may be changed in it."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from likra.errors import InputError
from likra.heads.stack import ACTIVATIONS, ALL_LINEAR

SCHEDULES: dict[str, str] = {
    "constant": "the same learning rate throughout",
    "linear": "falls linearly to zero",
    "cosine": "falls along a cosine to zero",
}


@dataclass(frozen=True)
class Recipe:
    """A training recipe. The defaults are the paper's (section 3): Adam, lr 1e-4, batch 8, one epoch.

    The paper does not say rank, alpha or adapted layers; the defaults here are the common choice for LoRA.

    Attributes:
        learning_rate: Peak learning rate of Adam (no weight decay).
        batch_size: Examples per head in one forward pass.
        gradient_accumulation_steps: Forward passes per optimisation step; the loss is the mean over all of them.
        epochs: Passes over each head's examples.
        rank: Rank of the low-rank updates.
        alpha: LoRA alpha; updates are scaled by alpha / rank.
        targets: `all-linear`, or names of linear layers separated by commas.
        activation: `everywhere` or `answer`, see `likra.heads.stack.ACTIVATIONS`.
        schedule: One of `SCHEDULES`, after the warm-up.
        warmup: Share of a head's optimisation steps in which its learning rate rises linearly from zero.
        loss: `answer`: on the tokens of the completion. `text`: on the prompt's tokens too.
        bf16: Compute in bfloat16 (autocast); weights and Adam's state stay in float32.
        gradient_checkpointing: Recompute activations in the backward pass, to save memory.
        seed: Seed of the first weights and of the order of the examples.
    """

    learning_rate: float = 1e-4
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    epochs: int = 1
    rank: int = 16
    alpha: float = 32
    targets: str = ALL_LINEAR
    activation: str = "everywhere"
    schedule: str = "constant"
    warmup: float = 0.0
    loss: Literal["answer", "text"] = "answer"
    bf16: bool = False
    gradient_checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "gradient_accumulation_steps", "epochs", "rank"):
            if getattr(self, name) < 1:
                raise InputError(f"{_flag(name)} {getattr(self, name)}: must be 1 or more.")
        for name in ("learning_rate", "alpha"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{_flag(name)} {getattr(self, name)}: must be a positive number.")
        if self.loss == "text" and self.activation == "answer":
            raise InputError("--loss text: heads that act only on answers cannot learn prompts; use --loss answer.")
        if not 0 <= self.warmup < 1:
            raise InputError(f"--warmup {self.warmup}: is a share of the steps; it must be at least 0 and below 1.")
        for name, known in (("schedule", SCHEDULES), ("activation", ACTIVATIONS), ("loss", ("answer", "text"))):
            if getattr(self, name) not in known:
                raise InputError(f"{_flag(name)} {getattr(self, name)}: must be one of {', '.join(known)}.")

    @property
    def target_names(self) -> str | list[str]:
        """`targets` as `HeadStack` takes it."""
        return self.targets if self.targets == ALL_LINEAR else [name.strip() for name in self.targets.split(",")]

    @property
    def examples_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation_steps

    def steps(self, examples: int) -> int:
        """Optimisation steps for one head with so many examples; each epoch's last step may be smaller."""
        return self.epochs * math.ceil(examples / self.examples_per_step)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of optimisation step `step` (from 0) of `steps`."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        passed = (step - rising) / max(1, steps - rising)
        factor = {"constant": 1.0, "linear": 1 - passed, "cosine": (1 + math.cos(math.pi * passed)) / 2}[self.schedule]
        return self.learning_rate * factor

    def as_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)


def _flag(name: str) -> str:
    short = {"learning_rate": "lr", "gradient_accumulation_steps": "grad-accum"}
    return "--" + short.get(name, name.replace("_", "-"))
