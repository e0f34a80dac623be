"""Hard negatives sampled from the base model, by transformers' own `generate`."""

import dataclasses
import random
from collections.abc import Callable, Sequence

import torch
from transformers import LogitsProcessor

from likra.data.conversation import Context
from likra.data.question import Question
from likra.data.templates import Prompter
from likra.engine import kernels
from likra.engine.memory import Budget
from likra.engine.precision import way_to_write
from likra.engine.products import Rows
from likra.errors import InputError
from likra.generation.text import (
    LineEnd,
    blank_end,
    continuation,
    continue_rows,
    end_ids,
    generation_budget,
    line_end,
    prompt_ids,
)
from likra.models.base import Base
from likra.models.thread_lock import alone

LONGEST = 64  # new tokens at most, unless told otherwise
_GROUP = 256  # tokens whose probabilities a GPU sums up together


class Sampler:
    """Samples answers to some questions.

    An answer depends on the seed, the id of its question and the number of its try, and on nothing that is sampled with
    it: each row of a batch has its own random numbers, and a token is the one at which the cumulated probabilities pass
    the next of them. (A GPU's rounding differs with the shape of a batch, by less than one token in many thousands.)

    Args:
        base: The model.
        questions: The questions, with their right answers.
        prompter: Words them; its template's answers must continue a prompt (`Template.continues`).
        temperature: Divides the logits.
        max_tokens: New tokens at most; None: as many as the longest right answer has, and at most 64.
        seed: Seed of the draws.
        memory: Bytes that sampling may take beside the model; None: a share of what is free.

    Raises:
        InputError: A question cannot be tokenized, or has no room for an answer in the model's context.
    """

    def __init__(
        self,
        base: Base,
        questions: Sequence[Question],
        prompter: Prompter,
        *,
        temperature: float = 1.0,
        max_tokens: int | None = None,
        seed: int = 0,
        memory: int | None = None,
    ) -> None:
        self._base, self._questions, self._seed, self._memory = base, questions, seed, memory
        self._temperature = temperature
        worded = [right_pair(question, prompter) for question in questions]
        lengths = [_length(base, question, *pair) for question, pair in zip(questions, worded, strict=True)]
        self.max_tokens = max_tokens or min(LONGEST, max(lengths))
        room = base.max_length - self.max_tokens
        if room < 1:
            raise InputError(
                f"max_tokens must leave room for a prompt: the model reads {base.max_length} tokens in all, got "
                f"{self.max_tokens}."
            )
        self._keeps_spaces = prompter.template.answer(" a") == " a"
        # Answers of several lines cannot end with the first one, and some stand on a line of their own.
        self._one_line = not any("\n" in completion.strip() for _, completion in worded)
        self._own_line = any("\n" in completion[: -len(completion.lstrip())] for _, completion in worded)
        self._prompts = [prompt_ids(base, prompt)[-room:] for prompt, _ in worded]
        self._blank = [blank_end(prompt) for prompt, _ in worded]

    @alone(lambda self, *_, **__: self._base.model)
    def propose(
        self, wanted: dict[int, range], progress: Callable[[int], None] = lambda done: None
    ) -> dict[int, list[str]]:
        """Sample answers.

        Args:
            wanted: For places of questions, the numbers of the tries.
            progress: Called with the number of answers sampled so far.

        Returns:
            For each place an answer per try, as a choice of the question; it may be blank.
        """
        # Long ones first: if memory runs out, it does so at once.
        rows = [(place, number) for place, numbers in wanted.items() for number in numbers]
        rows.sort(key=lambda row: -len(self._prompts[row[0]]))
        found: dict[tuple[int, int], str] = {}
        if rows:
            longest = len(self._prompts[rows[0][0]]) + self.max_tokens

            def step(start: int, budget: Budget) -> int:
                length = len(self._prompts[rows[start][0]]) + self.max_tokens
                batch = rows[start : start + max(1, min(budget.tokens // length, budget.logits))]
                found.update(zip(batch, self._sample(batch), strict=True))
                progress(start + len(batch))
                return start + len(batch)

            generation_budget(self._base.model, self._memory, longest).steps(len(rows), step)
        return {place: [found[place, number] for number in numbers] for place, numbers in wanted.items()}

    def _sample(self, rows: Sequence[tuple[int, int]]) -> list[str]:
        """One answer per row (place of the question, number of the try)."""
        prompts = [self._prompts[place] for place, _ in rows]
        width = max(map(len, prompts))
        draws_RN = torch.tensor([self._draws(*row) for row in rows], dtype=torch.float64)
        alone = Rows(0, len(prompts), 1)
        with way_to_write(self._base.model, self._base.precision, 1).reading(self._base.model, alone, alone):
            new_RN = continue_rows(
                self._base,
                prompts,
                stop=[LineEnd(self._base.tokenizer, width, self._own_line)] if self._one_line else [],
                processors=[_Draw(draws_RN, width, self._temperature)],
                do_sample=False,  # the processor leaves one token to choose
                max_new_tokens=self.max_tokens,
            )
        ends = end_ids(self._base.model, self._base.tokenizer)
        return [self._text(place, new, ends) for (place, _), new in zip(rows, new_RN, strict=True)]

    def _draws(self, place: int, number: int) -> list[float]:
        rng = random.Random(f"{self._seed} sampled {number} {self._questions[place].id}")
        return [rng.random() for _ in range(self.max_tokens)]

    def _text(self, place: int, new: list[int], ends: Sequence[int]) -> str:
        """Sampled tokens as the text of a choice, which when worded again is the same continuation of the prompt."""
        new = new[: next((index for index, token in enumerate(new) if token in ends), len(new))]
        text = continuation(self._base.tokenizer, self._prompts[place], new)
        if self._one_line:
            text = text[: line_end(text, self._own_line)]
        if not self._keeps_spaces:
            return text.strip()
        # The prompt was read without the spaces that it ends in; they are in it when it is read again.
        return text.rstrip().removeprefix(self._blank[place])


class _Draw(LogitsProcessor):
    """Leaves one token per row: the one at which the cumulated probabilities pass the row's next random number."""

    def __init__(self, draws_RN: torch.Tensor, width: int, temperature: float) -> None:
        self._draws_RN, self._width, self._temperature = draws_RN, width, temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        draws_R1 = self._draws_RN[:, input_ids.shape[1] - self._width, None]
        pick = _picked if kernels.kind_of(scores.device) == "cpu" else _picked_in_two_steps
        tokens_R1 = pick(scores, draws_R1, self._temperature).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens_R1, 0.0)


def _picked(scores_RV: torch.Tensor, draws_R1: torch.Tensor, temperature: float) -> torch.Tensor:
    """The token at which the cumulated probabilities of each row pass its draw, in float64."""
    scores_RV = scores_RV.double()
    scores_RV = (scores_RV - scores_RV.max(dim=-1, keepdim=True).values) / temperature
    passed_RV = scores_RV.softmax(-1).cumsum(-1)
    total_R1 = passed_RV[:, -1:].contiguous()
    _check_finite(total_R1)
    return _passing(passed_RV, draws_R1 * total_R1)


def _picked_in_two_steps(scores_RV: torch.Tensor, draws_R1: torch.Tensor, temperature: float) -> torch.Tensor:
    """The same on a GPU, which is slow in float64 and cumulates in no fixed order: tokens by the hundreds, then one.

    Probabilities are taken, and summed in groups, by the GPU in float32; the host cumulates the sums, and within the
    group in which the draw lies, in float64.
    """
    scores_RV = scores_RV.float()
    scores_RV = (scores_RV - scores_RV.max(dim=-1, keepdim=True).values) / temperature
    share_RGW = kernels.padded_to(scores_RV.exp(), _GROUP).unflatten(-1, (-1, _GROUP))
    passed_RG = share_RGW.sum(-1).cpu().double().cumsum(-1)
    total_R1 = passed_RG[:, -1:].contiguous()
    _check_finite(total_R1)
    goal_R1 = draws_R1 * total_R1
    group_R1 = _passing(passed_RG, goal_R1)
    before_R1 = torch.cat([torch.zeros_like(total_R1), passed_RG], 1).gather(1, group_R1)
    rows_R = torch.arange(len(group_R1), device=scores_RV.device)
    passed_RW = share_RGW[rows_R, group_R1[:, 0].to(scores_RV.device)].cpu().double().cumsum(-1)
    return group_R1 * _GROUP + _passing(passed_RW, goal_R1 - before_R1)


def _passing(passed_RV: torch.Tensor, goal_R1: torch.Tensor) -> torch.Tensor:
    """Where the cumulated sums of each row first pass a value."""
    # At the very end rounding may leave nothing to pass; the last that adds something is meant.
    last_R1 = torch.searchsorted(passed_RV, passed_RV[:, -1:].contiguous())
    return torch.minimum(torch.searchsorted(passed_RV, goal_R1, right=True), last_R1)


def _check_finite(total_R1: torch.Tensor) -> None:
    if not bool(torch.isfinite(total_R1).all()):
        raise InputError("the base's logits are not finite, so nothing can be sampled; load it in float32.")


def right_pair(question: Question, prompter: Prompter) -> tuple[Context, str]:
    """Prompt and completion of a question's right answer."""
    if question.answer is None:
        raise InputError(f"question {question.id!r} has no known answer; wrong ones are told from the right one.")
    right = dataclasses.replace(question, choices=(question.choices[question.answer],), answer=0)
    [pair] = prompter.pairs(right)
    return pair


def _length(base: Base, question: Question, prompt: Context, completion: str) -> int:
    try:
        return len(base.encode_pair(prompt, completion).completion)
    except InputError as error:
        raise InputError(f"question {question.id!r}: {error}") from None
