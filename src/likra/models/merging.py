"""Arithmetic on heads' weights."""

from collections.abc import Sequence

import torch

from likra.models.stack import HeadStack, HeadWeights


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


def contrasted(stack: HeadStack, readers: Sequence[str], amount: float) -> tuple[HeadWeights, int]:
    """The update of p+ + a (p+ - p-), had logits been linear in the weights: (1 + a) times p+'s minus a times p-'s.

    Args:
        stack: Has the heads.
        readers: p+ and p-; what the stack has no head of is the plain base, whose update is nothing.
        amount: a.

    Returns:
        The merged head's weights, for a scaling of 1, and its rank.
    """
    factors = zip(readers, (1 + amount, -amount), strict=True)
    parts = [(name, factor) for name, factor in factors if name in stack.names]
    weights = merged([(factor * stack.scaling(name), stack.weights(name)) for name, factor in parts])
    return weights, sum(stack.ranks[stack.index(name)] for name, _ in parts)
