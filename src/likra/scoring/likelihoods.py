"""`Likelihoods`: log-likelihoods of candidates under each adapter. Everything else is arithmetic on this table."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likra.data.canonical import canonical
from likra.data.question import Question
from likra.data.templates import scored_texts
from likra.errors import InputError
from likra.utils.files import new_file

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Names of the columns: the plain base, and the two adapters of a Likra. Nothing else names these roles.
BASE, POSITIVE, NEGATIVE = "base", "positive", "negative"
_META = b"likra"
_COLUMNS = ("question", "choice", "text", "right", "tokens", "characters", "bytes", "cut")
_HEAD = "logprob:"


def rounding_in(path: Path) -> float | None:
    """The rounding that was measured as a saved table was read, without reading the table; None where it was not."""
    from pyarrow import parquet

    meta = parquet.read_schema(path).metadata or {}
    return json.loads(meta[_META]).get("rounding") if _META in meta else None


@dataclass
class Likelihoods:
    """Log-likelihoods of every candidate of every question under every adapter ("head").

    Shapes: H heads (the plain base counts as one, named `base`), Q questions, C the largest number of candidates.
    Places of a question with fewer candidates hold NaN (0 in the integer arrays).

    Candidates with the same text (`likra.data.canonical.canonical`) are one answer, which is right if one of them is.
    Each has its own likelihoods here; scoring goes by `distinct_QC` and `once`.

    Attributes:
        heads: Names, in the order of the first axis.
        questions: The questions that were scored.
        logprob_HQC: Natural log of the probability of the candidate's tokens after its prompt, summed over its tokens.
        tokens_QC: Tokens of each candidate.
        cut_QC: Tokens cut from the left of the candidate's prompt, because prompt and candidate overran the context.
        meta: What else is known of the run (model, prompt style, ...), JSON-able. Of unpaired records `labels`:
            whether the one candidate of each question is right.

    >>> gas = Question("1", "Which gas?", ("oxygen", "argon"), 0)
    >>> logprob = np.array([[[-3.0, -2.0]], [[-1.0, -4.0]]])
    >>> table = Likelihoods(("base", "positive"), [gas], logprob, np.array([[1, 2]]), np.zeros((1, 2), dtype=int))
    >>> table.head("positive").tolist(), table.answers_Q.tolist(), table.characters_QC.tolist()
    ([[-1.0, -4.0]], [0], [[6, 5]])
    """

    heads: tuple[str, ...]
    questions: list[Question]
    logprob_HQC: Floats
    tokens_QC: Ints
    cut_QC: Ints
    meta: dict[str, Any] = field(default_factory=dict)

    def head(self, name: str) -> Floats:
        """[Q, C] log-likelihoods under one adapter, or under the base.

        Raises:
            InputError: The table does not have it.
        """
        if name not in self.heads:
            raise InputError(f"the table has no head {name!r}; it has {', '.join(self.heads)}.")
        logprob_QC: Floats = self.logprob_HQC[self.heads.index(name)]
        return logprob_QC

    @property
    def answers_Q(self) -> Ints:
        """Index of the first candidate with the right text of each question, -1 where it is not known."""
        return np.array(
            [-1 if q.answer is None else self.distinct_QC[row, q.answer] for row, q in enumerate(self.questions)],
            dtype=np.int64,
        )

    @cached_property
    def distinct_QC(self) -> Ints:
        """Index of the first candidate of the same question with the same text: its own, but for copies."""
        first_QC = np.tile(np.arange(self.tokens_QC.shape[1]), (len(self.questions), 1))
        for row, question in enumerate(self.questions):
            first: dict[str, int] = {}
            for place, choice in enumerate(question.choices):
                first_QC[row, place] = first.setdefault(canonical(choice), place)
        return first_QC

    def once(self, scores_QC: Floats) -> Floats:
        """Scores [..., Q, C] of answers instead of candidates: the first with a text has the best score of all its
        copies, which hold NaN, as places without a candidate do. (Copies differ only in the style `verbatim`, where
        the space at an end of a text is read, and in `options`, where each has its own letter.)
        """
        copy_QC = self.distinct_QC != np.arange(self.distinct_QC.shape[1])
        once_QC = np.where(copy_QC, np.nan, scores_QC)
        for row, place in np.argwhere(copy_QC):
            first = (..., row, self.distinct_QC[row, place])
            once_QC[first] = np.fmax(once_QC[first], scores_QC[..., row, place])
        return once_QC

    @property
    def characters_QC(self) -> Ints:
        """[Q, C] characters of what is scored of each candidate (in `options` a letter), less the space before."""
        return self._lengths(len)

    @property
    def bytes_QC(self) -> Ints:
        """[Q, C] UTF-8 bytes of each candidate, likewise."""
        return self._lengths(lambda choice: len(choice.encode()))

    def _lengths(self, measure: Callable[[str], int]) -> Ints:
        style = self.meta.get("style", "")
        lengths = np.zeros(self.tokens_QC.shape, dtype=np.int64)
        for row, question in enumerate(self.questions):
            lengths[row, : len(question.choices)] = [measure(text) for text in scored_texts(style, question)]
        return lengths

    @property
    def rounding(self) -> str:
        """How they were read and what rounding amounts to, in words; empty where it is not known."""
        if not (way := self.meta.get("precision")):
            return ""
        share = self.meta.get("rounding")
        return (
            f"read in {way}" if share is None else f"rounding: {100 * share:.2g}% of the ratio's spread (read in {way})"
        )

    def rows(self, start: int, stop: int | None = None) -> "Likelihoods":
        """The table of some of its questions, which follow one another."""
        some = slice(start, stop)
        size = max((len(question.choices) for question in self.questions[some]), default=0)
        meta = dict(self.meta)
        if "labels" in meta:
            meta["labels"] = meta["labels"][some]
        return Likelihoods(
            self.heads,
            self.questions[some],
            self.logprob_HQC[:, some, :size],
            self.tokens_QC[some, :size],
            self.cut_QC[some, :size],
            meta,
        )

    @property
    def questions_cut(self) -> int:
        """Number of questions that lost part of a prompt."""
        return int((self.cut_QC > 0).any(axis=1).sum())

    def save(self, path: Path) -> None:
        """Write the table as Parquet: one row per candidate, one column `logprob:NAME` per head."""
        import pyarrow as pa
        from pyarrow import parquet

        places = [(row, place) for row, q in enumerate(self.questions) for place in range(len(q.choices))]
        rows, columns = np.array([row for row, _ in places]), np.array([place for _, place in places])
        data: dict[str, Any] = {
            "question": [self.questions[row].id for row in rows],
            "choice": columns,
            "text": [self.questions[row].choices[place] for row, place in places],
            "right": [
                None if answer < 0 else bool(answer == distinct)
                for answer, distinct in zip(self.answers_Q[rows], self.distinct_QC[rows, columns], strict=True)
            ]
            if "labels" not in self.meta
            else self.meta["labels"],
            "tokens": self.tokens_QC[rows, columns],
            "characters": self.characters_QC[rows, columns],
            "bytes": self.bytes_QC[rows, columns],
            "cut": self.cut_QC[rows, columns],
        }
        for index, name in enumerate(self.heads):
            data[f"{_HEAD}{name}"] = self.logprob_HQC[index, rows, columns]
        table = pa.table(data)
        meta = {**self.meta, "questions": [[q.id, q.text, q.group] for q in self.questions]}
        table = table.replace_schema_metadata({_META: json.dumps(meta).encode()})
        with new_file(path) as work:
            parquet.write_table(table, work)

    @classmethod
    def load(cls, path: Path) -> "Likelihoods":
        """Read a table that `save` wrote.

        Raises:
            InputError: The file is missing or is not such a table.
        """
        import pyarrow as pa
        from pyarrow import parquet

        try:
            table = parquet.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path}: is not a readable Parquet file ({str(error).splitlines()[0]}).") from None
        missing = [name for name in _COLUMNS if name not in table.column_names]
        if missing or _META not in (table.schema.metadata or {}):
            raise InputError(f"{path}: is not a table of likelihoods; Likelihoods.save writes them.")
        meta = json.loads(table.schema.metadata[_META])
        identities = meta.pop("questions")
        data = table.to_pydict()
        starts = [index for index, choice in enumerate(data["choice"]) if choice == 0] + [table.num_rows]
        questions = []
        for (identity, text, *group), (start, end) in zip(identities, itertools.pairwise(starts), strict=True):
            right = data["right"][start:end]
            answer = right.index(True) if True in right and "labels" not in meta else None
            questions.append(Question(identity, text, tuple(data["text"][start:end]), answer, *group))
        heads = tuple(name.removeprefix(_HEAD) for name in table.column_names if name.startswith(_HEAD))
        shape = (len(questions), max(len(q.choices) for q in questions))
        result = cls(
            heads,
            questions,
            np.full((len(heads), *shape), np.nan),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.int64),
            meta,
        )
        for row, (start, end) in enumerate(itertools.pairwise(starts)):
            result.tokens_QC[row, : end - start] = data["tokens"][start:end]
            result.cut_QC[row, : end - start] = data["cut"][start:end]
            for index, name in enumerate(heads):
                result.logprob_HQC[index, row, : end - start] = data[f"{_HEAD}{name}"][start:end]
        return result
