"""How likely the mined answers are under the base, beside the right ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from likra.heads.base import Base
from likra.likelihood.engine import score
from likra.likelihood.table import BASE, Floats, Likelihoods
from likra.mining.mine import RIGHT, Mined
from likra.questions.prompts import Prompter

_Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Interval:
    """A mean over questions with its 95% interval by the normal approximation (NaN ends for a single question)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values_Q: Floats) -> "Interval":
        mean = float(values_Q.mean())
        spread = math.nan if len(values_Q) < 2 else _Z95 * float(values_Q.std(ddof=1)) / math.sqrt(len(values_Q))
        return cls(mean, mean - spread, mean + spread)


@dataclass(frozen=True)
class KindLikelihood:
    """How likely the answers of one kind are under the base.

    Attributes:
        kind: `right`, `sampled` or `similar`.
        answers: Number of answers.
        questions: Number of questions that have some. What is below is the mean over these of the mean over a
            question's answers of the kind, with its interval over questions.
        per_answer: Log-likelihood of a whole answer, nats.
        per_token: The same divided by the answer's tokens.
    """

    kind: str
    answers: int
    questions: int
    per_answer: Interval
    per_token: Interval


def kind_likelihoods(
    base: Base,
    mined: Mined,
    prompter: Prompter,
    *,
    memory: int | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[KindLikelihood]:
    """How likely the right answers and each kind of mined ones are under the base; kinds without answers are left out.

    Args:
        base: The model that was mined.
        mined: What was found.
        prompter: Words the questions.
        memory, cache, progress: As for `likra.likelihood.engine.score`.
    """
    table = score(base, None, mined.questions, prompter, memory=memory, cache=cache, progress=progress)
    return likelihoods_by_origin(table, mined)


def likelihoods_by_origin(table: Likelihoods, mined: Mined) -> list[KindLikelihood]:
    """`kind_likelihoods` of a table that is at hand."""
    logprob_QC = table.head(BASE)
    rows = []
    for kind in (RIGHT, *mined.kinds):
        of_QC = np.zeros(logprob_QC.shape, dtype=bool)
        for row, origins in enumerate(mined.origins):
            of_QC[row, : len(origins)] = [origin == kind for origin in origins]
        if not of_QC.any():
            continue
        some_Q = of_QC.any(axis=1)
        answers = np.where(of_QC, logprob_QC, np.nan)[some_Q]
        tokens = table.tokens_QC[some_Q]
        rows.append(
            KindLikelihood(
                kind,
                int(of_QC.sum()),
                int(some_Q.sum()),
                Interval.of(np.nanmean(answers, axis=1)),
                Interval.of(np.nanmean(answers / np.maximum(tokens, 1), axis=1)),
            )
        )
    return rows
