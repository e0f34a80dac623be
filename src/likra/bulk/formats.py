"""The files that scores are written to: Parquet or JSONL, one row for each candidate."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from likra.errors import InputError

Row = Mapping[str, Any]

#: Column -> its type in Parquet. The first three say which candidate a row is of: the number of its record in the data
#: from 0, its question's id, and its place among the choices from 0. `cut` is how many tokens its prompt lost because
#: it was too long; the others are those of `likra.scoring.candidates.Candidate`.
COLUMNS = {
    "record": "int64",
    "question": "string",
    "choice": "int64",
    "text": "string",
    "score": "float64",
    "positive": "float64",
    "negative": "float64",
    "base": "float64",
    "probability": "float64",
    "withheld": "bool",
    "cut": "int64",
}
_TOGETHER = 16_384  # rows of a row group in Parquet: a reader's step, and what joining holds in memory


class Format(Protocol):
    """A kind of file."""

    def encode(self, rows: Sequence[Row]) -> bytes:
        """A file of some rows."""

    def join(self, parts: Iterable[Path], out: Path) -> None:
        """One file of the rows of several, in constant memory."""


class Jsonl:
    """One JSON object a line."""

    def encode(self, rows: Sequence[Row]) -> bytes:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()

    def join(self, parts: Iterable[Path], out: Path) -> None:
        with out.open("wb") as file:
            for part in parts:
                file.write(part.read_bytes())


class Parquet:
    """Columns of fixed types, whatever the rows have."""

    def encode(self, rows: Sequence[Row]) -> bytes:
        import pyarrow as pa
        from pyarrow import parquet

        file = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(list(rows), self._schema()), file)
        return file.getvalue()

    def join(self, parts: Iterable[Path], out: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        waiting: list[Any] = []
        with parquet.ParquetWriter(out, self._schema()) as writer:
            for part in parts:
                waiting.append(parquet.read_table(io.BytesIO(part.read_bytes())))
                if sum(table.num_rows for table in waiting) >= _TOGETHER:
                    writer.write_table(pa.concat_tables(waiting).combine_chunks())
                    waiting.clear()
            if waiting:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())

    def _schema(self) -> Any:
        import pyarrow as pa

        return pa.schema([(name, getattr(pa, "bool_" if kind == "bool" else kind)()) for name, kind in COLUMNS.items()])


#: End of a file's name -> its format.
FORMATS: dict[str, Format] = {".parquet": Parquet(), ".jsonl": Jsonl()}


def format_of(out: Path) -> Format:
    """The format of a file, by the end of its name.

    Raises:
        InputError: It is none of `FORMATS`.
    """
    if out.suffix not in FORMATS:
        raise InputError(f"{out}: scores are written as Parquet or JSONL; let its name end in {' or '.join(FORMATS)}.")
    return FORMATS[out.suffix]
