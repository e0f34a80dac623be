"""One adapted linear layer: a frozen base layer with the low-rank updates of H heads as one batched product.

Shapes: R rows of a batch, G groups of rows (one per active head, equal in size), T tokens, D_in and D_out features,
r rank, H heads in the stack, N = R / G * T tokens of one group.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from likra.errors import InputError


@dataclass
class Route:
    """Which head reads which rows of the batch; shared by all layers of a stack.

    Attributes:
        heads: Indices of the active heads; group g of the rows is read by heads[g]. Empty: the plain base model.
        base_first: Whether a group for the base alone comes before the heads' groups.
        mask_RT1: 1 where the update acts, 0 where the token sees the plain base; None: everywhere.
    """

    heads: list[int] = field(default_factory=list)
    base_first: bool = False
    mask_RT1: torch.Tensor | None = None


class StackedLora(nn.Module):
    """A linear layer (`nn.Linear`, transformers' `Conv1D`) with H stacked LoRA updates.

    y = W x + scaling * B_h (A_h x) for the head h that reads the row (Hu et al. 2021, arXiv 2106.09685).

    Attributes:
        a: [H, r, D_in], in float32.
        b: [H, D_out, r], in float32; zero at first, so that a new head is the base.
        scaling: [H], alpha / r.
    """

    scaling: torch.Tensor

    def __init__(self, base: nn.Module, heads: int, rank: int, route: Route) -> None:
        super().__init__()
        self.base = base
        self.route = route
        d_in, d_out = linear_shape(base)
        weight = base.weight
        assert isinstance(weight, torch.Tensor)
        self.a = nn.Parameter(torch.zeros(heads, rank, d_in, device=weight.device))
        self.b = nn.Parameter(torch.zeros(heads, d_out, rank, device=weight.device))
        self.register_buffer("scaling", torch.ones(heads, device=weight.device), persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The base's weight, for models that look at it."""
        return self.base.weight  # type: ignore[return-value]

    @property
    def bias(self) -> torch.Tensor | None:
        """The base's bias, likewise."""
        return self.base.bias  # type: ignore[return-value]

    @torch.no_grad()
    def reset(self, head: int, generator: torch.Generator) -> None:
        """Draw a head's A as PEFT does (Kaiming uniform with a=sqrt(5)) and set its B to zero."""
        # Drawn on the CPU, so that a seed means the same head on every device.
        fresh = torch.empty(self.a.shape[1:])
        bound = math.sqrt(6 / ((1 + 5) * fresh.shape[1]))
        self.a[head].copy_(fresh.uniform_(-bound, bound, generator=generator))
        self.b[head].zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.base(x)
        route = self.route
        if not route.heads:
            return y
        groups = len(route.heads) + route.base_first
        if x.shape[0] % groups:
            raise InputError(
                "a layer that the heads adapt does not see the batch row by row; leave it out of --targets."
            )
        skip = x.shape[0] // groups if route.base_first else 0  # rows of the base's group
        x_GNi = x[skip:].reshape(len(route.heads), -1, x.shape[-1]).to(self.a.dtype)
        everyone = route.heads == list(range(self.a.shape[0]))
        a_Gri, b_Gor, scaling_G = (
            (self.a, self.b, self.scaling)
            if everyone
            else (self.a[route.heads], self.b[route.heads], self.scaling[route.heads])
        )
        low_GNr = torch.bmm(x_GNi, a_Gri.transpose(1, 2)) * scaling_G[:, None, None]
        if route.mask_RT1 is not None:
            mask = route.mask_RT1.unflatten(0, (groups, -1))[int(route.base_first) :]
            low_GNr = low_GNr * mask.reshape(len(route.heads), -1, 1).to(low_GNr.dtype)
        update = torch.bmm(low_GNr, b_Gor.transpose(1, 2)).to(y.dtype).view(y[skip:].shape)
        if not skip:
            return y + update
        return torch.cat([y[:skip], y[skip:] + update])


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer that a head can adapt (quantised layers are subclasses of nn.Linear)."""
    return isinstance(module, nn.Linear | Conv1D)


def linear_shape(module: nn.Module) -> tuple[int, int]:
    """(D_in, D_out) of a linear layer."""
    if isinstance(module, Conv1D):  # its weight is [D_in, D_out]
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    assert isinstance(module, nn.Linear)
    return module.in_features, module.out_features
