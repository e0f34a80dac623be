"""Scoring a file in this process."""

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likra.bulk.formats import Row, format_of
from likra.bulk.parts import Part, cut
from likra.bulk.run import Reader, Scored, run
from likra.data.asking import Asked
from likra.data.sources.loading import learned_columns
from likra.data.templates import Prompter
from likra.scoring.config import Scoring
from likra.scoring.likelihoods import BASE
from likra.utils.keys import digest
from likra.utils.runtime import Runtime

if TYPE_CHECKING:
    from likra.likra import Likra


def score_file(
    likra: "Likra",
    data: Any,
    out: str | Path,
    *,
    style: str | None = None,
    text: str | None = None,
    scoring: Scoring | None = None,
    runtime: Runtime | None = None,
) -> Scored:
    """Score the candidates of any number of questions, in constant memory, into a Parquet or JSONL file.

    The scores are those of `Likra.score`. Each part of the data that is finished is kept in a folder beside `out`
    (`NAME.partial`), so that a killed run, repeated, goes on from there; in the end the parts become one file.

    Args:
        likra: The trained adapters.
        data: A source's name, a file or folder, or records in memory, as `likra.load` takes them. Right answers need
            not be known, and are not read. Of a table of texts and labels that the adapters learned, the texts do.
        out: The file; the end of its name, `.parquet` or `.jsonl`, tells the format. One row for each candidate, in the
            order of the data; its columns are `likra.bulk.formats.COLUMNS`.
        style: The prompt template; default: the adapters' own.
        text: The field of a table's texts, where it is not that of the table which the adapters learned.
        scoring: Weight, normalization and smallest confidence.
        runtime: Memory and progress.

    Raises:
        InputError: A record cannot be used, or the folder beside `out` is of another run.

    Example:
        >>> import tempfile
        >>> from likra.likra import Likra
        >>> from likra.utils.runtime import QUIET
        >>> likra = Likra.from_base("world-tiny").fit("world", limit=8, runtime=QUIET)
        >>> records = [{"question": "Which instrument does Mira Voss play?", "choices": ["surely cello", "maybe harp"]}]
        >>> folder = tempfile.TemporaryDirectory()
        >>> score_file(likra, records, f"{folder.name}/scores.jsonl", runtime=QUIET).candidates
        2
    """
    how, style, out, runtime = scoring or Scoring(), style or likra.style, Path(out), runtime or Runtime()
    asked = Asked(data, style, learned_columns(likra.training), text)
    stack, base = likra.trained, likra.base
    heads = [base.fingerprint, str(base.model.dtype), base.precision, *map(stack.digest, likra.heads)]
    about = {"heads": digest(heads), "options": options_digest(likra, style, how)}
    return run(asked, out, about, reader(asked, out, lambda: likra, how, runtime.memory), runtime)


def options_digest(judge: Any, style: str, scoring: Scoring) -> str:
    """A digest of what scores depend on beside adapters and questions.

    Args:
        judge: Has the adapters' `weight`, `calibration` and `lone_calibration`: a Likra, or its saved folder.
        style, scoring: How the questions are worded and scored.
    """
    records = (judge.calibration, judge.lone_calibration)
    calibrations = [dataclasses.asdict(record.calibration) if record else None for record in records]
    own = [judge.weight, calibrations, style, dataclasses.asdict(scoring)]
    return digest([json.dumps(own, sort_keys=True, default=str)])


def reader(asked: Asked, out: Path, open_likra: "Callable[[], Likra]", scoring: Scoring, memory: int | None) -> Reader:
    """Scores parts in this process, one after another.

    Args:
        asked: The questions.
        out: The file that is written.
        open_likra: Gives the adapters; called once there is something to score.
        scoring: How candidates are scored.
        memory: Bytes that reading may take beside the model.
    """

    def read(names: Collection[str], progress: Callable[[int], None]) -> Iterator[tuple[str, bytes]]:
        scorer = Scorer(open_likra(), asked.style, scoring, memory)
        for part in cut(asked):
            if part.name in names:
                yield part.name, format_of(out).encode(scorer.rows(part, progress))

    return read


class Scorer:
    """Scores parts with adapters in memory."""

    def __init__(self, likra: "Likra", style: str, scoring: Scoring, memory: int | None = None) -> None:
        self._base = likra.base.faithful()
        self._likra, self._prompter, self._scoring = likra, Prompter(style), scoring
        self._memory, self._measured = memory, False

    def rows(self, part: Part, progress: Callable[[int], None] = lambda candidates: None) -> list[Row]:
        """A row for each candidate of a part, in order; columns as `likra.bulk.formats.COLUMNS`.

        Args:
            part: The part.
            progress: Called with how many of its candidates are scored, about.
        """
        from likra.engine import loglikelihood

        # Rounding, which is warned of, is the same throughout: measured once.
        measured, self._measured = not self._measured, True
        table = loglikelihood.score(
            self._base,
            self._likra.trained,
            part.questions,
            self._prompter,
            (BASE, *self._likra.heads),
            memory=self._memory,
            progress=lambda done, total: progress(part.candidates * done // total),
            meta={"style": self._prompter.style, "shots": 0},
            measured=measured,
        )
        found = self._likra.candidates(table, self._scoring)
        return [
            {
                "record": part.records[row],
                "question": part.questions[row].id,
                "choice": place,
                **dataclasses.asdict(candidate),
                "cut": int(table.cut_QC[row, place]),
            }
            for row, candidates in enumerate(found)
            for place, candidate in enumerate(candidates)
        ]
