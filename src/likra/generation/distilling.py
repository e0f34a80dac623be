"""Distillation: one adapter learns the combined next-token distribution of two."""

from collections.abc import Callable, Sequence

from likra.data.tokens import TokenizedExample
from likra.engine.padded import PaddedReader
from likra.generation.contrast import Contrast, combined
from likra.generation.decoding import Decoding, generate
from likra.models.stack import HeadStack
from likra.models.thread_lock import alone
from likra.training.config import TrainingConfig
from likra.training.losses import Distillation
from likra.training.prepared import check_trainable
from likra.training.trainer import Trainer


@alone(lambda stack, *_, **__: stack.base.model)
def distill(
    stack: HeadStack,
    readers: tuple[str, str],
    student: str,
    prompts: Sequence[list[int]],
    contrast: Contrast,
    config: TrainingConfig,
    decoding: Decoding,
    *,
    one_line: bool = False,
    memory: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> list[float]:
    """Train one head of a stack to give the next-token distribution of two readers.

    The two write answers to the prompts; at each of these answers' tokens the student learns their whole distribution
    (Hinton et al. 2015, arXiv 1503.02531, at temperature 1; on text that the teacher wrote, as in Kim and Rush 2016,
    arXiv 1606.07947).

    Args:
        stack: Has the student and both readers (one of which may be the base).
        readers: p+ and p-: heads, or `base`.
        student: Name of the head that learns; it continues from the weights that it has.
        prompts: Token ids of the training prompts.
        contrast: How the readers are combined.
        config: How the student is trained.
        decoding: How answers are drawn.
        one_line: Whether an answer ends with its first line.
        memory: Bytes that writing and training may take beside the model; None: a share of what is free.
        progress: Called with (done, in all, a note): first prompts, then optimisation steps.

    Returns:
        Loss of each step: mean Kullback-Leibler divergence of the student from the combined distribution, in nats per
        token.

    Raises:
        InputError: A prompt is too long, or the base cannot be trained on.
        TrainingDiverged: A loss or a weight is not finite.
    """
    check_trainable(stack)
    base = stack.base
    written = generate(
        base,
        stack,
        readers,
        prompts,
        decoding,
        contrast,
        one_line=one_line,
        memory=memory,
        progress=lambda done: progress(done, len(prompts), "prompts answered"),
    )
    pairs = [
        TokenizedExample(tuple(prompt), tuple(answer))
        for prompt, answers in zip(prompts, written, strict=True)
        for answer in answers
        if answer
    ]
    if not pairs:
        return []
    # Padded, as the teachers were when they wrote: the same seeds give the same weights as ever.
    reader = PaddedReader(base, stack, bf16=config.bf16)
    trainer = Trainer(
        stack,
        {student: pairs},
        config,
        seeds={student: f"{config.seed} distill"},
        losses={student: Distillation(reader, readers, lambda one, other: combined(one, other, contrast))},
        reader=reader,
        memory=memory,
        on_step=lambda step: progress(step.step, config.steps(len(pairs)), f"steps (loss {step.losses[student]:.3f})"),
    )
    return [step.losses[student] for step in trainer.run()]
