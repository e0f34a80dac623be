"""Text from base and heads, through transformers' own `generate`."""

from likra.generation.contrast import Contrast, combined
from likra.generation.decoding import Decoding, generate
from likra.generation.distilling import distill

__all__ = ["Contrast", "Decoding", "combined", "distill", "generate"]
