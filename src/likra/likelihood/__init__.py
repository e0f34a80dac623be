"""How likely is each answer to each head.

The engine is in `likra.likelihood.engine`; reading a table needs no torch.
"""

from likra.likelihood.table import BASE, Likelihoods

__all__ = ["BASE", "Likelihoods"]
