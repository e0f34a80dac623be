"""Adapters that learn question by question, and are read at several sizes, or after several epochs, on the way."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from likra.data.question import Example
from likra.data.tokens import TokenizedExample
from likra.errors import InputError
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig
from likra.training.fit import untrained
from likra.training.learner import Item
from likra.training.losses import JointLoss, Loss
from likra.training.step import Step
from likra.training.trainer import Trainer

#: What an adapter learns from each training question: its examples, most often one.
ByQuestion = Sequence[Sequence[TokenizedExample]]


def tokenized(base: Base, examples: Sequence[Sequence[Example]]) -> list[list[TokenizedExample]]:
    """Tokens of each question's examples, in the order given."""
    return [[base.encode_pair(e.prompt, e.completion) for e in some] for some in examples]


def head_stack(
    base: Base, config: TrainingConfig, learned: Mapping[str, ByQuestion], seeds: Sequence[int]
) -> HeadStack:
    """Untrained adapters for these examples, one seed each for their first weights."""
    return untrained(
        base, {name: [pair for pairs in some for pair in pairs] for name, some in learned.items()}, config, seeds
    )


def check_sizes(sizes: Sequence[int], questions: int, config: TrainingConfig) -> list[int]:
    """The sizes in rising order.

    Raises:
        InputError: One pass of training cannot give them all.
    """
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 0:
        raise InputError("--sizes: give one or more numbers of training questions, 0 or more.")
    if sizes[-1] > questions:
        raise InputError(f"--sizes {sizes[-1]}: there are only {questions} training questions.")
    odd = [size for size in sizes[:-1] if size % config.examples_per_step]
    if odd:
        raise InputError(
            f"--sizes {odd[0]}: every size but the last must be a multiple of {config.examples_per_step}, the examples "
            "of one step."
        )
    if config.lr_scheduler_type != "constant" or config.warmup_ratio or config.num_train_epochs != 1:
        raise InputError("a learning curve in one pass needs a constant learning rate, no warm-up, and one epoch.")
    return sizes


def train_to_sizes(
    stack: HeadStack,
    learned: Mapping[str, Sequence[Sequence[Item]]],
    config: TrainingConfig,
    sizes: Sequence[int],
    at_size: Callable[[int], None],
    losses: Mapping[str, Loss | JointLoss] | None = None,
    *,
    state: Path | None = None,
    memory: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> None:
    """Train every head of a stack and call `at_size(size)` when all have learned from so many questions.

    At a constant learning rate a head that has seen n questions is the head that is trained on those n alone, so one
    pass gives every size. A head with several examples per question is read at the first step that has covered them.

    Args:
        stack: The heads; see `head_stack`.
        learned: head (or the name of heads that minimise one loss together) -> its examples by question, in the order
            in which it learns them.
        config: A constant learning rate, no warm-up, one epoch.
        sizes: Numbers of questions; see `check_sizes`.
        at_size: Called once per size, in rising order. After a resumption it is called again for sizes that were read
            before the state was kept, with later weights: it must know them by what it left, and do nothing.
        losses: head -> what it minimises; likelihood where it has none.
        state: Folder in which the state of the run is kept, so that a killed run goes on from it.
        memory: Bytes that training may take beside the model.
        progress: Called with (steps done, steps in all, a note).
    """
    data = {name: [pair for pairs in some[: sizes[-1]] for pair in pairs] for name, some in learned.items()}
    data = {name: pairs for name, pairs in data.items() if pairs}
    needed = {size: {name: sum(map(len, learned[name][:size])) for name in data} for size in sizes}
    if any(len({config.steps(count) for count in counts.values()}) > 1 for counts in needed.values()):
        raise ValueError("heads that take different numbers of steps to a size cannot share a stack")
    how: dict[str, Any] = {"state": state, "memory": memory, "progress": progress}
    in_order = dict.fromkeys(data)
    _train(stack, data, config, needed, at_size, seeds=in_order, losses=losses or {}, note="at {} questions", **how)


def train_to_epochs(
    stack: HeadStack,
    learned: Mapping[str, ByQuestion],
    config: TrainingConfig,
    epochs: Sequence[int],
    at_epoch: Callable[[int], None],
    *,
    seed: int,
    state: Path | None = None,
    memory: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> None:
    """Train every head of a stack for the most of some epochs, and call `at_epoch(n)` after n of them.

    At a constant learning rate a head after n of its epochs is the head that is trained for n epochs alone.

    Args:
        stack: The heads; see `head_stack`.
        learned: head -> its examples by question.
        config: A constant learning rate, no warm-up; its epochs are not used.
        epochs: Numbers of epochs, rising, from 1.
        at_epoch: Called once per number, in rising order; after a resumption as `at_size` of `train_to_sizes`.
        seed: Seed of each epoch's order of examples, for every head.
        state, memory, progress: As in `train_to_sizes`.
    """
    data = {name: [pair for pairs in some for pair in pairs] for name, some in learned.items()}
    needed = {number: {name: number * len(pairs) for name, pairs in data.items()} for number in epochs}
    config = dataclasses.replace(config, num_train_epochs=epochs[-1])
    how: dict[str, Any] = {"state": state, "memory": memory, "progress": progress}
    seeds: dict[str, int | None] = dict.fromkeys(data, seed)
    _train(stack, data, config, needed, at_epoch, seeds=seeds, losses={}, note="after {} epochs", **how)


def _train(
    stack: HeadStack,
    data: Mapping[str, Sequence[Item]],
    config: TrainingConfig,
    needed: Mapping[int, Mapping[str, int]],
    at: Callable[[int], None],
    *,
    seeds: Mapping[str, int | None],
    losses: Mapping[str, Loss | JointLoss],
    note: str,
    state: Path | None,
    memory: int | None,
    progress: Callable[[int, int, str], None],
) -> None:
    """Train, and call `at(mark)` for each mark of `needed` once its heads have seen so many examples."""
    steps = max((config.steps(len(pairs)) for pairs in data.values()), default=0)
    seen = dict.fromkeys(data, 0)
    waiting = list(needed)

    def arrive(step: int) -> None:
        while waiting and all(seen[name] >= count for name, count in needed[waiting[0]].items()):
            progress(step, steps, f"(scoring {note.format(waiting[0])})")
            at(waiting.pop(0))
        progress(step, steps, "")

    def watch(step: Step) -> None:
        seen.update(step.examples)
        arrive(step.step)

    arrive(0)
    if steps:
        how: dict[str, Any] = {"checkpoints": state, "memory": memory, "on_step": watch, "losses": losses}
        done = Trainer(stack, data, config, seeds=seeds, **how).run()
        # A run that was killed after its last step, while it was read, has no step left to arrive at.
        for step in done:
            seen.update(step.examples)
        arrive(steps)
