"""Adapters as they were at one size, on disk."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from likra.models.stack import HeadStack, HeadWeights
from likra.utils.files import new_file


def save_heads(stack: HeadStack, names: Sequence[str], path: Path) -> None:
    """Keep some heads' weights in a safetensors file."""
    tensors = {}
    for name in names:
        for layer, (a, b) in stack.weights(name).items():
            tensors[f"{name}/{layer}/a"] = a.detach().cpu().contiguous()
            tensors[f"{name}/{layer}/b"] = b.detach().cpu().contiguous()
    with new_file(path) as work:
        save_file(tensors, work)


def heads_path(folder: Path, size: int) -> Path:
    """Where a job keeps its adapters as they were at one size."""
    return folder / f"heads-{size}.safetensors"


def load_heads(path: Path) -> dict[str, HeadWeights]:
    """The weights that `save_heads` kept: head -> layer -> (A [r, D_in], B [D_out, r])."""
    tensors = load_file(path)
    heads: dict[str, HeadWeights] = {}
    for key in tensors:
        name, layer, side = key.split("/")
        if side == "a":
            heads.setdefault(name, {})[layer] = (tensors[key], tensors[f"{name}/{layer}/b"])
    return heads
