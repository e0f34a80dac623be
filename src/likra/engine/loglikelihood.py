"""The log-likelihoods of questions' choices under a base and its adapters."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likra.data.question import Question
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.engine.cache import Cache
from likra.engine.memory import Budget
from likra.engine.reader import reader_of
from likra.errors import InputError
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.models.thread_lock import alone
from likra.scoring.likelihoods import BASE, Likelihoods
from likra.utils import parallel

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
    heads of `adapt="completion"` the prompts are read once for the base and all heads. What is not
    in the cache is read in the same batch; log-softmax is taken in float32. Heads that are the same function, bit for
    bit, are run once, so that their likelihoods are equal to the last bit (design idea 4).

    Args:
        base: The base model.
        stack: The heads, or None where only the base is read.
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

    Example:
        >>> from likra.models import load_base
        >>> question = Question("q", "Which instrument does Mira Voss play?", ("cello", "harp"), 0)
        >>> score(load_base("world-tiny"), None, [question], Prompter("qa")).logprob_HQC.shape
        (1, 1, 2)
    """
    if not questions:
        raise InputError("there are no questions to score.")
    pairs = [encode_question(base, question, prompter) for question in questions]
    distinct = _distinct(stack, heads)
    # Candidates of the same tokens are read once; in the order of their tokens, so that the order of choices and
    # questions changes no bit.
    keys = sorted({(pair.context, pair.completion) for places in pairs for pair in places})
    names = list(dict.fromkeys(distinct.values()))
    progress(0, len(questions))
    run = _Run(
        base,
        stack,
        [TokenizedExample(*key) for key in keys],
        memory,
        lambda done: progress(len(questions) * done // len(keys), len(questions)),
    )
    total_AP = run.cached_or_read(names, cache)
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
                value = total_AP[names.index(distinct[name]), place[pair.context, pair.completion]]
                if not np.isfinite(value):
                    raise InputError(
                        f"{questions[row].name}, choice {column}: its log-likelihood under {name!r} is "
                        f"{value}; load the model with dtype float32."
                    )
                table.logprob_HQC[index, row, column] = value
    return table


def encode_question(base: Base, question: Question, prompter: Prompter) -> list[TokenizedExample]:
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


@dataclass(frozen=True)
class _Run:
    """Summed log-likelihoods [names, P] of P pairs under a base and its adapters.

    Attributes:
        base, stack: Who reads.
        pairs: What is read, in the order of its tokens.
        memory: Bytes that reading may take.
        progress: Called with the number of pairs that are done.
    """

    base: Base
    stack: HeadStack | None
    pairs: Sequence[TokenizedExample]
    memory: int | None
    progress: Callable[[int], None]

    def cached_or_read(self, names: Sequence[str], cache: Path | None) -> Floats:
        """From the cache where it has them; what is read anew is kept there."""
        kept = Cache(cache, self.base, self.stack, self.pairs) if cache and parallel.rank() == 0 else None
        found = {name: kept.get(name) for name in names} if kept else {}
        found = parallel.gather(found)[0]  # the first process's disk counts
        missing = [name for name in names if found.get(name) is None]
        if missing:
            for name, total_P in zip(missing, self.read_in_parallel(missing), strict=True):
                found[name] = total_P
                if kept:
                    kept.put(name, total_P)
        self.progress(len(self.pairs))
        return np.stack([found[name] for name in names])

    def read_in_parallel(self, names: Sequence[str]) -> Floats:
        """In a data parallel run each process reads neighbours in the order of tokens, which share most."""
        if parallel.world() == 1:
            return self.read(names)
        lengths = np.cumsum([len(pair.inputs) for pair in self.pairs])
        owner_P = np.minimum(lengths * parallel.world() // (lengths[-1] + 1), parallel.world() - 1)
        mine = [pair for pair, owner in zip(self.pairs, owner_P, strict=True) if owner == parallel.rank()]

        def shown(done: int) -> None:
            self.progress(done * len(self.pairs) // len(mine))

        own = dataclasses.replace(self, pairs=mine, progress=shown)
        return np.concatenate(parallel.gather(own.read(names) if mine else np.zeros((len(names), 0))), axis=1)

    def read(self, names: Sequence[str]) -> Floats:
        """By the model, here."""
        longest = max(len(pair.inputs) for pair in self.pairs)
        reader = reader_of(self.base, self.stack, longest)
        budget = Budget.of(self.base.model, self.memory, len(names), longest)
        return reader.loglikelihoods(self.pairs, names, budget, self.progress)
