"""How likely the hard negatives are under the base, beside the right answers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from likra.data.templates import Prompter
from likra.engine.loglikelihood import score
from likra.mining.mine import RIGHT, Mined
from likra.models.base import Base
from likra.scoring.estimate import Z95, Estimate
from likra.scoring.likelihoods import BASE, Floats, Likelihoods


@dataclass(frozen=True)
class KindLikelihood:
    """How likely the answers of one kind are under the base.

    Attributes:
        kind: `right`, `sampled` or `similar`.
        answers: Number of answers.
        questions: Number of questions that have some. The two numbers below are means over these questions, each of
            the mean over a question's answers of the kind, with intervals over questions.
        per_answer: Log-likelihood of a whole answer, nats.
        per_token: The same divided by the answer's tokens.
    """

    kind: str
    answers: int
    questions: int
    per_answer: Estimate
    per_token: Estimate


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
        mined: The result of `mine`.
        prompter: Words the questions.
        memory, cache, progress: As for `likra.engine.loglikelihood.score`.
    """
    table = score(base, None, mined.questions, prompter, memory=memory, cache=cache, progress=progress)
    return likelihoods_by_origin(table, mined)


def likelihoods_by_origin(table: Likelihoods, mined: Mined) -> list[KindLikelihood]:
    """`kind_likelihoods` from a table of the mined questions under the base."""
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
                _mean(np.nanmean(answers, axis=1)),
                _mean(np.nanmean(answers / np.maximum(tokens, 1), axis=1)),
            )
        )
    return rows


def _mean(values_Q: Floats) -> Estimate:
    """The mean over questions with its interval by the normal approximation; NaN ends for a single question."""
    mean = float(values_Q.mean())
    spread = math.nan if len(values_Q) < 2 else Z95 * float(values_Q.std(ddof=1)) / math.sqrt(len(values_Q))
    return Estimate(mean, mean - spread, mean + spread, len(values_Q))
