"""Scored candidates: a row of a table as a user reads it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from likra.data.canonical import same_texts
from likra.errors import InputError
from likra.scoring.abstention import NO_PROBABILITY
from likra.scoring.calibration import Calibration
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import BASE


@dataclass(frozen=True)
class Candidate:
    """One scored candidate; log-likelihoods in nats, summed over the candidate's tokens.

    Attributes:
        text: The candidate.
        score: The number that candidates are ranked by: L+ - w * L-, or another method's (`Scoring.method`); divided by
            length if a normalization was asked for.
        positive: L+: log-likelihood under the positive head (under the base for Base-Likra).
        negative: L-: log-likelihood under the negative head, None for SFT.
        base: Log-likelihood under the untrained base.
        probability: That it is the right one of the candidates, if one of them is. Of a lone candidate, and with
            heads that were calibrated on unpaired data alone: that it is right by itself. None where these heads are
            not calibrated so (`Likra.calibrate`), for another weight, normalization, number of shots or prompt
            template than the calibration's, and for other choices than the labels of the table that they learned from.
            Candidates with the same text are one, and have one probability.
        withheld: Whether it is less probably right than was asked for (`Scoring.min_confidence`).
    """

    text: str
    score: float
    positive: float
    negative: float | None
    base: float
    probability: float | None = None
    withheld: bool = False

    def is_sure(self, min_confidence: float | None) -> bool:
        """Whether to answer with this candidate, the best, or to abstain; always to answer without `min_confidence`.

        Raises:
            InputError: There is no probability to go by.
        """
        if min_confidence is None:
            return True
        if self.probability is None:
            raise InputError(NO_PROBABILITY)
        return self.probability >= min_confidence


def candidates(
    evaluation: Evaluation,
    calibration: Calibration | None = None,
    lone: Calibration | None = None,
    min_confidence: float | None = None,
    labels: Sequence[str] = (),
) -> list[list[Candidate]]:
    """The scored candidates of every question of a table, in the order of its choices.

    Args:
        evaluation: The table, and how it is scored.
        calibration: What turns these scores into the probability to be the right choice, if there is something.
        lone: What turns them into the probability to be right by itself; for lone candidates, and for all where there
            is no `calibration`.
        min_confidence: Candidates below this probability are withheld.
        labels: What the calibration chose between, where that was always the same (a table's labels): other choices
            have no probability to be the right one.

    Raises:
        InputError: `min_confidence` is given, and a candidate has no probability to go by.
    """
    table = evaluation.likelihoods
    scores_QC, once_QC = evaluation.of_candidates[evaluation.best], evaluation.scores[evaluation.best]
    negative_QC = table.head(evaluation.negative) if evaluation.negative else None
    positive_QC = table.head(evaluation.positive or BASE)
    among_QC, alone_QC = (one.probabilities(once_QC) if one else None for one in (calibration, lone))
    found = []
    for row, question in enumerate(table.questions):
        several = table.distinct_QC[row, : len(question.choices)].any()
        probable_QC = among_QC if several and among_QC is not None else alone_QC
        if probable_QC is among_QC and labels and not same_texts(question.choices, labels):
            probable_QC = None
        of_question = []
        for place, choice in enumerate(question.choices):
            one = Candidate(
                text=choice,
                score=float(scores_QC[row, place]),
                positive=float(positive_QC[row, place]),
                negative=None if negative_QC is None else float(negative_QC[row, place]),
                base=float(table.head(BASE)[row, place]),
                probability=None if probable_QC is None else float(probable_QC[row, table.distinct_QC[row, place]]),
            )
            of_question.append(replace(one, withheld=not one.is_sure(min_confidence)))
        found.append(of_question)
    return found
