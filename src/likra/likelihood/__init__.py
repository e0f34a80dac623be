"""How likely is each answer to each head."""

from likra.likelihood.engine import can_share, score
from likra.likelihood.table import BASE, Likelihoods

__all__ = ["BASE", "Likelihoods", "can_share", "score"]
