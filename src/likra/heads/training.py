"""Training the heads of a stack, all in one pass."""

import contextlib
import hashlib
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from likra.errors import InputError
from likra.files import sha256, write_json
from likra.heads.base import last_logits
from likra.heads.batch import rows_of
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.questions.tokens import TokenPair

CHECKPOINT_EVERY = 50  # optimisation steps


@dataclass(frozen=True)
class Step:
    """What one optimisation step did.

    Attributes:
        step: Number of the step, from 1.
        losses: head -> mean negative log-likelihood in nats per predicted token, for the heads that trained.
        rates: head -> learning rate.
        examples: head -> examples seen so far, all epochs counted.
    """

    step: int
    losses: dict[str, float]
    rates: dict[str, float]
    examples: dict[str, int]

    def as_json(self) -> str:
        return json.dumps(vars(self))


@dataclass
class Trainer:
    """Trains every head of a stack on its own examples, in one pass over the base per step.

    Each head sees the examples, batches and learning rates that it would see alone, so it ends with the weights that
    it would have alone, up to the order in which floating-point sums are taken. A head with fewer examples stops
    earlier.

    Attributes:
        stack: The heads; those without examples are left as they are.
        data: head -> its examples.
        recipe: The recipe of all heads.
        seeds: head -> seed of its order of examples; the recipe's seed where a head has none.
        checkpoints: Folder for the state of the run. A run that finds a state of the same recipe and data there goes
            on from it, to the same weights, bit for bit on a CPU. None: no state is kept.
        checkpoint_every: Optimisation steps between two states.
        on_step: Called after each optimisation step.
    """

    stack: HeadStack
    data: Mapping[str, Sequence[TokenPair]]
    recipe: Recipe
    seeds: Mapping[str, int] = field(default_factory=dict)
    checkpoints: Path | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    on_step: Callable[[Step], None] = lambda step: None

    def __post_init__(self) -> None:
        for name, pairs in self.data.items():
            self.stack.index(name)
            if not pairs:
                raise InputError(f"head {name!r} has no examples to train on.")
        self._steps = {name: self.recipe.steps(len(pairs)) for name, pairs in self.data.items()}
        # Each head's slices are leaf parameters that share the stacked tensors' memory, so torch's own Adam updates
        # the stack in place, each head with its own moments, step count and learning rate.
        self._slices = {
            name: [nn.Parameter(parameter.data[self.stack.index(name)]) for parameter in self.stack.parameters()]
            for name in self.data
        }
        self._optimizers = {name: torch.optim.Adam(slices, lr=0.0) for name, slices in self._slices.items()}

    @property
    def total_steps(self) -> int:
        """Optimisation steps of the longest-trained head."""
        return max(self._steps.values(), default=0)

    def run(self) -> list[Step]:
        """Train to the end; returns every step, those before a resumption included.

        Raises:
            InputError: A loss is not finite, or the folder of checkpoints belongs to another run.
        """
        done = self._resume()
        orders = {name: list(self._order(name)) for name in self.data}
        with _prepared(self.stack, self.recipe):
            for number in range(len(done), self.total_steps):
                done.append(
                    self._step(number, {name: order[number] for name, order in orders.items() if number < len(order)})
                )
                self.on_step(done[-1])
                last = number + 1 == self.total_steps
                if self.checkpoints and (last or (number + 1) % self.checkpoint_every == 0):
                    self._save(done)
        for name, slices in self._slices.items():
            if not all(piece.isfinite().all() for piece in slices):
                self._diverged(f"the weights of head {name!r} are not finite after the last step")
        return done

    def _diverged(self, what: str) -> NoReturn:
        if self.checkpoints:  # the state of a run that diverged is of no use to the next one
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        raise InputError(f"{what}; lower --lr, or train in float32 (--dtype float32, no --bf16).")

    def _order(self, name: str) -> Iterator[list[TokenPair]]:
        """The examples of each optimisation step of one head."""
        pairs = self.data[name]
        size = self.recipe.examples_per_step
        for epoch in range(self.recipe.epochs):
            shuffled = list(pairs)
            random.Random(f"{self.seeds.get(name, self.recipe.seed)} {epoch}").shuffle(shuffled)
            for start in range(0, len(shuffled), size):
                yield shuffled[start : start + size]

    def _step(self, number: int, batches: dict[str, list[TokenPair]]) -> Step:
        names = list(batches)
        whole = self.recipe.loss == "text"
        targets = {
            name: sum(len(pair.completion) + (len(pair.context) - 1 if whole else 0) for pair in batch)
            for name, batch in batches.items()
        }
        losses = dict.fromkeys(names, 0.0)
        size = self.recipe.batch_size
        for start in range(0, max(map(len, batches.values())), size):
            part = {name: batch[start : start + size] for name, batch in batches.items()}
            for name, loss in self._backward(part, targets).items():
                losses[name] += loss
        rates = {name: self.recipe.rate(number, self._steps[name]) for name in names}
        for name in names:
            if not math.isfinite(losses[name]):
                self._diverged(f"the loss of head {name!r} became {losses[name]} at step {number + 1}")
            index = self.stack.index(name)
            for piece, parameter in zip(self._slices[name], self.stack.parameters(), strict=True):
                # A layer that the text does not pass through (another modality's, say) has no gradient.
                piece.grad = None if parameter.grad is None else parameter.grad[index]
            self._optimizers[name].param_groups[0]["lr"] = rates[name]
            self._optimizers[name].step()
        for parameter in self.stack.parameters():
            parameter.grad = None
        seen = {name: self._seen(number, name) for name in names}
        return Step(number + 1, losses, rates, seen)

    def _seen(self, number: int, name: str) -> int:
        per_epoch = math.ceil(len(self.data[name]) / self.recipe.examples_per_step)
        epoch, within = divmod(number + 1, per_epoch)
        return epoch * len(self.data[name]) + min(len(self.data[name]), within * self.recipe.examples_per_step)

    def _backward(self, part: dict[str, list[TokenPair]], targets: dict[str, int]) -> dict[str, float]:
        """One forward and backward pass; returns each head's share of its loss."""
        size = max(map(len, part.values()))
        padded = [pair for batch in part.values() for pair in [*batch, *[None] * (size - len(batch))]]
        rows = rows_of(padded, whole_text=self.recipe.loss == "text").to(self.stack.base.device)
        with self.stack.active(list(part), answer_RT=rows.answer_RT):
            with torch.autocast(rows.ids_RT.device.type, dtype=torch.bfloat16, enabled=self.recipe.bf16):
                logits_RKV = last_logits(
                    self.stack.base.model,
                    rows.keep,
                    input_ids=rows.ids_RT,
                    attention_mask=rows.attention_RT,
                    position_ids=rows.positions_RT,
                )
            nll_RK = F.cross_entropy(
                logits_RKV.to(torch.promote_types(logits_RKV.dtype, torch.float32)).flatten(0, 1),
                rows.labels_RK.flatten(),
                ignore_index=-100,
                reduction="none",
            ).view_as(rows.labels_RK)
            counts = torch.tensor([targets[name] for name in part], device=nll_RK.device)
            loss_H = nll_RK.view(len(part), -1).sum(1) / counts
            # Heads share no weights, so the sum of their losses gives each head its own gradient.
            loss_H.sum().backward()
        return dict(zip(part, loss_H.tolist(), strict=True))

    def _identity(self) -> dict[str, object]:
        """What a state must agree on to be gone on from."""
        content = str([(name, self.seeds.get(name), list(pairs)) for name, pairs in self.data.items()])
        return {
            "recipe": self.recipe.as_dict(),
            "base": self.stack.base.fingerprint,
            "data": hashlib.sha256(content.encode()).hexdigest(),
        }

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for name, optimizer in self._optimizers.items():
            for index, piece in enumerate(self._slices[name]):
                tensors[f"{name}/{index}/weight"] = piece.data
                for key, value in optimizer.state.get(piece, {}).items():
                    tensors[f"{name}/{index}/{key}"] = value
        return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}

    def _save(self, done: list[Step]) -> None:
        assert self.checkpoints
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        tensors = self.checkpoints / f"step-{len(done)}.safetensors"
        save_file(self._tensors(), tensors)
        # The state file is replaced last and in one go: a kill at any moment leaves the old state or the new one.
        steps = [vars(step) for step in done]
        state = {**self._identity(), "tensors": tensors.name, "sha256": sha256(tensors), "steps": steps}
        write_json(self.checkpoints / "state.json", state)
        for old in self.checkpoints.glob("step-*.safetensors"):
            if old != tensors:
                old.unlink()

    def _resume(self) -> list[Step]:
        if not self.checkpoints or not (self.checkpoints / "state.json").exists():
            return []
        damaged = InputError(f"{self.checkpoints}: the state of the unfinished run is damaged; remove the folder.")
        try:
            state = json.loads((self.checkpoints / "state.json").read_text(encoding="utf-8"))
            steps = [Step(**step) for step in state["steps"]]
            path = self.checkpoints / state["tensors"]
            if sha256(path) != state["sha256"]:
                raise damaged
        except (ValueError, KeyError, TypeError, OSError):
            raise damaged from None
        differing = [key for key, value in self._identity().items() if state.get(key) != value]
        if differing:
            raise InputError(
                f"{self.checkpoints}: holds an unfinished run with another {' and '.join(differing)}; "
                "repeat its command to go on with it, or remove the folder to start anew."
            )
        tensors = load_file(path)
        for name, optimizer in self._optimizers.items():
            for index, piece in enumerate(self._slices[name]):
                prefix = f"{name}/{index}/"
                found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
                piece.data.copy_(found.pop("weight"))
                if found:
                    optimizer.state[piece] = {
                        key: value if key == "step" else value.to(piece.device) for key, value in found.items()
                    }
        return steps


@contextlib.contextmanager
def _prepared(stack: HeadStack, recipe: Recipe) -> Iterator[None]:
    """The model as training needs it. Dropout of the base stays off: heads must not depend on their neighbours."""
    model = stack.base.model
    if model.dtype == torch.float16:
        raise InputError("heads are not trained in float16, whose gradients vanish; pass --dtype bfloat16 or float32.")
    rates: list[tuple[nn.Module, str, float]] = []
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                # This layer alone, not its children: it is what switches the recomputation on. Some layers (OPT's)
                # also take it as leave to drop out values themselves.
                module.training = True
                for name, value in vars(module).items():
                    if "dropout" in name and isinstance(value, float):
                        rates.append((module, name, value))
                        setattr(module, name, 0.0)
    try:
        yield
    finally:
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_disable()
            for module, name, value in rates:
                setattr(module, name, value)
        model.eval()
        for parameter in stack.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
