"""The log-likelihoods of questions' choices under a base and its adapters."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likra.data.conversation import Context
from likra.data.question import Question
from likra.data.templates import Prompter
from likra.data.tokens import TokenizedExample
from likra.engine.cache import Cache
from likra.engine.memory import Budget, out_of_memory
from likra.engine.precision import (
    ACCEPTED,
    FLOAT32,
    FLOAT64,
    STORED,
    WAYS,
    Way,
    choose,
    computes_in_float32,
    faithful,
    served,
)
from likra.engine.product_speed import ProductSpeed, is_small
from likra.engine.reader import reader_of
from likra.engine.tree import Tree
from likra.errors import InputError
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.models.thread_lock import alone
from likra.scoring.likelihoods import BASE, Likelihoods
from likra.scoring.rounding import TOO_ROUGH
from likra.scoring.rounding import rounding as rounding_of
from likra.utils import parallel

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

_SAMPLE = 8  # questions that rounding is measured on, at most
_REMEDY = "read it with precision float32, and where that is not enough load it with dtype float32"
_FEW = 100  # questions below which rounding in float32 is not measured


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
    progress: Progress = lambda done, total: None,
    meta: dict[str, Any] | None = None,
    encoded: Sequence[Sequence[TokenizedExample]] | None = None,
    measured: bool = True,
) -> Likelihoods:
    """Log-likelihoods of every choice of every question under `heads`.

    Each distinct token is read once: what prompts and candidates have in common is one path of a prefix tree, and with
    heads of `adapt="completion"` the prompts are read once for the base and all heads. What is not in the cache is read
    in the same batch, in the base's `precision`; log-softmax is taken in float32. Heads that are the same function, bit
    for bit, are run once, so that their likelihoods are equal to the last bit (design idea 4).

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
        meta: Kept in the table, beside `precision` (the way they were read, one of `likra.engine.precision.WAYS`) and
            `rounding` (`likra.scoring.rounding`, measured on some of the questions; None where it was not).
        encoded: `encode_question` of each question, where it is at hand.
        measured: Whether rounding may be measured. Where it may not, `auto` reads as `faithful` does.

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
    base.check_style(prompter.style)
    encoded = encoded or [encode_question(base, question, prompter) for question in questions]
    work = _Work(base, stack, questions, encoded, _distinct(stack, heads), memory, measured)
    progress(0, len(questions))
    values = _cached_or_read(work, cache, progress)
    progress(len(questions), len(questions))
    if values.rounding is not None and values.rounding > TOO_ROUGH:
        remedy = "these adapters say nearly the same; train them on more" if values.way == FLOAT32.name else _REMEDY
        logger.warning("rounding is %.0f%% of the ratio's spread: %s", 100 * values.rounding, remedy)
    return work.table(values, {**(meta or {}), "precision": values.way, "rounding": values.rounding})


def encode_question(base: Base, question: Question, prompter: Prompter) -> list[TokenizedExample]:
    """Tokens of every choice of a question, with its prompt."""
    worded = prompter.pairs(question)
    completions: dict[Context, list[str]] = {}
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
class _Work:
    """What is to be read.

    Attributes:
        base, stack: Who reads.
        questions: The questions.
        encoded: The tokens of their choices.
        same: For each adapter that was asked for, the one that is read in its place (`_distinct`).
        memory: Bytes that reading may take.
        measured: Whether rounding may be measured.
        tables: The likelihoods by the name of the way in which they were read here, where rounding is measured.
    """

    base: Base
    stack: HeadStack | None
    questions: Sequence[Question]
    encoded: Sequence[Sequence[TokenizedExample]]
    same: Mapping[str, str]
    memory: int | None
    measured: bool = True
    tables: dict[str, Likelihoods] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """Who is read."""
        return list(dict.fromkeys(self.same.values()))

    @cached_property
    def pairs(self) -> list[TokenizedExample]:
        """What is read: candidates of the same tokens once; in the order of their tokens, so that the order of choices
        and questions changes no bit."""
        keys = sorted({(pair.context, pair.completion) for places in self.encoded for pair in places})
        return [TokenizedExample(*key) for key in keys]

    @cached_property
    def num_tokens(self) -> int:
        """Distinct tokens."""
        return len(Tree.of([(pair.inputs, 0) for pair in self.pairs]))

    def sample(self, count: int) -> "_Work":
        """Some of the questions, evenly spaced."""
        rows = np.linspace(0, len(self.questions) - 1, count).astype(int).tolist()
        some = [self.questions[row] for row in rows], [self.encoded[row] for row in rows]
        return _Work(self.base, self.stack, *some, self.same, self.memory)

    def read(self, names: Sequence[str], way: Way, progress: Progress, pairs: Sequence[TokenizedExample]) -> Floats:
        """Log-likelihoods [names, P] of some pairs, read here."""
        longest = max(len(pair.inputs) for pair in pairs)
        reader = reader_of(self.base, self.stack, longest, way=way)
        budget = Budget.of(self.base.model, self.memory, len(names), longest)
        return reader.loglikelihoods(pairs, names, budget, lambda done: progress(done, len(pairs)))

    def read_in_parallel(self, names: Sequence[str], way: Way, progress: Progress) -> Floats:
        """In a data parallel run each process reads neighbours in the order of tokens, which share most."""
        if parallel.world() == 1:
            return self.read(names, way, progress, self.pairs)
        lengths = np.cumsum([len(pair.inputs) for pair in self.pairs])
        owner_P = np.minimum(lengths * parallel.world() // (lengths[-1] + 1), parallel.world() - 1)
        mine = [pair for pair, owner in zip(self.pairs, owner_P, strict=True) if owner == parallel.rank()]
        own = self.read(names, way, progress, mine) if mine else np.zeros((len(names), 0))
        return np.concatenate(parallel.gather(own), axis=1)

    def table(self, values: "_Values", meta: dict[str, Any]) -> Likelihoods:
        """The likelihoods of every choice.

        Raises:
            InputError: One is not finite.
        """
        place = {(pair.context, pair.completion): index for index, pair in enumerate(self.pairs)}
        exact = values.way in (FLOAT32.name, STORED.name)
        remedy = "load the model with dtype float32" if exact else "read it with precision float32"
        shape = (len(self.questions), max(len(question.choices) for question in self.questions))
        table = Likelihoods(
            tuple(self.same),
            list(self.questions),
            np.full((len(self.same), *shape), np.nan),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.int64),
            meta,
        )
        for row, places in enumerate(self.encoded):
            for column, pair in enumerate(places):
                table.tokens_QC[row, column] = len(pair.completion)
                table.cut_QC[row, column] = pair.cut
                for index, (name, read) in enumerate(self.same.items()):
                    value = values.of[read][place[pair.context, pair.completion]]
                    if not np.isfinite(value):
                        raise InputError(
                            f"{self.questions[row].name}, choice {column}: its log-likelihood under {name!r} is "
                            f"{value}; {remedy}."
                        )
                    table.logprob_HQC[index, row, column] = value
        return table


@dataclass(frozen=True)
class _Values:
    """Log-likelihoods [P] by who is read, the name of the way they were read, and its measured rounding."""

    of: Mapping[str, Floats]
    way: str
    rounding: float | None


def _cached_or_read(work: _Work, folder: Path | None, progress: Progress) -> _Values:
    """From the cache where it has them; what is read anew is kept there."""

    def shown(done: int, total: int) -> None:
        progress(len(work.questions) * done // total, len(work.questions))

    kept = Cache(folder, work.base, work.stack, work.pairs) if folder and parallel.rank() == 0 else None
    found = parallel.gather(_kept(work, kept) if kept else None)[0]  # the first process's disk counts
    if isinstance(found, _Values):
        return found
    way, rounding = parallel.gather(_chosen(work, folder) if parallel.rank() == 0 else None)[0]
    # What was read in float32 serves beside ways whose rounding needs no measuring, and beside no other.
    have: dict[str, Floats] = found if found and WAYS[way] in faithful(work.base.model) else {}
    missing = [name for name in work.names if name not in have]
    read = work.read_in_parallel(missing, WAYS[way], shown)
    for name, values_P in zip(missing, read, strict=True):
        have[name] = values_P
        if kept:
            kept.put(name, values_P, **_reading(work, WAYS[way]), rounding=rounding)
    return _Values(have, way, rounding)


def _kept(work: _Work, kept: Cache) -> "_Values | dict[str, Floats]":
    """What the cache has: all that is asked for, or some of it as read in float32, which serves beside any."""
    some: dict[str, Floats] = {}
    for way in served(work.base.model, work.base.precision, len(work.names)):
        all_of = {name: kept.get(name, **_reading(work, way)) for name in work.names}
        have = {name: entry for name, entry in all_of.items() if entry}
        if len(have) == len(work.names):
            known = [entry.rounding for entry in have.values() if entry.rounding is not None]
            share = max(known, default=None)
            accepted = share is not None and share <= ACCEPTED
            if accepted or work.base.precision != "auto" or way in faithful(work.base.model) or way is STORED:
                return _Values({name: entry.values for name, entry in have.items()}, way.name, share)
        if way is FLOAT32:
            some = {name: entry.values for name, entry in have.items()}
    return some


def _reading(work: _Work, way: Way) -> dict[str, Any]:
    """What likelihoods depend on by the way they are read: those beside them too, where it compares."""
    return {"way": way.name, "beside": work.names if way.compares else []}


def _chosen(work: _Work, folder: Path | None) -> tuple[str, float | None]:
    """The way to read, by the base's precision, and its measured rounding."""
    model, count = work.base.model, len(work.questions)
    if not computes_in_float32(model):
        return STORED.name, None
    small = work.sample(min(_SAMPLE, count // 8)) if count >= 16 and work.measured else None

    def measured(way: Way, exact: Way = FLOAT32, sample: _Work | None = small) -> float | None:
        return _rounding(sample, way, exact) if sample else None

    if work.base.precision in ("auto", "faithful") and is_small(model):
        way, rounding = FLOAT32, None
    else:
        speed = ProductSpeed(model, len(work.names), folder)
        way, rounding = choose(model, work.base.precision, len(work.names), speed.seconds, measured if small else None)
    if (
        way is FLOAT32 and count >= _FEW and work.measured and model.device.type == "cpu"
    ):  # many GPUs are slow in float64
        # float64 takes twice as long: only of so few that it is not felt.
        few = work.sample(min(_SAMPLE, count // (_FEW // 2)))
        if few.num_tokens * 20 <= work.num_tokens:
            rounding = measured(FLOAT32, FLOAT64, few)
    elif rounding is None and way is not FLOAT32:
        rounding = measured(way)
    return way.name, rounding


def _rounding(sample: _Work, way: Way, exact: Way) -> float | None:
    """What one way rounds away, against another; None where the model cannot be read so."""
    tables = []
    for one in (way, exact):
        try:
            if one.name not in sample.tables:
                read = sample.read(sample.names, one, lambda done, total: None, sample.pairs)
                values = _Values(dict(zip(sample.names, read, strict=True)), one.name, None)
                sample.tables[one.name] = sample.table(values, {})
            tables.append(sample.tables[one.name])
        except (RuntimeError, TypeError, ValueError, InputError) as error:
            if out_of_memory(error):
                raise
            logger.debug("reading in %s failed", one.name, exc_info=True)
            return None
    return rounding_of(*tables)
