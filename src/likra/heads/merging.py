"""Arithmetic on heads' weights."""

from collections.abc import Sequence

import torch

from likra.heads.stack import HeadWeights


def merged(parts: Sequence[tuple[float, HeadWeights]]) -> HeadWeights:
    """One head whose update is a weighted sum of other heads' updates; its rank is the sum of theirs.

    f B A + g B' A' = [f B, g B'] [A; A'].

    Args:
        parts: (factor, head); the heads must adapt the same layers. The merged head's scaling is theirs where they have
            one; else each factor is to be multiplied by its head's scaling, and the merged head's is 1.
    """
    return {
        path: (
            torch.cat([head[path][0] for _, head in parts]),
            torch.cat([factor * head[path][1] for factor, head in parts], dim=1),
        )
        for path in parts[0][1]
    }
