"""Between text and the tokens that `generate` takes and gives."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import (
    Cache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from likra.data.conversation import Context, Conversation, rendered
from likra.data.question import Question
from likra.data.special_tokens import added_before, after, prefix_id
from likra.data.templates import template, word
from likra.engine.memory import Budget
from likra.errors import InputError
from likra.models.base import Base


class LineEnd(StoppingCriteria):
    """Ends a row with its first line."""

    def __init__(self, tokenizer: Any, width: int, own_line: bool) -> None:
        self._tokenizer, self._width, self._own_line = tokenizer, width, own_line
        self._breaks: dict[int, bool] = {}  # token -> whether it has a new line

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        done = [self.ended(row) for row in input_ids[:, self._width :].tolist()]
        return torch.tensor(done, device=input_ids.device)

    def ended(self, new: list[int]) -> bool:
        """Whether the last of some new tokens ends the line."""
        if new[-1] not in self._breaks:
            self._breaks[new[-1]] = "\n" in self._tokenizer.decode([new[-1]])
        return self._breaks[new[-1]] and line_end(self._tokenizer.decode(new), self._own_line) is not None


def line_end(text: str, own_line: bool) -> int | None:
    """Where the first line of an answer ends, if it does; with `own_line` new lines before any text do not count."""
    place = text.find("\n", len(text) - len(text.lstrip()) if own_line else 0)
    return None if place < 0 else place


def prompt_ids(base: Base, prompt: Context) -> list[int]:
    """The ids that the model reads before an answer: as in `encode_pairs`, but new lines at the end are kept.

    Raises:
        InputError: A token has no embedding, nothing can stand for an empty prompt, the prompt is not Unicode, or the
            tokenizer has no chat template for a conversation.
    """
    if isinstance(prompt, Conversation):
        ids = after(base.tokenizer, [], rendered(base.tokenizer, prompt))
        base.check(ids)
        return ids
    text = prompt.removesuffix(blank_end(prompt))
    before = added_before(base.tokenizer, text)
    if not text.strip():  # as in scoring, where an empty prompt is what stands before an answer
        before = before or [prefix_id(base.tokenizer)]
    ids = after(base.tokenizer, before, text)
    base.check(ids)
    return ids


def blank_end(prompt: Context) -> str:
    """The spaces that a prompt ends in, which belong to the answer's first token; new lines belong to the prompt.

    A conversation ends as its chat template has it.
    """
    if isinstance(prompt, Conversation):
        return ""
    return prompt[len(prompt.rstrip(" \t")) :]


def continuation(tokenizer: Any, prompt: list[int], new: list[int]) -> str:
    """The text of tokens that follow a prompt, with the first space, which some tokenizers drop at a text's start."""

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return decode(prompt + new)[len(decode(prompt)) :]


def end_ids(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: those that the model's makers name, and all that are no text.

    Besides the end of a document that is its beginning: of documents that were packed in training only one of the two
    may have stood between them.
    """
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    return list(dict.fromkeys([*tokenizer.all_special_ids, *named]))


@contextlib.contextmanager
def configured(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Use this generation configuration in place of the model's own, which may have penalties of repetition."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def continue_rows(
    base: Base,
    prompts: Sequence[list[int]],
    *,
    stop: Sequence[StoppingCriteria] = (),
    processors: Sequence[LogitsProcessor] = (),
    cache: Cache | None = None,
    **settings: Any,
) -> list[list[int]]:
    """The ids that transformers' `generate` puts after some prompts: one batch, padded on the left.

    Args:
        base: The model.
        prompts: Token ids.
        stop: Conditions that end a row, beside the tokens that end a text.
        processors: Changes to the logits.
        cache: Where keys and values are kept; default: `generate`'s own.
        **settings: Of the `GenerationConfig`; nothing of the model's own is used.
    """
    model, tokenizer = base.model, base.tokenizer
    width, ends = max(map(len, prompts)), end_ids(model, tokenizer)
    # Padding is masked, but its embedding is looked up: a token added to the tokenizer alone has none.
    pad = next(token for token in (tokenizer.pad_token_id, *ends, 0) if token is not None and token < base.rows)
    ids_RT = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask_RT = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with configured(model, GenerationConfig(eos_token_id=ends or None, pad_token_id=pad, **settings)):
        out_RT = model.generate(  # type: ignore[operator]  # transformers wraps it in a way mypy misreads
            input_ids=ids_RT.to(model.device),
            attention_mask=mask_RT.to(model.device),
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList(stop),
            **({} if cache is None else {"past_key_values": cache}),
        )
    new_RN: list[list[int]] = out_RT[:, width:].tolist()
    return new_RN


def generation_budget(model: PreTrainedModel, memory: int | None, longest: int) -> Budget:
    """Tokens, and rows, of one batch of `generate`."""
    rows, budget = 1, Budget.of(model, memory, 1, longest)
    while True:
        try:
            more = Budget.of(model, memory, 2 * rows, longest)  # the keys and values of twice as many rows
        except InputError:
            break
        # Probabilities are taken in float64: four times the estimate for a place with logits.
        if more.tokens < 2 * rows * longest or more.logits < 8 * rows:
            break
        rows, budget = 2 * rows, more
    return Budget(rows * longest, max(1, budget.logits // 4))


def wording(style: str, asked: str | Question) -> Context:
    """The prompt of a question, or of its text, in a style, as adapters of that style learned to answer it.

    Raises:
        InputError: In that style an answer does not continue a prompt.
    """
    used = template(style)
    if used.fills_blank:
        raise InputError("these adapters learned to fill in blanks; they do not continue a prompt.")
    if used.lists_options:
        raise InputError("these adapters learned to name one of the listed options; they do not continue a prompt.")
    question = Question("prompt", asked, ("",)) if isinstance(asked, str) else replace(asked, choices=("",))
    return word(style, question, 0)[0] if used.has_prompt else question.text
