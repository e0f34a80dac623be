"""Reading each distinct token once: prefix trees of tokens, and the attention that reads them packed.

Nothing here knows heads, answers or likelihoods; training and scoring both read through it.
"""

from likra.reading.attention import Pool
from likra.reading.forward import logits_at, read
from likra.reading.plan import Plan, plan_new, plan_range
from likra.reading.probe import can_share
from likra.reading.tree import Tree

__all__ = ["Plan", "Pool", "Tree", "can_share", "logits_at", "plan_new", "plan_range", "read"]
