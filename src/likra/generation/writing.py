"""Text of a base with its adapters, and one ordinary adapter that stands for two."""

import contextlib
import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

from likra.data.question import Question
from likra.data.sources import Source
from likra.data.templates import template
from likra.errors import InputError
from likra.generation.contrast import Contrast
from likra.generation.decoding import Decoding, as_text, generate
from likra.generation.distilling import distill
from likra.generation.text import prompt_ids, wording
from likra.models.adapters import warn_where_peft_differs, write_weights
from likra.models.base import Base
from likra.models.merging import contrasted
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig
from likra.utils.files import check_free, new_folder
from likra.utils.runtime import Runtime

logger = logging.getLogger(__name__)

STUDENT = "distilled"


class Distilling(TypedDict, total=False):
    """The keyword arguments of `write_distilled`."""

    contrast: Contrast | None
    training_config: TrainingConfig | None
    decoding: Decoding | None
    limit: int | None


def write(
    stack: HeadStack,
    readers: tuple[str, ...],
    style: str,
    prompts: Sequence[str],
    decoding: Decoding,
    contrast: Contrast | None,
    runtime: Runtime,
) -> list[list[str]]:
    """Answers to some questions; each next token is scored log p+ + a (log p+ - log p-).

    Args:
        stack: The adapters, on their base.
        readers: Who writes: one or two of the adapters and `base`.
        style: Prompt template. Where its answers are one line, they end with their first line.
        prompts: The questions.
        decoding: How tokens are chosen.
        contrast: a, and which tokens are plausible; for two readers.
        runtime: Memory and progress.

    Returns:
        The texts of each prompt; of a search with beams as many as are different.

    Raises:
        InputError: A prompt is empty or too long, or the template has no prompt to go on with.
    """
    base, one_line = stack.base, template(style).one_line
    tokens = _tokens(base, style, prompts)
    with runtime.reporting("Writing", "prompts") as move:
        written = generate(
            base,
            stack,
            readers,
            tokens,
            decoding,
            contrast,
            one_line=one_line,
            memory=runtime.memory,
            progress=lambda done: move(done, len(tokens)),
        )
    found = [
        [as_text(base, prompt, new, one_line=one_line) for new in answers]
        for prompt, answers in zip(tokens, written, strict=True)
    ]
    # Beams that differ in what ends them only are one text.
    return [list(dict.fromkeys(texts)) for texts in found] if decoding.beams > 1 else found


def write_merged(stack: HeadStack, readers: tuple[str, ...], contrast: Contrast, folder: Path) -> None:
    """Write one ordinary adapter: (1 + a) times the first reader's update minus a times the second's.

    The first-order stand-in for `write`'s combined scores; exact only where logits are linear in the weights.

    Raises:
        InputError: The folder is not empty.
    """
    weights, rank = contrasted(stack, _two(readers), contrast.amount)
    warn_where_peft_differs(stack)
    with new_folder(folder) as work:
        write_weights(work, stack, weights, rank=rank, scaling=1.0)


def write_distilled(
    stack: HeadStack,
    readers: tuple[str, ...],
    style: str,
    data: Source | Sequence[str],
    folder: Path,
    runtime: Runtime,
    *,
    contrast: Contrast | None = None,
    training_config: TrainingConfig | None = None,
    decoding: Decoding | None = None,
    limit: int | None = None,
) -> list[float]:
    """Write one ordinary adapter that was trained to give two readers' combined next-token distribution.

    Args:
        stack: The adapters, on their base; they are as before afterwards.
        readers: p+ and p-.
        style: Prompt template of questions.
        data: A source whose training prompts are used, or questions.
        folder: Where the adapter goes; new or empty.
        runtime: Memory and progress.
        contrast: How the two are combined.
        training_config: How the adapter is trained; default: a learning rate of 3e-4. Its `lora`, `adapt` and `loss` do
            not count: it adapts the layers of the two and starts as `write_merged` has it.
        decoding: How the two readers' answers are drawn; default: four per prompt, at temperature 1.
        limit: Use only so many prompts, drawn by the seed of the training config.

    Returns:
        The loss of each step: mean Kullback-Leibler divergence in nats per token.

    Raises:
        InputError: There are no prompts, or the folder is not empty.
        TrainingDiverged: A loss or a weight is not finite.
    """
    check_free(folder)
    contrast, config = contrast or Contrast(), training_config or TrainingConfig(learning_rate=3e-4)
    decoding = decoding or Decoding(answers=4, temperature=1.0, seed=config.seed)
    prompts = _training_prompts(stack.base, style, data, limit, config.seed, decoding.max_tokens)
    weights, rank = contrasted(stack, _two(readers), contrast.amount)
    warn_where_peft_differs(stack)
    with _with_student(stack, rank) as wider:
        wider.set_weights(STUDENT, weights, rank=rank, scaling=1.0)
        with runtime.reporting("Distilling", "") as move:
            losses = distill(
                wider,
                _two(readers),
                STUDENT,
                prompts,
                contrast,
                config,
                decoding,
                one_line=template(style).one_line,
                memory=runtime.memory,
                progress=move,
            )
        with new_folder(folder) as work:
            write_weights(work, wider, wider.weights(STUDENT), rank=rank, scaling=1.0)
    return losses


@contextlib.contextmanager
def _with_student(stack: HeadStack, rank: int) -> Iterator[HeadStack]:
    """A stack with one adapter more, in the place of this one, which comes back afterwards."""
    layers = dict(stack.layers)
    wider = stack.rebuilt([*stack.names, STUDENT], rank)
    try:
        yield wider
    finally:
        wider.remove()
        stack.attach(layers)


def _two(readers: tuple[str, ...]) -> tuple[str, str]:
    if len(readers) != 2:
        raise InputError("merging and distilling need a negative head, to set a second reader against the first.")
    return readers[0], readers[1]


def _tokens(base: Base, style: str, asked: Sequence[str] | Sequence[Question]) -> list[list[int]]:
    texts = [one if isinstance(one, str) else one.text for one in asked]
    if template(style).has_prompt and not all(text.strip() for text in texts):
        raise InputError("a prompt is empty; ask something.")
    return [prompt_ids(base, wording(style, one)) for one in asked]


def _training_prompts(
    base: Base, style: str, data: Source | Sequence[str], limit: int | None, seed: int, max_tokens: int
) -> list[list[int]]:
    if limit is not None and limit < 1:
        raise InputError(f"limit must be 1 or more, got {limit}.")
    if not isinstance(data, Source):
        found = _tokens(base, style, data)
    elif data.unpaired:
        found = [prompt_ids(base, text) for text in dict.fromkeys(e.prompt for e in data.examples.get("train", []))]
    else:
        found = _tokens(base, style, data.questions.get("train", []))
    if not found:
        raise InputError("there are no prompts to distill on; a source needs a training split.")
    if limit is not None and limit < len(found):
        found = random.Random(seed).sample(found, limit)
    longest = base.max_length - max_tokens
    if longest < 1:
        raise InputError(
            f"max_tokens must be below {base.max_length}, the tokens that the model reads, prompt and answer together."
        )
    if cut := sum(len(prompt) > longest for prompt in found):
        logger.warning("%d prompts overran the model's context; they were cut from the left", cut)
    return [prompt[-longest:] for prompt in found]
