"""Text that readers write together: greedy, sampled, or with beams."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from likra.engine.memory import Budget
from likra.errors import InputError
from likra.generation.contrast import Contrast, combined
from likra.generation.text import LineEnd, continuation, continue_rows, end_ids, generation_budget, line_end
from likra.generation.twin import read_by
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.models.thread_lock import alone

# torch's own random numbers are one sequence for the whole process, whatever the model.
_drawing = threading.RLock()


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        max_tokens: New tokens at most.
        answers: Texts per prompt.
        temperature: Divides the scores before a token is drawn; 0: the likeliest token is taken.
        top_p: Draw from the likeliest tokens that have this share of the probability.
        beams: Beams of a search for the likeliest text; 1: none.
        seed: Seed of the draws; from 0 to 2**31.
    """

    max_tokens: int = 64
    answers: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    beams: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_tokens", "answers", "beams"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature must be a number, 0 (greedy) or more, got {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0, and 1 at most, got {self.top_p}.")
        if not 0 <= self.seed <= 2**31:
            raise InputError(f"seed must lie from 0 to 2147483648, got {self.seed}.")
        if self.temperature == 0 and self.answers > self.beams:
            raise InputError(
                f"answers must be 1, got {self.answers}: several texts need draws (temperature above 0), or as many "
                "beams."
            )
        if self.temperature and self.beams > 1:
            raise InputError("beams must be 1 where temperature is above 0: a search takes the likeliest text.")


@alone(lambda base, *_, **__: base.model)
def generate(
    base: Base,
    stack: HeadStack | None,
    readers: Sequence[str],
    prompts: Sequence[list[int]],
    decoding: Decoding,
    contrast: Contrast | None = None,
    *,
    one_line: bool = False,
    memory: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[list[int]]]:
    """New tokens after each prompt: `decoding.answers` lists of them, with the token that ends them if one does.

    (Of a search with beams there may be fewer: as many as are different.)

    All readers read in one batch, each with keys and values of its own. (What is drawn depends on which prompts share a
    batch, as always with `generate`.)

    Args:
        base: The base.
        stack: The heads, or None where only the base writes.
        readers: One reader (a head, or `base`), who writes alone; or two, who write together: p+ and p-.
        prompts: Token ids of each prompt, at least one.
        decoding: How tokens are chosen.
        contrast: How two readers are combined; default: `Contrast()`.
        one_line: Whether an answer ends with its first line.
        memory: Bytes that this may take beside the model; None: a share of what is free.
        progress: Called with the number of prompts that are done.

    Raises:
        InputError: A prompt and an answer are longer than the model's context, or scores are not finite.
    """
    if not prompts:
        return []
    longest = max(map(len, prompts)) + decoding.max_tokens
    if longest > base.max_length:
        raise InputError(
            f"a prompt has {longest - decoding.max_tokens} tokens, and max_tokens {decoding.max_tokens} more may "
            f"follow, but the model reads {base.max_length}; shorten one of them."
        )
    # What is drawn is a row of its own; beams of one prompt belong together.
    rows = [
        (place, draw) for place in range(len(prompts)) for draw in range(1 if decoding.beams > 1 else decoding.answers)
    ]
    rows.sort(key=lambda row: -len(prompts[row[0]]))
    found: dict[int, list[list[int]]] = {place: [] for place in range(len(prompts))}
    each = len(readers) * decoding.beams

    def step(start: int, budget: Budget) -> int:
        length = (len(prompts[rows[start][0]]) + decoding.max_tokens) * each
        some = rows[start : start + max(1, min(budget.tokens // length, budget.logits // each))]
        several = [prompts[place] for place, _ in some]
        new = _write(base, stack, readers, several, decoding, contrast or Contrast(), one_line, start)
        for (place, _), texts in zip(some, new, strict=True):
            found[place] += texts
        progress((start + len(some)) * len(prompts) // len(rows))
        return start + len(some)

    generation_budget(base.model, memory, longest).steps(len(rows), step)
    return [found[place] for place in range(len(prompts))]


def _write(
    base: Base,
    stack: HeadStack | None,
    readers: Sequence[str],
    prompts: Sequence[list[int]],
    decoding: Decoding,
    contrast: Contrast,
    one_line: bool,
    number: int,
) -> list[list[list[int]]]:
    """One batch."""
    device = base.device
    kept = decoding.answers if decoding.beams > 1 else 1
    line = LineEnd(base.tokenizer, max(map(len, prompts)), False) if one_line else None
    way = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    drawn: dict[str, Any] = way if decoding.temperature else {}

    def scores(logits: list[torch.Tensor]) -> torch.Tensor:
        if not bool(torch.stack([torch.isfinite(one).any(-1).all() for one in logits]).all()):
            raise InputError("the model's logits are not finite, so nothing can be written; use dtype float32.")
        return combined(logits[0], logits[1], contrast) if len(logits) == 2 else logits[0].float()

    with (
        _drawing,
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        read_by(base, stack, readers, scores) as cache,
    ):
        torch.manual_seed(decoding.seed * 1_000_003 + number)
        new_RN = continue_rows(
            base,
            prompts,
            stop=[line] if line else [],
            cache=cache,
            do_sample=bool(drawn),
            num_beams=decoding.beams,
            num_return_sequences=kept,
            max_new_tokens=decoding.max_tokens,
            **drawn,
        )
    # A row that ended before the others was filled up; what ended it stands.
    ends = end_ids(base.model, base.tokenizer)
    texts = [_ended(row, ends, line) for row in new_RN]
    grouped = [texts[place : place + kept] for place in range(0, len(texts), kept)]
    # Beams that found nothing plausible to go on with are filled up with copies.
    return [
        [text for place, text in enumerate(some) if text not in some[:place]] if kept > 1 else some for some in grouped
    ]


def _ended(new: list[int], ends: Sequence[int], line: LineEnd | None) -> list[int]:
    stop = next(
        (n for n in range(1, len(new) + 1) if new[n - 1] in ends or (line is not None and line.ended(new[:n]))),
        len(new),
    )
    return new[:stop]


def as_text(base: Base, prompt: list[int], new: list[int], *, one_line: bool) -> str:
    """The text of new tokens after a prompt, without what ends it."""
    ends = end_ids(base.model, base.tokenizer)
    text = continuation(base.tokenizer, prompt, [token for token in new if token not in ends])
    return text[: line_end(text, False)] if one_line else text
