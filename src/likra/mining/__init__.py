"""Hard negatives: plausible wrong answers for questions that have right ones only."""

from likra.mining.equivalence import Equivalence, normal
from likra.mining.mine import KINDS, RIGHT, Kind, Mined, MiningConfig, check_style, mine, tally
from likra.mining.summary import KindLikelihood, kind_likelihoods

__all__ = [
    "KINDS",
    "RIGHT",
    "Equivalence",
    "Kind",
    "KindLikelihood",
    "Mined",
    "MiningConfig",
    "check_style",
    "kind_likelihoods",
    "mine",
    "normal",
    "tally",
]
