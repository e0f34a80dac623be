"""Where questions come from: `load(SOURCE)` for a benchmark's name, `hf:owner/name`, a file or a folder."""

from likra.data.sources.benchmarks import HUB
from likra.data.sources.loading import load, load_for
from likra.data.sources.restyle import in_style_of, restyled
from likra.data.sources.source import SPLITS, Columns, Source, answers, right_answers
from likra.data.sources.table import with_labels

__all__ = [
    "HUB",
    "SPLITS",
    "Columns",
    "Source",
    "answers",
    "in_style_of",
    "load",
    "load_for",
    "restyled",
    "right_answers",
    "with_labels",
]
