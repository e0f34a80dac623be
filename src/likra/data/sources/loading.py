"""Loading a source by its name, its address on the hub, or its path."""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from likra.data.sources.benchmarks import HUB, arc_paper
from likra.data.sources.collect import collect
from likra.data.sources.files import Located, file_records, folder_records, holds_data
from likra.data.sources.hub import hub_records
from likra.data.sources.memory import NAME, is_records, memory_records
from likra.data.sources.restyle import restyled
from likra.data.sources.source import Columns, Source
from likra.data.sources.splits import split_of
from likra.data.sources.table import table_form
from likra.data.templates import template
from likra.errors import InputError, UnknownForm
from likra.utils.embedded import embedded_questions

logger = logging.getLogger(__name__)


def load(
    source: "str | Path | Iterable[Any]",
    style: str | None = None,
    *,
    text: str | None = None,
    label: str | None = None,
    labels: Sequence[str] = (),
) -> Source:
    """Load the questions of a source.

    Args:
        source: The name of a benchmark (see `HUB`) or of an embedded source, `hf:owner/name[:configuration]`, or a
            file or folder (JSONL, JSON, CSV, Parquet) whose form is recognised by its fields. Or records in memory: a
            list of dicts, a pandas DataFrame, or a `Dataset` or `DatasetDict` of the library `datasets`.
        style: Prompt template, one of `likra.data.TEMPLATES`; default: that of the form.
        text, label: The fields of a table of texts and labels, in place of a form: each text is a question, and the
            labels are its choices.
        labels: The labels that there are; default: all that the table has.

    Raises:
        InputError: The source is missing, of no known form, or has a record that breaks its form's rules; or the
            template is unknown or not for such data.

    >>> source = load("world")
    >>> source.style, len(source.questions["test"])
    ('qa', 240)
    """
    if (text is None) != (label is None):
        raise InputError("text and label name the two fields of a table; give both, or neither.")
    columns = None if text is None or label is None else Columns(text, label, tuple(sorted(labels)))
    return _loaded(source, style, columns)


def load_for(
    source: "str | Path | Iterable[Any]", facts: Mapping[str, Any], style: str | None = None, **columns: str | None
) -> Source:
    """A source as adapters are judged on it: a table has the labels that they learned, and the fields, if it has them.

    Args:
        source, style: As `load` takes them.
        facts: What the adapters were trained on (`TrainingSet.facts`).
        **columns: `text` and `label`, as `load` takes them.

    Raises:
        InputError: As `load`; or a label is not among those that they learned.
    """
    learned = learned_columns(facts)
    if learned is None or any(columns.values()):
        return load(source, style, **columns, labels=learned.labels if learned else ())
    return _loaded(source, style, learned, only_where_they_fit=True)


def learned_columns(facts: Mapping[str, Any]) -> Columns | None:
    """The table that adapters learned, if they learned one: its fields and labels.

    Args:
        facts: What they were trained on (`TrainingSet.facts`).
    """
    columns = facts.get("columns")
    return Columns(**columns | {"labels": tuple(columns["labels"])}) if columns else None


def learned_labels(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels of the table that adapters learned; empty where they learned none. Argument as above."""
    columns = learned_columns(facts)
    return columns.labels if columns else ()


def _loaded(
    source: "str | Path | Iterable[Any]", style: str | None, columns: Columns | None, only_where_they_fit: bool = False
) -> Source:
    """What a name stands for, as `_load` gives it, in the style that a user chose."""
    if style is not None:
        template(style)
    found = _load(source, columns, only_where_they_fit)
    known = {question.asked for question in found.questions.get("train", [])}
    for split, questions in found.questions.items():
        repeated = 0 if split == "train" else sum(question.asked in known for question in questions)
        if repeated:
            logger.warning(
                "%s: %d of the %d %s questions are asked in its train split too.",
                found.name,
                repeated,
                len(questions),
                split,
            )
    return found if style is None else restyled(found, style)


def _load(
    source: "str | Path | Iterable[Any]", columns: Columns | None = None, only_where_they_fit: bool = False
) -> Source:
    """What a name stands for, or records in memory.

    Args:
        source: The name, or records in memory.
        columns: Fields of a table.
        only_where_they_fit: Whether data without these fields is read in its own form.
    """
    name = str(source) if isinstance(source, str | Path) else NAME
    given = columns is not None and not only_where_they_fit
    if name.partition(":")[0] == "arc-paper" and not (given or holds_data(Path(name))):
        return arc_paper(name)
    found = located_records(source, columns.names if columns else ())
    if columns is None:
        return collect(name, found)
    records = list(found)
    if only_where_they_fit and not all(columns.fit(record) for _, _, record in records):
        try:
            return collect(name, records)
        except UnknownForm:
            where, record = next((where, record) for where, _, record in records if not columns.fit(record))
            raise InputError(
                f"{where}: lacks a field that these heads learned ({columns.text!r}, {columns.label!r}), and is of no "
                f"other known form. It has the fields {', '.join(map(str, record))}; name those of its texts and "
                "labels: --text FIELD --label FIELD (text= and label= in Python)."
            ) from None
    form, columns = table_form(name, records, columns)
    return replace(collect(name, records, form), columns=columns)


def located_records(source: "str | Path | Iterable[Any]", names: Sequence[str] = ()) -> Iterator[Located]:
    """The records of a source as they stand there, one after another.

    Args:
        source: As `load` takes it.
        names: Fields that are text, whatever a CSV file has in them.

    Raises:
        InputError: There is no such source, or a record cannot be read.
    """
    if isinstance(source, str | Path):
        return _records(str(source), names)
    if not is_records(source):
        raise InputError(
            f"{type(source).__name__} is not a source; give a name, a file, a list of dicts, a DataFrame or a Dataset."
        )
    return memory_records(source)


def _records(source: str, names: Sequence[str]) -> Iterator[Located]:
    """The records that a name stands for; `names` are fields of text."""
    path = Path(source)
    named = source in embedded_questions() or source in HUB
    if named and holds_data(path):
        logger.warning("%s: is read from the folder of that name, not from likra's own source.", source)
        return folder_records(path, names)
    if source in embedded_questions():
        return file_records(embedded_questions()[source], None, names)
    if source in HUB:
        return hub_records(HUB[source])
    if source.startswith("hf:"):
        repository, _, configuration = source[3:].partition(":")
        return hub_records(((repository, configuration or None),))
    if path.is_dir():
        return folder_records(path, names)
    if path.is_file():
        return file_records(path, split_of(path.stem), names)
    known = [*embedded_questions(), *HUB]
    meant = difflib.get_close_matches(source, known, 1)
    guess = f" (did you mean {meant[0]}?)" if meant else ""
    raise InputError(
        f"{source}: no such file or folder, and no known source{guess}; the named ones are {', '.join(known)}, "
        "and hf:owner/name reads any data set of the hub."
    )
