"""From tokenized examples to trained adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from likra.data.tokens import TokenizedExample, common_ending
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import NEGATIVE
from likra.training.config import TrainingConfig
from likra.training.seeds import adapter_seed
from likra.training.step import Step
from likra.training.trainer import CHECKPOINT_EVERY, Trainer
from likra.utils.runtime import QUIET, Runtime


@dataclass(frozen=True)
class Run:
    """Where a training run keeps its state, and what it may take.

    Attributes:
        state: Folder for the state of the run, so that a killed run goes on from it.
        checkpoint_every: Optimisation steps between two states.
        runtime: Memory and progress.
    """

    state: Path | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    runtime: Runtime = QUIET


def untrained(
    base: Base, pairs: Mapping[str, Sequence[TokenizedExample]], config: TrainingConfig, seeds: Sequence[int]
) -> HeadStack:
    """A stack of untrained adapters for what each is to learn, one seed each for their first weights."""
    contexts = [pair.context for found in pairs.values() for pair in found]
    return HeadStack(
        base,
        list(pairs),
        lora=config.lora,
        adapt=config.adapt,
        invocation_tokens=common_ending(base.tokenizer, contexts) if contexts else (),
        seeds=seeds,
    )


def fit(
    base: Base,
    pairs: Mapping[str, Sequence[TokenizedExample]],
    config: TrainingConfig,
    run: Run,
    *,
    before: HeadStack | None = None,
) -> tuple[HeadStack, list[Step]]:
    """Train adapters of the names in `pairs`.

    Args:
        base: The base model.
        pairs: adapter -> its examples.
        config: How they are trained.
        run: Where the run keeps its state, and what it may take.
        before: The stack that stands on the base now; it is removed, and put back should training fail.

    Returns:
        The stack, which stands on the base, and the steps.

    Raises:
        InputError: The adapters cannot be trained on this base.
        TrainingDiverged: A loss or a weight is not finite.
    """
    layers = before.remove() if before is not None else None
    stack = None
    try:
        # Two adapters of one seed would start out equal; the paper's are independent.
        stack = untrained(base, pairs, config, [adapter_seed(config.seed, name == NEGATIVE) for name in pairs])
        known = {"base": base.name, **config.as_dict(), "examples": {name: len(found) for name, found in pairs.items()}}
        with (
            run.runtime.reporting("Training", "steps") as move,
            run.runtime.tracking.run("train", known, run.state) as tracked,
        ):

            def show(step: Step) -> None:
                losses = ", ".join(f"{loss:.3f}" for loss in step.losses.values())
                move(step.step, trainer.total_steps, f"(loss {losses})")
                tracked.log(step.figures, step.step)

            trainer = Trainer(
                stack,
                {name: list(found) for name, found in pairs.items()},
                config,
                checkpoints=run.state,
                checkpoint_every=run.checkpoint_every,
                memory=run.runtime.memory,
                on_step=show,
                on_resume=lambda steps: tracked.go_on((step.figures, step.step) for step in steps),
            )
            return stack, trainer.run()
    except BaseException:
        if stack is not None:
            stack.remove()
        if before is not None and layers is not None:
            before.attach(layers)
        raise
