"""The updates of heads as matrices: their length, direction and rank, without the dense products."""

import re
from typing import Any

import torch

from likra.models.stack import HeadWeights


def geometry(heads: dict[int, dict[str, HeadWeights]], scaling: float) -> list[dict[str, Any]]:
    """Norm, cosine with the last update, stable rank and share of each block, per head and size.

    The update of a layer is scaling * B A. Its stable rank is its squared Frobenius norm over its squared spectral norm
    (Rudelson and Vershynin 2007); a head's is the mean over layers, weighted by their squared norms.
    """
    result = []
    last = heads[max(heads)]
    for size, at in heads.items():
        for name, weights in at.items():
            energy = {path: float(_inner(pair, pair)) * scaling**2 for path, pair in weights.items()}
            total = sum(energy.values())
            if total == 0:
                continue
            final = sum(float(_inner(pair, pair)) for pair in last[name].values()) * scaling**2
            product = sum(float(_inner(weights[path], last[name][path])) for path in weights) * scaling**2
            ranks = {path: _stable_rank(pair) for path, pair in weights.items() if energy[path] > 0}
            blocks: dict[str, float] = {}
            for path, value in energy.items():
                blocks[_block(path)] = blocks.get(_block(path), 0.0) + value / total
            result.append(
                {
                    "size": size,
                    "head": name,
                    "norm": total**0.5,
                    "cosine": product / (total * final) ** 0.5,
                    "rank": sum(ranks[path] * energy[path] for path in ranks) / total,
                    "blocks": blocks,
                }
            )
    return result


def cosine(one: HeadWeights, other: HeadWeights) -> float:
    """The cosine between the updates of two heads of the same scaling, over all layers.

    Raises:
        ZeroDivisionError: One of them is untrained.
    """
    product, first, second = (
        sum(float(_inner(left[path], right[path])) for path in left)
        for left, right in ((one, other), (one, one), (other, other))
    )
    return float(product / (first * second) ** 0.5)


def _inner(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """<B1 A1, B2 A2> without the products [D_out, D_in]."""
    (a1, b1), (a2, b2) = one, other
    return ((b1.double().T @ b2.double()) * (a1.double() @ a2.double().T)).sum()


def _stable_rank(pair: tuple[torch.Tensor, torch.Tensor]) -> float:
    a, b = (tensor.double() for tensor in pair)
    core = torch.linalg.qr(b).R @ torch.linalg.qr(a.T).R.T
    values = torch.linalg.svdvals(core)
    return float(values.square().sum() / values[0].square())


def _block(path: str) -> str:
    """Number of the block that a layer belongs to."""
    found = re.search(r"\.(\d+)\.", path)
    return found.group(1) if found else "-"
