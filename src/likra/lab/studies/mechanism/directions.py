"""Directions of hidden states that could stand in for the negative head, where no voices are given."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from likra.data.question import Question
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.engine.loglikelihood import encode_question
from likra.engine.precision import FLOAT32, STORED, computes_in_float32
from likra.engine.products import Rows
from likra.lab.rivals.contrast import WORDINGS, wished
from likra.lab.studies.mechanism.hidden import block_outputs
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE, Floats

#: The wish for a wrong answer, the first of those that the rival `contrast` reads.
WISH = WORDINGS["contrast-1"]
_ROWS = 32  # pairs read at once


def head_shift(stack: HeadStack, head: str, pairs: Sequence[TokenizedExample]) -> Floats:
    """[L, D]: how far a head moves what each block gives out, on average over all places where answers are predicted.

    Args:
        stack: The heads.
        head: Which of them.
        pairs: Prompts with answers.
    """
    return mean_states(stack.base, pairs, stack, head) - mean_states(stack.base, pairs, stack)


def prompted_shift(base: Base, questions: Sequence[Question], prompter: Prompter) -> Floats:
    """[L, D]: the mean change of the base's hidden states at a prompt's end, if the prompt asks for a wrong answer."""
    wrongly = mean_states(base, _ends(base, questions, wished(questions, prompter, WISH)))
    return wrongly - mean_states(base, _ends(base, questions, prompter))


def lengths(base: Base, questions: Sequence[Question], prompter: Prompter) -> Floats:
    """[L]: the mean length of the base's hidden states at the end of a prompt, out of every block."""
    found = [np.linalg.norm(states_PLD, axis=-1) for states_PLD in _states(base, _ends(base, questions, prompter))]
    mean_L: Floats = np.concatenate(found).mean(axis=0)
    return mean_L


def mean_states(
    base: Base, pairs: Sequence[TokenizedExample], stack: HeadStack | None = None, head: str = BASE
) -> Floats:
    """[L, D]: what each block gives out, on average over the places where a completion's tokens are predicted."""
    totals = [(len(states_PLD), states_PLD.sum(axis=0)) for states_PLD in _states(base, pairs, stack, head)]
    mean_LD: Floats = np.sum([total_LD for _, total_LD in totals], axis=0) / sum(count for count, _ in totals)
    return mean_LD


def random_like(direction_D: Floats) -> Floats:
    """A random direction of the same length."""
    noise_D = np.random.default_rng(0).standard_normal(direction_D.shape)
    random_D: Floats = noise_D * (np.linalg.norm(direction_D) / np.linalg.norm(noise_D))
    return random_D


def cosines(one_LD: Floats, other_LD: Floats) -> list[float]:
    """The cosine of two directions in each block; 0 in one where either does not move anything."""
    norms_L = np.linalg.norm(one_LD, axis=-1) * np.linalg.norm(other_LD, axis=-1)
    return [float(value) for value in (one_LD * other_LD).sum(-1) / np.where(norms_L > 0, norms_L, 1)]


def _ends(base: Base, questions: Sequence[Question], prompter: Prompter) -> list[TokenizedExample]:
    """The questions' prompts, each with one token after it, which is not looked at."""
    contexts = [encode_question(base, question, prompter)[0].context for question in questions]
    return [TokenizedExample(context, context[:1]) for context in contexts]


def _states(
    base: Base, pairs: Sequence[TokenizedExample], stack: HeadStack | None = None, head: str = BASE
) -> Iterator[Floats]:
    """[P, L, D], some pairs at a time: hidden states at the places where tokens of their completions are predicted."""
    way = FLOAT32 if computes_in_float32(base.model) else STORED  # a head's shift is far below half precision
    for start in range(0, len(pairs), _ROWS):
        some = pairs[start : start + _ROWS]
        tokens = len(some) * max(len(pair.inputs) for pair in some)
        with way.reading(base.model, Rows(0, tokens, 1), Rows(0, tokens, 1)):
            outputs = block_outputs(base, some, stack, head)
        places = [(row, -place) for row, pair in enumerate(some) for place in range(len(pair.completion), 0, -1)]
        rows, columns = (torch.tensor(side, device=base.device) for side in zip(*places, strict=True))
        yield torch.stack([states_RTD[rows, columns].cpu().double() for states_RTD in outputs], dim=1).numpy()
