"""What is asked: questions, where they come from, how they are worded, and what kinds of negatives they give."""

from likra.questions.negatives import NEGATIVE_KINDS, negatives, positives
from likra.questions.prompts import STYLES, Prompter
from likra.questions.question import Example, Question
from likra.questions.sources import HUB, Source, load
from likra.questions.tokens import TokenPair, encode_pair, encode_pairs, model_max_length

__all__ = [
    "HUB",
    "NEGATIVE_KINDS",
    "STYLES",
    "Example",
    "Prompter",
    "Question",
    "Source",
    "TokenPair",
    "encode_pair",
    "encode_pairs",
    "load",
    "model_max_length",
    "negatives",
    "positives",
]
