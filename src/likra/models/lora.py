"""One adapted linear layer: a frozen base layer with the low-rank updates of H heads.

Shapes: N tokens of a batch (flattened), D_in and D_out features, r rank, H heads in the stack.
"""

import math
import threading
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from likra.errors import InputError
from likra.models.thread_lock import in_thread

#: (head, first token, one past its last token): these tokens of the flattened batch are read by that head.
Span = tuple[int, int, int]


@dataclass
class Route:
    """Which head reads which tokens of the batch; shared by all layers of a stack.

    Attributes:
        spans: In the order of the tokens, none overlapping; what none covers is read by the plain base.
        tokens: N, tokens in the batch.
        thread: Whose batch it is; in other threads the model is the plain base.
    """

    spans: list[Span] = field(default_factory=list)
    tokens: int = 0
    thread: int = field(default_factory=threading.get_ident)


class StackedLora(nn.Module):
    """A linear layer (`nn.Linear`, transformers' `Conv1D`) with H stacked LoRA updates.

    y = W x + scaling * B_h (A_h x) for the head h that reads the token (Hu et al. 2021, arXiv 2106.09685).

    Attributes:
        a: [H, r, D_in], in float32.
        b: [H, D_out, r], in float32; zero at first, so that a new head is the base.
        scaling: alpha / r of each head.
    """

    def __init__(self, base: nn.Module, heads: int, rank: int, route: Route) -> None:
        super().__init__()
        self.base = base
        self.route = route
        d_in, d_out = linear_shape(base)
        weight = base.weight
        assert isinstance(weight, torch.Tensor)
        self.a = nn.Parameter(torch.zeros(heads, rank, d_in, device=weight.device, dtype=torch.float32))
        self.b = nn.Parameter(torch.zeros(heads, d_out, rank, device=weight.device, dtype=torch.float32))
        self.scaling = [1.0] * heads

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
        fresh = torch.empty(self.a.shape[1:], dtype=torch.float32)
        bound = math.sqrt(6 / ((1 + 5) * fresh.shape[1]))
        self.a[head].copy_(fresh.uniform_(-bound, bound, generator=generator))
        self.b[head].zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.base(x)
        route = self.route
        if not route.spans or not in_thread(route.thread):
            return y
        if x.numel() != route.tokens * x.shape[-1]:
            raise InputError(
                "a layer that the heads adapt does not see the batch token by token; leave it out of target_modules."
            )
        if torch.is_grad_enabled() and type(self.base) is not nn.Linear:
            y = y.clone()  # what another kind of layer returns may be a view, or needed for its own gradient
        # Without autocast the update is computed in the heads' float32, as PEFT does.
        dtype = y.dtype if torch.is_autocast_enabled(x.device.type) else self.a.dtype
        updated: torch.Tensor = _Update.apply(y, x, self.a, self.b, self.scaling, route.spans, dtype)  # type: ignore[no-untyped-call]
        return updated


class _Update(torch.autograd.Function):
    """y += scaling * B_h A_h x, in place, on each head's tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        y: torch.Tensor,
        x: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: list[float],
        spans: list[Span],
        dtype: torch.dtype,
    ) -> torch.Tensor:
        y_No, x_Ni = y.view(-1, y.shape[-1]), x.reshape(-1, x.shape[-1])
        lows = []
        with torch.autocast(x.device.type, enabled=False):
            for head, first, last in spans:
                low = x_Ni[first:last].to(dtype) @ a[head].to(dtype).T
                _add_product(y_No[first:last], low, b[head].to(dtype).T, scaling[head])
                lows.append(low)
        ctx.mark_dirty(y)
        ctx.save_for_backward(x, a, b, *lows)
        ctx.rest = scaling, spans, dtype
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, a, b, *lows = ctx.saved_tensors
        scaling, spans, dtype = ctx.rest
        (grad_y,) = grads
        grad_No, x_Ni = grad_y.reshape(-1, grad_y.shape[-1]), x.reshape(-1, x.shape[-1])
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        grad_x = torch.zeros_like(x_Ni) if ctx.needs_input_grad[1] else None
        for (head, first, last), low in zip(spans, lows, strict=True):
            grad = grad_No[first:last].to(dtype)
            grad_low = (grad @ b[head].to(dtype)) * scaling[head]
            _add_product(grad_b[head], grad.T, low, scaling[head])
            _add_product(grad_a[head], grad_low.T, x_Ni[first:last].to(dtype), 1.0)
            if grad_x is not None:
                _add_product(grad_x[first:last], grad_low, a[head].to(dtype), 1.0)
        return grad_y, None if grad_x is None else grad_x.view_as(x), grad_a, grad_b, None, None, None


def _add_product(into: torch.Tensor, left: torch.Tensor, right: torch.Tensor, alpha: float) -> None:
    """into += alpha * left @ right, in place; the product in the operands' dtype."""
    if into.dtype == left.dtype:
        into.addmm_(left, right, alpha=alpha)
    else:
        into.add_((left @ right).to(into.dtype), alpha=alpha)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer that a head can adapt (quantised layers are subclasses of nn.Linear)."""
    return isinstance(module, nn.Linear | Conv1D)


def linear_shape(module: nn.Module) -> tuple[int, int]:
    """(D_in, D_out) of a linear layer."""
    if isinstance(module, Conv1D):  # its weight is [D_in, D_out]
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    assert isinstance(module, nn.Linear)
    return module.in_features, module.out_features
