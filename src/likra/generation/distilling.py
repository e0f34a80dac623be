"""One head that says by itself what two say together: distillation of their combined next-token distribution."""

import contextlib
import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from likra.generation.contrast import Contrast, combined
from likra.generation.decoding import Decoding, generate
from likra.heads.batch import rows_of
from likra.heads.recipe import Recipe
from likra.heads.stack import HeadStack
from likra.heads.training import Diverged, check_converging, check_trainable
from likra.likelihood.table import BASE
from likra.questions.tokens import TokenPair
from likra.reading import logits_at
from likra.reading.turns import alone


@alone(lambda stack, *_, **__: stack.base.model)
def distill(
    stack: HeadStack,
    readers: tuple[str, str],
    student: str,
    prompts: Sequence[list[int]],
    contrast: Contrast,
    recipe: Recipe,
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
        student: Name of the head that learns; it goes on from the weights that it has.
        prompts: Token ids of the training prompts.
        contrast: How the readers are combined.
        recipe: How the student is trained.
        decoding: How answers are drawn.
        one_line: Whether an answer ends with its first line.
        memory: Bytes that writing may take beside the model; None: a share of what is free.
        progress: Called with (done, in all, a note): first prompts, then optimisation steps.

    Returns:
        Loss of each step: mean Kullback-Leibler divergence of the student from the combined distribution, in nats per
        token.

    Raises:
        InputError: A prompt is too long, the base cannot be trained on, or a loss or a weight is not finite.
    """
    check_trainable(stack)
    base, index = stack.base, stack.index(student)
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
        TokenPair(tuple(prompt), tuple(answer))
        for prompt, answers in zip(prompts, written, strict=True)
        for answer in answers
        if answer
    ]
    parameters = stack.parameters()
    # The student's slices share the stacked tensors' memory; the readers' are left alone.
    slices = [nn.Parameter(parameter.data[index]) for parameter in parameters]
    optimizer = torch.optim.Adam(slices, lr=0.0)
    steps = recipe.steps(len(pairs))
    losses: list[float] = []
    for epoch in range(recipe.epochs):
        order = list(range(len(pairs)))
        random.Random(f"{recipe.seed} distill {epoch}").shuffle(order)
        for start in range(0, len(order), recipe.examples_per_step):
            batch = [pairs[place] for place in order[start : start + recipe.examples_per_step]]
            tokens = sum(len(pair.completion) for pair in batch)
            total = 0.0
            for first in range(0, len(batch), recipe.batch_size):
                loss = _divergence(stack, readers, student, batch[first : first + recipe.batch_size], contrast, recipe)
                (loss / tokens).backward()
                total += loss.item() / tokens
            if not math.isfinite(total):
                raise Diverged(f"the loss became {total} at step {len(losses) + 1} of the distillation")
            for own, parameter in zip(slices, parameters, strict=True):
                own.grad = None if parameter.grad is None else parameter.grad[index]
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(len(losses), steps)
            optimizer.step()
            for parameter in parameters:
                parameter.grad = None
            losses.append(total)
            progress(len(losses), steps, f"steps (loss {total:.3f})")
    check_converging("the distilled weights are", slices)
    return losses


def _divergence(
    stack: HeadStack,
    readers: tuple[str, str],
    student: str,
    pairs: Sequence[TokenPair],
    contrast: Contrast,
    recipe: Recipe,
) -> torch.Tensor:
    """Kullback-Leibler divergence, summed over the answers' tokens."""
    rows = rows_of(pairs).to(stack.base.device)
    there_RK = rows.labels_RK != -100

    def logits(name: str) -> torch.Tensor:
        """[M, V] at the M predicted tokens."""
        spans = [] if name == BASE else stack.spans_of_rows(name, pairs, rows.ids_RT.shape[1])
        cast = torch.autocast(stack.base.device.type, torch.bfloat16) if recipe.bf16 else contextlib.nullcontext()
        with stack.active(spans, rows.ids_RT.numel()), cast:
            logits_RKV = logits_at(
                stack.base.model,
                rows.keep,
                input_ids=rows.ids_RT,
                attention_mask=rows.attention_RT,
                position_ids=rows.positions_RT,
            )
        return logits_RKV[there_RK].float()

    with torch.no_grad():
        taught_MV = combined(logits(readers[0]), logits(readers[1]), contrast).softmax(-1)
    # Tokens that are not plausible have a probability of 0 and count nothing.
    return F.kl_div(logits(student).log_softmax(-1), taught_MV, reduction="sum")
