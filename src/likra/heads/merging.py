"""Arithmetic on heads' weights."""

import torch

from likra.heads.stack import HeadWeights


def merged(positive: HeadWeights, negative: HeadWeights, weight: float) -> HeadWeights:
    """One head of twice the rank whose update is the positive head's minus `weight` times the negative head's.

    B+ A+ - w B- A- = [B+, -w B-] [A+; A-]; both heads must have one scaling, which is the merged head's too.
    """
    return {
        path: (
            torch.cat([positive[path][0], negative[path][0]]),
            torch.cat([positive[path][1], -weight * negative[path][1]], dim=1),
        )
        for path in positive
    }
