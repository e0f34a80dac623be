"""Training the heads of a stack, all in one pass."""

import contextlib
import hashlib
import json
import logging
import math
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from likra import parallel
from likra.errors import InputError
from likra.files import new_file, sha256, write_json
from likra.heads.batch import labels_of, rows_of
from likra.heads.finite import check_base
from likra.heads.prompts import Prompts
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.questions.tokens import TokenPair
from likra.reading import Pool, Tree, can_share, logits_at, plan_new
from likra.reading.attention import reads_trees
from likra.reading.budget import TrainingBudget, out_of_memory
from likra.reading.turns import alone

logger = logging.getLogger(__name__)

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


_alone = alone(lambda trainer: trainer.stack.base.model)

#: Logits [P, V]; and for each of M predicted tokens its row of them, its id, the number of its head, and whether it
#: is to become likely.
_Predictions = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


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
        seeds: head -> seed of its order of examples, None for the order given; the recipe's seed where a head has none.
        checkpoints: Folder for the state of the run. A run that finds a state of the same recipe and data there goes
            on from it, to the same weights, bit for bit on a CPU. None: no state is kept.
        checkpoint_every: Optimisation steps between two states.
        memory: Bytes that training may take beside the model, its heads and their optimizers; default: a quarter of the
            free memory of a CPU, 60% of that of a GPU. Heads that do not fit into one pass together take turns.
        on_step: Called after each optimisation step.
    """

    stack: HeadStack
    data: Mapping[str, Sequence[TokenPair]]
    recipe: Recipe
    seeds: Mapping[str, int | None] = field(default_factory=dict)
    checkpoints: Path | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    memory: int | None = None
    on_step: Callable[[Step], None] = lambda step: None

    @_alone
    def __post_init__(self) -> None:
        check_trainable(self.stack)
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
        pairs = [pair for some in self.data.values() for pair in some]
        model = self.stack.base.model
        self._share = bool(pairs) and can_share(model, max(len(pair.inputs) for pair in pairs))
        budget = TrainingBudget.of(model, self.memory, self.recipe.gradient_checkpointing)
        self._room = budget.tokens
        if self.memory is not None:
            self._warn_of_too_little(self.memory, budget)
        self._together = 0  # heads of the last pass
        self._prompts: Prompts | None = None
        if self._share and self.stack.activation == "answer":
            prompts = {
                self._prompt(pair)
                for name in self.data
                for batch in self._order(name)
                for part in self._passes({name: batch})
                for pair in part.get(name, [])
            } - {()}
            if prompts and len(Tree.of([(prompt, len(prompt)) for prompt in prompts])) <= budget.kept:
                with self._autocast():
                    self._prompts = Prompts(model, prompts, self.memory)

    def _warn_of_too_little(self, memory: int, budget: TrainingBudget) -> None:
        largest = max((self._tokens(batch) for name in self.data for batch in self._order(name)), default=0)
        largest //= self.recipe.gradient_accumulation_steps
        if largest > budget.tokens:
            logger.warning(
                "--memory %.3g: one head's batch of %d tokens alone is reckoned to take %.2g GiB; going on with it",
                memory / 2**30,
                largest,
                largest * budget.each / 2**30,
            )

    @property
    def total_steps(self) -> int:
        """Optimisation steps of the longest-trained head."""
        return max(self._steps.values(), default=0)

    @_alone
    def run(self) -> list[Step]:
        """Train to the end; returns every step, those before a resumption included.

        Raises:
            InputError: A loss or a weight is not finite, or the folder of checkpoints belongs to another run.
        """
        done = self._resume()
        if len(set(parallel.gather(len(done)))) > 1:
            raise InputError(f"{self.checkpoints}: not every process finds the same state; use a disk that all share.")
        orders = {name: list(self._order(name)) for name in self.data}
        with self._no_state_of_what_diverged(), prepared(self.stack, self.recipe):
            for number in range(len(done), self.total_steps):
                done.append(
                    self._step(number, {name: order[number] for name, order in orders.items() if number < len(order)})
                )
                self.on_step(done[-1])
                last = number + 1 == self.total_steps
                if self.checkpoints and parallel.rank() == 0 and (last or (number + 1) % self.checkpoint_every == 0):
                    self._save(done)
            for name, slices in self._slices.items():
                check_converging(f"the weights of head {name!r} are", slices)
        return done

    @contextlib.contextmanager
    def _no_state_of_what_diverged(self) -> Iterator[None]:
        try:
            yield
        except Diverged:
            if self.checkpoints:  # it is of no use to the next run
                shutil.rmtree(self.checkpoints, ignore_errors=True)
            raise

    def _order(self, name: str) -> Iterator[list[TokenPair]]:
        """The examples of each optimisation step of one head."""
        pairs = self.data[name]
        size = self.recipe.examples_per_step
        for epoch in range(self.recipe.epochs):
            shuffled = list(pairs)
            seed = self.seeds.get(name, self.recipe.seed)
            if seed is not None:
                random.Random(f"{seed} {epoch}").shuffle(shuffled)
            for start in range(0, len(shuffled), size):
                yield shuffled[start : start + size]

    def _step(self, number: int, batches: dict[str, list[TokenPair]]) -> Step:
        names = list(batches)
        while True:
            try:
                losses = self._gradients(batches)
                break
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or self._room == 1 or parallel.world() > 1:
                    raise
            if self._together == 1:
                raise InputError("out of memory; lower --batch-size, or take --bf16 or --gradient-checkpointing.")
            # Heads take turns, in passes of half as many tokens.
            most = max(sum(map(self._tokens, part.values())) for part in self._passes(batches))
            self._room = max(1, min(self._room, most) // 2)
            logger.warning("out of memory; going on with %d tokens at a time", self._room)
            for parameter in self.stack.parameters():
                parameter.grad = None
        rates = {name: self.recipe.rate(number, self._steps[name]) for name in names}
        for name in names:
            if not math.isfinite(losses[name]):
                check_base(self.stack.base, batches[name], whole_text=self.recipe.loss == "text")
                raise Diverged(f"the loss of head {name!r} became {losses[name]} at step {number + 1}")
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

    def _gradients(self, batches: dict[str, list[TokenPair]]) -> dict[str, float]:
        """Accumulate the gradients of one step; returns each head's loss."""
        whole = self.recipe.loss == "text"
        targets = {
            name: sum(len(pair.completion) + (len(pair.context) - 1 if whole else 0) for pair in batch)
            for name, batch in batches.items()
        }
        losses = dict.fromkeys(batches, 0.0)
        for part in self._passes(batches):
            for some in self._turns(part):
                self._together = len(some)
                for name, loss in self._backward(some, targets).items():
                    losses[name] += loss
        if parallel.world() > 1:
            totals = torch.tensor(list(losses.values()), device=self.stack.base.device)
            for parameter in self.stack.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            grads = [parameter.grad for parameter in self.stack.parameters() if parameter.grad is not None]
            parallel.add_up([totals, *grads])
            losses = dict(zip(losses, totals.tolist(), strict=True))
        return losses

    def _passes(self, batches: dict[str, list[TokenPair]]) -> Iterator[dict[str, list[TokenPair]]]:
        """The forward passes of a step; in a data parallel run, this process's share of every head's examples."""
        size = self.recipe.batch_size
        for start in range(0, max(map(len, batches.values())), size):
            mine = slice(start + parallel.rank(), start + size, parallel.world())
            yield {name: batch[mine] for name, batch in batches.items() if batch[mine]}

    def _turns(self, part: dict[str, list[TokenPair]]) -> Iterator[dict[str, list[TokenPair]]]:
        """Heads whose tokens fit into one pass."""
        turn: dict[str, list[TokenPair]] = {}
        used = 0
        for name, batch in part.items():
            tokens = self._tokens(batch)
            if turn and used + tokens > self._room:
                yield turn
                turn, used = {}, 0
            turn[name] = batch
            used += tokens
        if turn:
            yield turn

    def _tokens(self, batch: list[TokenPair]) -> int:
        """Tokens of a batch that its head reads itself, at most."""
        return sum(len(pair.inputs) - (len(self._prompt(pair)) if self._share else 0) for pair in batch)

    def _prompt(self, pair: TokenPair) -> tuple[int, ...]:
        """What of a context the base reads for all heads."""
        if self.stack.activation == "everywhere":
            return ()
        return pair.context[: len(pair.context) - self.stack.reach(pair.context)]

    def _seen(self, number: int, name: str) -> int:
        per_epoch = math.ceil(len(self.data[name]) / self.recipe.examples_per_step)
        epoch, within = divmod(number + 1, per_epoch)
        return epoch * len(self.data[name]) + min(len(self.data[name]), within * self.recipe.examples_per_step)

    def _backward(self, part: dict[str, list[TokenPair]], targets: dict[str, int]) -> dict[str, float]:
        """One forward and backward pass; returns each head's share of its loss."""
        run = self._packed if self._share else self._rows
        with run(part) as (logits_PV, row_M, token_M, head_M, right_M):
            logits_PV = logits_PV.to(torch.promote_types(logits_PV.dtype, torch.float32))
            logprob_M = logits_PV.log_softmax(-1)[row_M, token_M]
            loss_M = -logprob_M if right_M.all() else torch.where(right_M, -logprob_M, _unlikelihood(logprob_M))
            counts_H = torch.tensor([targets[name] for name in part], device=loss_M.device)
            loss_H = loss_M.new_zeros(len(part)).index_add(0, head_M, loss_M) / counts_H
            # Heads share no weights, so the sum of their losses gives each head its own gradient.
            loss_H.sum().backward()
        return dict(zip(part, loss_H.tolist(), strict=True))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.stack.base.device.type, dtype=torch.bfloat16, enabled=self.recipe.bf16)

    @contextlib.contextmanager
    def _packed(self, part: dict[str, list[TokenPair]]) -> Iterator[_Predictions]:
        """Read each head's batch as a prefix tree, without padding; prompts that the base reads are read once."""
        model = self.stack.base.model
        slots_of, pool = None, Pool()
        trees = [Tree.of([(pair.inputs, len(self._prompt(pair))) for pair in batch]) for batch in part.values()]
        if self.stack.activation == "answer":
            prompts = self._prompts
            if prompts is None:
                with self._autocast():
                    wanted = [self._prompt(pair) for batch in part.values() for pair in batch]
                    prompts = Prompts(model, wanted, self.memory)
            pool, slots_of = prompts.pool, []
            for tree, batch in zip(trees, part.values(), strict=True):
                slots = np.zeros(len(tree), dtype=np.int64)
                for path, pair in zip(tree.paths, batch, strict=True):
                    prompt = self._prompt(pair)
                    slots[path[: len(prompt)]] = prompts.slots[prompt]
                slots_of.append(slots)
        plan = plan_new(trees, slots_of)
        places: list[NDArray[np.int64]] = []
        tokens: list[int] = []
        heads: list[int] = []
        rights: list[bool] = []
        for head, (tree, flat, batch) in enumerate(zip(trees, plan.flat_Gn, part.values(), strict=True)):
            for path, pair in zip(tree.paths, batch, strict=True):
                labels = labels_of(pair, self.recipe.loss == "text")
                places.append(flat[path[-len(labels) :]])
                tokens.extend(labels)
                heads.extend([head] * len(labels))
                rights.extend([pair.right] * len(labels))
        distinct, row_M = np.unique(np.concatenate(places), return_inverse=True)
        spans = [(name, *span) for name, span in zip(part, plan.spans, strict=True)]
        device = self.stack.base.device
        with self.stack.active(spans, len(plan.ids_N)), reads_trees(model, plan, pool):
            with self._autocast():
                logits_1PV = logits_at(
                    model,
                    distinct.tolist(),
                    input_ids=plan.ids_N[None].to(device),
                    position_ids=plan.positions_N[None].to(device),
                )
            rows = torch.from_numpy(row_M)
            at = logits_1PV.device
            token_M, head_M, right_M = (torch.tensor(values, device=at) for values in (tokens, heads, rights))
            yield logits_1PV[0], rows.to(at), token_M, head_M, right_M

    @contextlib.contextmanager
    def _rows(self, part: dict[str, list[TokenPair]]) -> Iterator[_Predictions]:
        """Read every example as a row of its own: for models that packed trees cannot be read with."""
        whole = self.recipe.loss == "text"
        rows = rows_of([pair for batch in part.values() for pair in batch], whole_text=whole).to(self.stack.base.device)
        length, first = rows.ids_RT.shape[1], 0
        spans: list[tuple[str, int, int]] = []
        for name, batch in part.items():
            spans += [(n, first + a, first + b) for n, a, b in self.stack.spans_of_rows(name, batch, length)]
            first += len(batch) * length
        with self.stack.active(spans, rows.ids_RT.numel()):
            with self._autocast():
                logits_RKV = logits_at(
                    self.stack.base.model,
                    rows.keep,
                    input_ids=rows.ids_RT,
                    attention_mask=rows.attention_RT,
                    position_ids=rows.positions_RT,
                )
            row_M, place_M = (rows.labels_RK != -100).nonzero(as_tuple=True)
            head_R = torch.repeat_interleave(torch.tensor([len(batch) for batch in part.values()])).to(row_M.device)
            tokens = rows.labels_RK[row_M, place_M]
            right_R = torch.tensor([pair.right for batch in part.values() for pair in batch], device=row_M.device)
            yield logits_RKV.flatten(0, 1), row_M * rows.keep + place_M, tokens, head_R[row_M], right_R[row_M]

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
        tensors = self.checkpoints / f"step-{len(done)}.safetensors"
        with new_file(tensors) as work:
            save_file(self._tensors(), work)
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


def _unlikelihood(logprob_M: torch.Tensor) -> torch.Tensor:
    """-log(1 - p) of some tokens' log-probabilities, in nats; finite even where p rounds to 1."""
    return -torch.log(-torch.expm1(logprob_M.clamp(max=-1e-6)))


class Diverged(InputError):
    """Training left the finite numbers; says `what` did."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; lower --lr, or train in float32 (--dtype float32, no --bf16).")


def check_converging(what: str, tensors: Iterable[torch.Tensor]) -> None:
    """Raise Diverged ("the weights of ... are", not finite) unless all numbers of some tensors are finite."""
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise Diverged(f"{what} not finite")


def check_trainable(stack: HeadStack) -> None:
    """Raise InputError if heads cannot be trained on the base as it was loaded."""
    model = stack.base.model
    if model.dtype == torch.float16:
        raise InputError("heads are not trained in float16, whose gradients vanish; pass --dtype bfloat16 or float32.")
    if getattr(model, "is_loaded_in_4bit", False) and model.device.type == "cpu":
        raise InputError(
            "heads are not trained on a 4-bit base on a CPU, where bitsandbytes gives incomplete gradients; use a GPU, "
            "or --quantize 8bit."
        )


@contextlib.contextmanager
def prepared(stack: HeadStack, recipe: Recipe) -> Iterator[None]:
    """The model as training needs it. Dropout of the base stays off: heads must not depend on their neighbours."""
    model = stack.base.model
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
