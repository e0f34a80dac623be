"""Scored candidates: a row of a table as a user reads it."""

from dataclasses import dataclass

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
        probability: That it is the right one of the candidates, if one of them is; None for a lone candidate, and
            where these heads are not calibrated, or for another weight, normalization, number of shots or prompt
            template (`Likra.calibrate`). Candidates with the same text are one, and have one probability.
    """

    text: str
    score: float
    positive: float
    negative: float | None
    base: float
    probability: float | None = None

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


def candidates(evaluation: Evaluation, calibration: Calibration | None = None) -> list[list[Candidate]]:
    """The scored candidates of every question of a table, in the order of its choices.

    Args:
        evaluation: The table, and how it is scored.
        calibration: What turns these scores into probabilities, if there is something.
    """
    table = evaluation.likelihoods
    scores_QC = evaluation.of_candidates[evaluation.best]
    negative_QC = table.head(evaluation.negative) if evaluation.negative else None
    positive_QC = table.head(evaluation.positive or BASE)
    probability_QC = calibration.probabilities(evaluation.scores[evaluation.best]) if calibration else None
    return [
        [
            Candidate(
                text=choice,
                score=float(scores_QC[row, place]),
                positive=float(positive_QC[row, place]),
                negative=None if negative_QC is None else float(negative_QC[row, place]),
                base=float(table.head(BASE)[row, place]),
                probability=None
                if probability_QC is None or not table.distinct_QC[row, : len(question.choices)].any()
                else float(probability_QC[row, table.distinct_QC[row, place]]),
            )
            for place, choice in enumerate(question.choices)
        ]
        for row, question in enumerate(table.questions)
    ]
