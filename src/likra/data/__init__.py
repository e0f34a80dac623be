"""Questions and examples: sources, forms of data, prompt templates, negatives and tokens."""

from likra.data.negatives import NEGATIVE_KINDS, negatives, positives
from likra.data.question import Example, Question
from likra.data.sources import HUB, Source, load
from likra.data.templates import TEMPLATES, Prompter, Template
from likra.data.tokens import TokenizedExample, encode_pair, encode_pairs, model_max_length

__all__ = [
    "HUB",
    "NEGATIVE_KINDS",
    "TEMPLATES",
    "Example",
    "Prompter",
    "Question",
    "Source",
    "Template",
    "TokenizedExample",
    "encode_pair",
    "encode_pairs",
    "load",
    "model_max_length",
    "negatives",
    "positives",
]
