"""Loading a source by its name, its address on the hub, or its path."""

import difflib
import logging
from pathlib import Path

from likra.data.sources.benchmarks import HUB, arc_paper
from likra.data.sources.collect import collect
from likra.data.sources.files import file_records, folder_records, holds_data
from likra.data.sources.hub import hub_records
from likra.data.sources.restyle import restyled
from likra.data.sources.source import Source
from likra.data.sources.splits import split_of
from likra.data.templates import template
from likra.errors import InputError
from likra.utils.embedded import embedded_questions

logger = logging.getLogger(__name__)


def load(source: str, style: str | None = None) -> Source:
    """Load the questions of a source.

    Args:
        source: The name of a benchmark (see `HUB`) or of an embedded source, `hf:owner/name[:configuration]`, or a
            file or folder (JSONL, JSON, CSV, Parquet) whose form is recognised by its fields.
        style: Prompt template, one of `likra.data.TEMPLATES`; default: that of the form.

    Raises:
        InputError: The source is missing, of no known form, or has a record that breaks its form's rules; or the
            template is unknown or not for such data.

    >>> source = load("world")
    >>> source.style, len(source.questions["test"])
    ('qa', 240)
    """
    if style is not None:
        template(style)
    found = _load(source)
    known = {question.asked for question in found.questions.get("train", [])}
    for split, questions in found.questions.items():
        repeated = 0 if split == "train" else sum(question.asked in known for question in questions)
        if repeated:
            logger.warning(
                "%s: %d of the %d %s questions are asked in its train split too.",
                source,
                repeated,
                len(questions),
                split,
            )
    return found if style is None else restyled(found, style)


def _load(source: str) -> Source:
    path = Path(source)
    named = source in embedded_questions() or source in HUB
    if named and holds_data(path):
        logger.warning("%s: is read from the folder of that name, not from likra's own source.", source)
        return collect(source, folder_records(path))
    if source in embedded_questions():
        return collect(source, file_records(embedded_questions()[source], None))
    if source.partition(":")[0] == "arc-paper":
        return arc_paper(source)
    if source in HUB:
        return collect(source, hub_records(HUB[source]))
    if source.startswith("hf:"):
        repository, _, configuration = source[3:].partition(":")
        return collect(source, hub_records(((repository, configuration or None),)))
    if path.is_dir():
        return collect(source, folder_records(path))
    if path.is_file():
        return collect(source, file_records(path, split_of(path.stem)))
    known = [*embedded_questions(), *HUB]
    meant = difflib.get_close_matches(source, known, 1)
    guess = f" (did you mean {meant[0]}?)" if meant else ""
    raise InputError(
        f"{source}: no such file or folder, and no known source{guess}; the named ones are {', '.join(known)}, "
        "and hf:owner/name reads any data set of the hub."
    )
