"""Adam for each adapter of a stack by itself."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from likra.models.stack import HeadStack


class AdapterAdam:
    """Each adapter has moments, a step count and a learning rate of its own, so that it ends as it would alone.

    An adapter's slices are leaf parameters that share the stacked tensors' memory: torch's own Adam updates the stack
    in place.

    Args:
        stack: The stack.
        names: The adapters that train; the others are left as they are.
    """

    def __init__(self, stack: HeadStack, names: Sequence[str]) -> None:
        self._stack = stack
        self.slices = {
            name: [nn.Parameter(parameter.data[stack.index(name)]) for parameter in stack.parameters()]
            for name in names
        }
        self._adam = {name: torch.optim.Adam(slices, lr=0.0) for name, slices in self.slices.items()}

    def step(self, name: str, learning_rate: float) -> None:
        """Update one adapter by its share of the stack's gradients."""
        index, adam = self._stack.index(name), self._adam[name]
        for piece, parameter in zip(self.slices[name], self._stack.parameters(), strict=True):
            # A layer that the text does not pass through (another modality's, say) has no gradient.
            piece.grad = None if parameter.grad is None else parameter.grad[index]
        adam.param_groups[0]["lr"] = learning_rate
        adam.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights and Adam's state, on the CPU; `load` reads them."""
        found = {}
        for name, adam in self._adam.items():
            for index, piece in enumerate(self.slices[name]):
                found[f"{name}/{index}/weight"] = piece.data
                for key, value in adam.state.get(piece, {}).items():
                    found[f"{name}/{index}/{key}"] = value
        return {key: value.detach().cpu().contiguous() for key, value in found.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` gave."""
        for name, adam in self._adam.items():
            for index, piece in enumerate(self.slices[name]):
                prefix = f"{name}/{index}/"
                found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
                piece.data.copy_(found.pop("weight"))
                if found:
                    adam.state[piece] = {
                        key: value if key == "step" else value.to(piece.device) for key, value in found.items()
                    }
