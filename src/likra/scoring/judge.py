"""What makes scores and probabilities of a table: arithmetic, no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from likra.data.controls import CONTROLS, control
from likra.data.question import Question
from likra.data.templates import Prompter
from likra.data.unpaired import LoneCandidates
from likra.scoring.calibration import Calibration
from likra.scoring.calibration_error import CalibrationRecord
from likra.scoring.candidates import Candidate, candidates
from likra.scoring.config import Scoring
from likra.scoring.controls import Answers, Controls
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import NEGATIVE, POSITIVE, Likelihoods
from likra.scoring.scores import method_of
from likra.scoring.verification import Verification


@dataclass(frozen=True)
class Judge:
    """How the adapters of a Likra are scored with, unless asked otherwise; attributes as `Likra` has them.

    `labels` are those of the table that the adapters learned, if they learned one: a calibration is of choices between
    all of them.
    """

    heads: Sequence[str]
    weight: float
    style: str
    calibration: CalibrationRecord | None
    lone_calibration: CalibrationRecord | None = None
    labels: Sequence[str] = ()

    def evaluate(
        self,
        questions: Sequence[Question],
        prompter: Prompter,
        read: Callable[[Sequence[Prompter]], Sequence[Likelihoods]],
        scoring: Scoring | None = None,
        answers: Answers | None = None,
    ) -> Evaluation:
        """Scores and accuracies of some questions, with their controls where `answers` are given.

        Args:
            questions, prompter: The questions, and how they are worded.
            read: Gives the table of the questions in each of some wordings.
            scoring: How they are scored.
            answers: What the shallow control learns from.

        Raises:
            InputError: There can be no controls; nothing has been read then.
        """
        names = tuple(CONTROLS) if answers else ()
        table, *others = read([prompter, *(control(name, questions, prompter) for name in names)])
        found = self.evaluation(table, scoring)
        if answers is None:
            return found
        tables = {
            name: replace(other, meta={**other.meta, "control": name})
            for name, other in zip(names, others, strict=True)
        }
        return replace(found, controls=Controls(tables, answers))

    def verify(
        self,
        lone: LoneCandidates,
        read: Callable[[Sequence[Question], Sequence[Prompter]], Sequence[Likelihoods]],
        scoring: Scoring | None = None,
    ) -> Verification:
        """Unpaired records, judged.

        Args:
            lone: The records, and training records to choose thresholds on.
            read: Gives the table of some questions in each of some wordings.
            scoring: How they are scored.
        """
        method_of(self.heads, (scoring or Scoring()).method)
        table, alone = (
            replace(table, meta={**table.meta, "labels": list(lone.labels)})
            for table in read(lone.questions, [lone.prompter, lone.alone])
        )
        found = self._verification(table.rows(0, lone.judged), alone.rows(0, lone.judged), scoring)
        if lone.judged == len(lone.questions):
            return found
        reference = self._verification(table.rows(lone.judged), alone.rows(lone.judged), scoring)
        return replace(found, reference=reference)

    def _verification(self, table: Likelihoods, alone: Likelihoods, scoring: Scoring | None) -> Verification:
        own, style = self.evaluation(table, scoring), table.meta.get("style")
        how = (own.positive, own.negative, own.weight, own.normalization, own.method)
        return Verification(table, alone, *how, calibration=self.probable(scoring, style=style, lone=True))

    def evaluation(self, table: Likelihoods, scoring: Scoring | None = None) -> Evaluation:
        """Scores and accuracies of a table."""
        own = scoring or Scoring()
        method_of(self.heads, own.method)
        positive, negative = (name if name in self.heads else None for name in (POSITIVE, NEGATIVE))
        return Evaluation(table, positive, negative, own.weight_or(self.weight), own.normalization, own.method)

    def candidates(self, table: Likelihoods, scoring: Scoring | None = None) -> list[list[Candidate]]:
        """The scored candidates of every question of a table."""
        scores = (scoring, table.meta.get("shots", 0), table.meta.get("style"))
        calibrations = self.probable(*scores), self.probable(*scores, lone=True)
        least = scoring.min_confidence if scoring else None
        return candidates(self.evaluation(table, scoring), *calibrations, least, self.labels)

    def probable(
        self, scoring: Scoring | None = None, shots: int = 0, style: str | None = None, *, lone: bool = False
    ) -> Calibration | None:
        """What turns such scores into probabilities, if there is something; default: the scores of `Likra.score`.

        Args:
            scoring, shots, style: The scores.
            lone: Whether into P(right) of each candidate by itself, instead of that of the one right choice.
        """
        record, asked = self.lone_calibration if lone else self.calibration, scoring or Scoring()
        own = record.calibration if record else None
        scored_by = None if method_of(self.heads, asked.method) == method_of(self.heads) else asked.method
        scores = (asked.weight_or(self.weight), asked.normalization, shots, style or self.style, scored_by)
        return own if own and own.of(*scores) else None
