"""Where questions come from: `load(SOURCE)` for a benchmark's name, `hf:owner/name`, a file or a folder."""

from likra.data.sources.benchmarks import HUB
from likra.data.sources.loading import load
from likra.data.sources.restyle import in_style_of, restyled
from likra.data.sources.source import SPLITS, Source, answers, right_answers

__all__ = ["HUB", "SPLITS", "Source", "answers", "in_style_of", "load", "restyled", "right_answers"]
