"""Runs the base and its heads over questions: the engine behind every likelihood."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likra.errors import InputError
from likra.heads.base import Base
from likra.heads.stack import HeadStack
from likra.likelihood.packed import read_packed
from likra.likelihood.rows import read_rows
from likra.likelihood.table import BASE, Likelihoods
from likra.questions.prompts import Prompter
from likra.questions.question import Question
from likra.questions.tokens import TokenPair, encode_pairs
from likra.reading import can_share
from likra.reading.budget import Budget


def score(
    base: Base,
    stack: HeadStack | None,
    questions: Sequence[Question],
    prompter: Prompter,
    heads: Sequence[str] = (BASE,),
    *,
    memory: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    meta: dict[str, Any] | None = None,
) -> Likelihoods:
    """Log-likelihoods of every choice of every question under `heads`.

    Each distinct token is read once: what prompts and candidates have in common is one path of a prefix tree, and with
    heads of `activation="answer"` the prompts are read once for the base and all heads. All heads are in the same
    batch; log-softmax is taken in float32. Heads that are the same function, bit for bit, are run once, so that their
    likelihoods are equal to the last bit (design idea 4).

    Args:
        base: The base model.
        stack: The heads, or None where only the base is asked.
        questions: The questions; choices may differ in number.
        prompter: Words them.
        heads: Names of heads in `stack`, and `base` for the plain base.
        memory: Bytes that reading may take beside the model; default: a quarter of the free memory of a CPU, 60% of
            that of a GPU. Running out of memory halves what is read at once.
        progress: Called with (questions done, questions in all) after each batch.
        meta: Kept in the table.

    Raises:
        InputError: A candidate cannot be tokenized, is longer than the model's context, or a likelihood is not finite.
    """
    if not questions:
        raise InputError("there are no questions to judge.")
    pairs = [encode_question(base, question, prompter) for question in questions]
    distinct = _distinct(stack, heads)
    # Candidates of the same tokens are read once; in the order of their tokens, so that the order of choices and
    # questions changes no bit.
    keys = sorted({(pair.context, pair.completion) for places in pairs for pair in places})
    names = list(dict.fromkeys(distinct.values()))
    progress(0, len(questions))
    total_GP = _read(
        base,
        stack,
        [TokenPair(*key) for key in keys],
        names,
        memory,
        lambda done: progress(len(questions) * done // len(keys), len(questions)),
    )
    place = {key: index for index, key in enumerate(keys)}

    shape = (len(questions), max(len(question.choices) for question in questions))
    table = Likelihoods(
        tuple(heads),
        list(questions),
        np.full((len(heads), *shape), np.nan),
        np.zeros(shape, dtype=np.int64),
        np.zeros(shape, dtype=np.int64),
        dict(meta or {}),
    )
    for row, places in enumerate(pairs):
        for column, pair in enumerate(places):
            table.tokens_QC[row, column] = len(pair.completion)
            table.cut_QC[row, column] = pair.cut
            for index, name in enumerate(heads):
                value = total_GP[names.index(distinct[name]), place[pair.context, pair.completion]]
                if not np.isfinite(value):
                    raise InputError(
                        f"question {questions[row].id!r}, choice {column}: its log-likelihood under {name!r} is "
                        f"{value}; load the model with --dtype float32."
                    )
                table.logprob_HQC[index, row, column] = value
    return table


def encode_question(base: Base, question: Question, prompter: Prompter) -> list[TokenPair]:
    """Tokens of every choice of a question, with its prompt."""
    worded = prompter.pairs(question)
    completions: dict[str, list[str]] = {}
    for context, completion in worded:
        completions.setdefault(context, []).append(completion)
    try:
        encoded = {
            context: iter(encode_pairs(base.tokenizer, context, texts, base.max_length))
            for context, texts in completions.items()
        }
    except InputError as error:
        raise InputError(f"question {question.id!r}: {error}") from None
    return [next(encoded[context]) for context, _ in worded]


def _distinct(stack: HeadStack | None, heads: Sequence[str]) -> dict[str, str]:
    """For each head, the first of `base` and the heads that is the same function."""
    first: dict[str, str] = {}
    for name in heads:
        if name == BASE:
            first[name] = BASE
            continue
        if stack is None:
            raise InputError(f"no heads are loaded; {name!r} cannot be asked.")
        if stack.same(name, None):
            first[name] = BASE
        else:
            first[name] = next((other for other in first if other != BASE and stack.same(name, other)), name)
    return first


def _read(
    base: Base,
    stack: HeadStack | None,
    pairs: Sequence[TokenPair],
    names: Sequence[str],
    memory: int | None,
    progress: Callable[[int], None],
) -> NDArray[np.float64]:
    """Summed log-likelihoods [names, pairs]."""
    # The base comes first, as the packed reading expects.
    groups = sorted(names, key=lambda name: name != BASE)
    longest = max(len(pair.inputs) for pair in pairs)
    reader = read_packed if can_share(base.model, longest) else read_rows
    budget = Budget.of(base.model, memory, len(groups), longest)
    total_GP = reader(base, stack, pairs, groups, budget, progress)
    return total_GP[[groups.index(name) for name in names]]
