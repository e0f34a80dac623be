"""Training the adapters of a stack, all in one pass."""

import contextlib
import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from likra.engine.finite_check import check_base
from likra.engine.memory import TrainingBudget
from likra.engine.reader import Reader, reader_of
from likra.errors import InputError, TrainingDiverged
from likra.models.stack import HeadStack
from likra.models.thread_lock import alone
from likra.training.checkpoint import Checkpoint
from likra.training.config import TrainingConfig
from likra.training.gradients import Gradients
from likra.training.learner import Item, Items, Learner, examples_in
from likra.training.losses import JointLoss, Likelihood, Loss, identity_of
from likra.training.optimizer import AdapterAdam
from likra.training.passes import Passes
from likra.training.prepared import check_trainable, prepared
from likra.training.step import Step
from likra.utils import parallel

__all__ = ["CHECKPOINT_EVERY", "Step", "Trainer"]

CHECKPOINT_EVERY = 50  # optimisation steps

_alone = alone(lambda trainer: trainer.stack.base.model)


@dataclass
class Trainer:
    """Trains every adapter of a stack on its own examples, in one pass over the base per step.

    Each adapter sees the examples, batches and learning rates that it would see alone, so it ends with the weights that
    it would have alone, up to the order in which floating-point sums are taken. An adapter with fewer examples stops
    earlier.

    Adapters that minimise one loss together (`JointLoss`) are one learner, with one order of questions, batch and
    learning rate; everything below that is said by adapter is said of them by the learner's name. A batch is of so many
    questions then, and their candidates are never divided between passes.

    Attributes:
        stack: The adapters; those without examples are left as they are.
        data: adapter -> its examples; learner -> its questions.
        config: How all adapters are trained.
        seeds: adapter -> seed of its order of examples, None for the order given; the config's where it has none.
        losses: adapter -> what it minimises; `Likelihood` where it has none.
        reader: How the stack reads; default: `reader_of`'s choice.
        checkpoints: Folder for the state of the run. A run that finds a state of the same config and data there
            continues from it, to the same weights, bit for bit on a CPU. None: no state is kept.
        checkpoint_every: Optimisation steps between two states.
        memory: Bytes that training may take beside the model, its adapters and their optimizers; default: a quarter of
            the free memory of a CPU, 60% of that of a GPU. Adapters that do not fit into one pass together take turns;
            a batch of one that does not fit is divided where a limit is given, or memory runs out.
        on_step: Called after each optimisation step.
        on_resume: Called with the steps of before, where a run goes on from a state, and before it does.

    Raises:
        InputError: The base cannot be trained on, an adapter has no examples, or two losses.

    Example:
        >>> from likra.models import load_base
        >>> base = load_base("world-tiny")
        >>> stack = HeadStack(base, ["positive"])
        >>> pair = base.encode_pair("Question: Which instrument does Mira Voss play?\\nAnswer:", " cello")
        >>> [step] = Trainer(stack, {"positive": [pair]}, TrainingConfig()).run()
        >>> step.losses["positive"] > 0, step.examples
        (True, {'positive': 1})
    """

    stack: HeadStack
    data: Mapping[str, Sequence[Item]]
    config: TrainingConfig
    seeds: Mapping[str, int | str | None] = field(default_factory=dict)
    losses: Mapping[str, Loss | JointLoss] = field(default_factory=dict)
    reader: Reader | None = None
    checkpoints: Path | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    memory: int | None = None
    on_step: Callable[[Step], None] = lambda step: None
    on_resume: Callable[[Sequence[Step]], None] = lambda steps: None

    @_alone
    def __post_init__(self) -> None:
        check_trainable(self.stack)
        config, base = self.config, self.stack.base
        usual = Likelihood(whole_text=config.loss == "text")
        self._learners = {name: Learner(name, self.losses.get(name, usual)) for name in self.data}
        adapters = [adapter for learner in self._learners.values() for adapter in learner.adapters]
        for name in adapters:
            self.stack.index(name)
            if adapters.count(name) > 1:
                raise InputError(f"losses: head {name!r} must be trained by one of them, not by several.")
        for name, items in self.data.items():
            if not items:
                raise InputError(f"head {name!r} has no examples to train on.")
        self._steps = {name: config.steps(len(items)) for name, items in self.data.items()}
        self._optimizer = AdapterAdam(self.stack, adapters)
        longest = max((len(pair.inputs) for items in self.data.values() for pair in examples_in(items)), default=1)
        reader = self.reader or reader_of(base, self.stack, longest, bf16=config.bf16, memory=self.memory)
        budget = TrainingBudget.of(base.model, self.memory, config.gradient_checkpointing)
        passes = Passes(config.per_device_train_batch_size, cut=self.memory is not None)
        self._gradients = Gradients(self.stack, reader, self._learners, passes)
        steps = [{name: items} for name in self.data for items in self._order(name)]
        shares = [items for step in steps for part in passes.shares(step) for items in part.values()]
        read = [pair for items in shares for pair in examples_in(items)]
        kept = reader.keep_prefixes(read, budget.most_kept)
        passes.cost, passes.room = self._cost(reader, budget, kept > 0), budget.room(kept)

    def _cost(self, reader: Reader, budget: TrainingBudget, prefix_kept: bool) -> Callable[[str, Item], float]:
        """Gives the bytes that a pass takes for an item of one learner."""

        def cost(name: str, item: Item) -> float:
            learner, total = self._learners[name], 0.0
            for pair in examples_in([item]):
                predicted = len(pair.inputs) if learner.whole_text else len(pair.completion)
                places = predicted * getattr(learner.loss, "vocabularies", 1)
                total += budget.cost(reader.num_own_tokens(pair), len(pair.inputs), places, prefix_kept=prefix_kept)
            return total * len(learner.adapters)

        return cost

    @property
    def total_steps(self) -> int:
        """Optimisation steps of the longest-trained adapter."""
        return max(self._steps.values(), default=0)

    @_alone
    def run(self) -> list[Step]:
        """Train to the end; returns every step, those before a resumption included.

        Raises:
            InputError: The folder of checkpoints belongs to another run.
            TrainingDiverged: A loss or a weight is not finite.
        """
        checkpoint = Checkpoint(self.checkpoints, self._identity()) if self.checkpoints else None
        done = self._resumed(checkpoint)
        if done:
            self.on_resume(done)
        orders = {name: list(self._order(name)) for name in self.data}
        with (
            _no_state_of_what_diverged(checkpoint),
            prepared(self.stack, checkpointing=self.config.gradient_checkpointing),
        ):
            for number in range(len(done), self.total_steps):
                done.append(
                    self._step(number, {name: order[number] for name, order in orders.items() if number < len(order)})
                )
                self.on_step(done[-1])
                last = number + 1 == self.total_steps
                if checkpoint and parallel.rank() == 0 and (last or (number + 1) % self.checkpoint_every == 0):
                    checkpoint.save(done, self._optimizer.tensors())
            for name, slices in self._optimizer.slices.items():
                if not all(piece.isfinite().all() for piece in slices):
                    raise _diverged(f"the weights of head {name!r} are not finite")
        return done

    def _resumed(self, checkpoint: Checkpoint | None) -> list[Step]:
        done, tensors = checkpoint.load() if checkpoint else ([], {})
        if tensors:
            self._optimizer.load(tensors)
        if len(set(parallel.gather(len(done)))) > 1:
            raise InputError(f"{self.checkpoints}: not every process finds the same state; use a disk that all share.")
        return done

    def _identity(self) -> dict[str, object]:
        content = str([(name, self.seeds.get(name), list(items)) for name, items in self.data.items()])
        return {
            "training_config": self.config.as_dict(),
            "loss": {name: identity_of(learner.loss) for name, learner in self._learners.items()},
            "base": self.stack.base.fingerprint,
            "data": hashlib.sha256(content.encode()).hexdigest(),
        }

    def _order(self, name: str) -> Iterator[list[Item]]:
        """The items of each optimisation step of one learner."""
        items = self.data[name]
        size = self.config.examples_per_step
        for epoch in range(self.config.num_train_epochs):
            shuffled = list(items)
            seed = self.seeds.get(name, self.config.seed)
            if seed is not None:
                random.Random(f"{seed} {epoch}").shuffle(shuffled)
            for start in range(0, len(shuffled), size):
                yield shuffled[start : start + size]

    def _step(self, number: int, step: Items) -> Step:
        found = self._gradients.accumulate(step)
        rates = {name: self.config.rate(number, self._steps[name]) for name in step}
        for name, rate in rates.items():
            for adapter in self._learners[name].adapters:
                self._optimizer.step(adapter, rate)
        self.stack.zero_grad()
        losses = found()  # only now, once the device has all of the step to do
        for name, loss in losses.items():
            if not math.isfinite(loss):
                check_base(self.stack.base, self._learners[name].batches(step[name])[0])
                raise _diverged(f"the loss of head {name!r} became {loss} at step {number + 1}")
        return Step(number + 1, losses, rates, {name: self._seen(number, name) for name in step})

    def _seen(self, number: int, name: str) -> int:
        per_epoch = math.ceil(len(self.data[name]) / self.config.examples_per_step)
        epoch, within = divmod(number + 1, per_epoch)
        return epoch * len(self.data[name]) + min(len(self.data[name]), within * self.config.examples_per_step)


@contextlib.contextmanager
def _no_state_of_what_diverged(checkpoint: Checkpoint | None) -> Iterator[None]:
    try:
        yield
    except TrainingDiverged:
        if checkpoint:  # the next run must not continue from it
            checkpoint.discard()
        raise


def _diverged(what: str) -> TrainingDiverged:
    return TrainingDiverged(f"{what}; lower learning_rate, or train in float32 (dtype float32, no bf16).")
