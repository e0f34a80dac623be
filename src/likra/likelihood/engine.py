"""Runs the base and its heads over questions: the engine behind every likelihood."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likra import parallel
from likra.errors import InputError
from likra.heads.base import Base
from likra.heads.stack import HeadStack
from likra.likelihood.cache import Cache
from likra.likelihood.packed import read_packed
from likra.likelihood.rows import read_rows
from likra.likelihood.table import BASE, Likelihoods
from likra.questions.prompts import Prompter
from likra.questions.question import Question
from likra.questions.tokens import TokenPair
from likra.reading import can_share
from likra.reading.budget import Budget
from likra.reading.turns import alone

Floats = NDArray[np.float64]


@alone(lambda base, *_, **__: base.model)
def score(
    base: Base,
    stack: HeadStack | None,
    questions: Sequence[Question],
    prompter: Prompter,
    heads: Sequence[str] = (BASE,),
    *,
    memory: int | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    meta: dict[str, Any] | None = None,
) -> Likelihoods:
    """Log-likelihoods of every choice of every question under `heads`.

    Each distinct token is read once: what prompts and candidates have in common is one path of a prefix tree, and with
    heads of `activation="answer"` the prompts are read once for the base and all heads. What is not
    in the cache is read in the same batch; log-softmax is taken in float32. Heads that are the same function, bit for
    bit, are run once, so that their likelihoods are equal to the last bit (design idea 4).

    Args:
        base: The base model.
        stack: The heads, or None where only the base is asked.
        questions: The questions; choices may differ in number.
        prompter: Words them.
        heads: Names of heads in `stack`, and `base` for the plain base.
        memory: Bytes that reading may take beside the model; default: a quarter of the free memory of a CPU, 60% of
            that of a GPU. Running out of memory halves what is read at once.
        cache: Folder in which likelihoods are kept by content, so that what was read once is not read again.
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
    total_GP = _kept_or_read(
        base,
        stack,
        [TokenPair(*key) for key in keys],
        names,
        memory,
        cache,
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
                        f"{questions[row].name}, choice {column}: its log-likelihood under {name!r} is "
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
        encoded = {context: iter(base.encode_pairs(context, texts)) for context, texts in completions.items()}
    except InputError as error:
        raise InputError(f"{question.name}: {error}") from None
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


def _kept_or_read(
    base: Base,
    stack: HeadStack | None,
    pairs: Sequence[TokenPair],
    names: Sequence[str],
    memory: int | None,
    cache: Path | None,
    progress: Callable[[int], None],
) -> Floats:
    """Summed log-likelihoods [names, pairs], from the cache where it has them."""
    kept = Cache(cache, base, stack, pairs) if cache and parallel.rank() == 0 else None
    found = {name: kept.get(name) for name in names} if kept else {}
    found = parallel.gather(found)[0]  # the first process's disk counts
    missing = [name for name in names if found.get(name) is None]
    if missing:
        read = _read_in_parallel(base, stack, pairs, missing, memory, progress)
        for name, total_P in zip(missing, read, strict=True):
            found[name] = total_P
            if kept:
                kept.put(name, total_P)
    progress(len(pairs))
    return np.stack([found[name] for name in names])


def _read_in_parallel(
    base: Base,
    stack: HeadStack | None,
    pairs: Sequence[TokenPair],
    names: Sequence[str],
    memory: int | None,
    progress: Callable[[int], None],
) -> Floats:
    """As `_read`; in a data parallel run each process reads neighbours in the order of tokens, which share most."""
    if parallel.world() == 1:
        return _read(base, stack, pairs, names, memory, progress)
    lengths = np.cumsum([len(pair.inputs) for pair in pairs])
    share = np.minimum(lengths * parallel.world() // (lengths[-1] + 1), parallel.world() - 1)
    mine = [pair for pair, owner in zip(pairs, share, strict=True) if owner == parallel.rank()]

    def shown(done: int) -> None:
        progress(done * len(pairs) // len(mine))

    total_GP = _read(base, stack, mine, names, memory, shown) if mine else np.zeros((len(names), 0))
    return np.concatenate(parallel.gather(total_GP), axis=1)


def _read(
    base: Base,
    stack: HeadStack | None,
    pairs: Sequence[TokenPair],
    names: Sequence[str],
    memory: int | None,
    progress: Callable[[int], None],
) -> Floats:
    """Summed log-likelihoods [names, pairs]."""
    # The base comes first, as the packed reading expects.
    groups = sorted(names, key=lambda name: name != BASE)
    longest = max(len(pair.inputs) for pair in pairs)
    reader = read_packed if can_share(base.model, longest) else read_rows
    budget = Budget.of(base.model, memory, len(groups), longest)
    total_GP = reader(base, stack, pairs, groups, budget, progress)
    return total_GP[[groups.index(name) for name in names]]
