"""A reading's matrix products in a chosen precision, and everything between them in float32.

L+ and L- are large and close, so that a rounding which is small in each is large in their difference. What every
adapter has in common cancels there, however it is rounded: so products are taken of what they differ in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

HALF = (torch.bfloat16, torch.float16)
_WIDENED = 2**24  # weights that are widened at once


@dataclass(frozen=True)
class Rows:
    """Which rows of a product are the same node of the tree, read by several adapters.

    Attributes:
        alone: The first rows, which are read once for all.
        each: The number of rows of each adapter that follow, node for node in the same order.
        adapters: How many adapters read them, the plain base included.
    """

    alone: int
    each: int
    adapters: int

    def __len__(self) -> int:
        return self.alone + self.each * self.adapters


#: A product [N, D_out] of rows [N, D_in] and a layer's weight [D_out, D_in].
Product = Callable[[torch.Tensor, torch.Tensor, Rows | None], torch.Tensor]


def exact(x_Ni: torch.Tensor, weight_oi: torch.Tensor, rows: Rows | None = None) -> torch.Tensor:
    """The product in the precision of its rows; other weights are widened to it, a part at a time."""
    if weight_oi.dtype == x_Ni.dtype:
        return F.linear(x_Ni, weight_oi)
    parts = weight_oi.split(max(1, _WIDENED // weight_oi.shape[1]))
    return torch.cat([F.linear(x_Ni, part.to(x_Ni.dtype)) for part in parts], dim=1)


def split(x_Ni: torch.Tensor, weight_oi: torch.Tensor, rows: Rows | None = None) -> torch.Tensor:
    """The product as two half-precision ones: of the rows rounded, and of what rounding took from them.

    Exact to about 16 bits where the weights are stored in half precision; others are rounded.
    """
    weight = weight_oi.to(half_of(weight_oi))
    high = x_Ni.to(weight.dtype)
    return half_product(high, weight).add_(half_product((x_Ni - high).to(weight.dtype), weight))


def rounded(x_Ni: torch.Tensor, weight_oi: torch.Tensor, rows: Rows | None = None) -> torch.Tensor:
    """The product of rows and weights in half precision."""
    weight = weight_oi.to(half_of(weight_oi))
    return half_product(x_Ni.to(weight.dtype), weight)


def difference(
    x_Ni: torch.Tensor, weight_oi: torch.Tensor, rows: Rows | None = None, reference: Product = rounded
) -> torch.Tensor:
    """Difference products: y_h = y_r + W (x_h - x_r), in half precision.

    What is rounded of y_r, the product of whoever is read as a reference, is common to both and cancels in their ratio;
    x_h - x_r is small, and so is what is rounded of it. The first adapter's reference is the base, and the first
    adapter is that of all others: two adapters are nearer to one another than to the base, which both have left.

    Args:
        x_Ni: Rows.
        weight_oi: The weight.
        rows: Which rows are the same node; None: it is not known, and the product is exact.
        reference: The product of the first one's rows, and of those that are read once.
    """
    if rows is None or rows.adapters == 1:
        return exact(x_Ni, weight_oi)
    own = rows.alone + rows.each
    x_hNi = x_Ni[rows.alone :].unflatten(0, (rows.adapters, rows.each))
    y_No = x_Ni.new_empty(len(x_Ni), len(weight_oi))
    y_hNo = y_No[rows.alone :].unflatten(0, (rows.adapters, rows.each))
    y_No[:own] = reference(x_Ni[:own], weight_oi, None)
    moved_hNi = torch.cat([x_hNi[1:2] - x_hNi[:1], x_hNi[2:] - x_hNi[1:2]])
    moved_hNo = rounded(moved_hNi.flatten(0, 1), weight_oi).view_as(y_hNo[1:])
    torch.add(moved_hNo[0], y_hNo[0], out=y_hNo[1])
    torch.add(moved_hNo[1:], y_hNo[1], out=y_hNo[2:])
    return y_No


def difference_from_exact(x_Ni: torch.Tensor, weight_oi: torch.Tensor, rows: Rows | None = None) -> torch.Tensor:
    """`difference`, with the first adapter's own product in float32."""
    return difference(x_Ni, weight_oi, rows, exact)


def half_of(weight: torch.Tensor) -> torch.dtype:
    """The half-precision type that a weight is used in: its own, else bfloat16, which has float32's range."""
    return weight.dtype if weight.dtype in HALF else torch.bfloat16


def half_product(x_Ni: torch.Tensor, weight_oi: torch.Tensor) -> torch.Tensor:
    """The product of two half-precision matrices, added up in float32.

    CPUs that have such products round the result to half precision once more.
    """
    if x_Ni.is_cuda:
        return torch.mm(x_Ni, weight_oi.T, out_dtype=torch.float32)
    if not multiplies(x_Ni.dtype):  # the same product, where the processor would only emulate it, slowly
        return F.linear(x_Ni.float(), weight_oi.float())
    return F.linear(x_Ni, weight_oi).float()


def multiplies(dtype: torch.dtype) -> bool:
    """Whether this CPU has products of a half-precision type, and torch uses them."""
    if not torch.backends.mkldnn.is_available():
        return False
    known = torch.ops.mkldnn
    found = known._is_mkldnn_bf16_supported() if dtype == torch.bfloat16 else known._is_mkldnn_fp16_supported()
    return bool(found)


class Products(TorchFunctionMode):
    """Within the block, linear layers of a model compute by `product`, and all else in float32 (or float64).

    It stands between the model's code and torch, so that no module is changed and any architecture can be read.

    Args:
        product: How products of activations and weights are taken.
        output: The weight of the output layer.
        layers, logits: Which rows are the same node in the layers, and in the output layer.
        dtype: Of the activations.
    """

    def __init__(
        self, product: Product, output: torch.Tensor | None, layers: Rows, logits: Rows, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.product, self.layers, self.logits, self.dtype = product, layers, logits, dtype
        self._narrow = (*HALF, torch.float32) if dtype == torch.float64 else HALF
        self._output = None if output is None else output.data_ptr()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        handled = _HANDLED.get(func)
        return func(*args, **(kwargs or {})) if handled is None else handled(self, func, *args, **(kwargs or {}))

    def linear(
        self, func: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        x = input.to(self.dtype)
        flat = x.reshape(-1, x.shape[-1])
        # The output layer of a model without `logits_to_keep` sees all tokens.
        known = (self.logits, self.layers) if weight.data_ptr() == self._output else (self.layers,)
        y = self.product(flat, weight, next((rows for rows in known if len(rows) == len(flat)), None))
        if bias is not None:
            y += bias
        return y.view(*x.shape[:-1], len(weight))

    def addmm(self, func: Any, input: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, **others: Any) -> Any:
        """GPT-2's linear layer, whose weight is [D_in, D_out]."""
        if others or not isinstance(mat2, torch.nn.Parameter):
            return self.promoted(func, input, mat1, mat2, **others)
        return self.linear(F.linear, mat1, mat2.T, input)

    def embedding(self, func: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        found: torch.Tensor = func(*args, **kwargs)
        return found.to(self.dtype)

    def promoted(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """What takes one type only gets the activations'."""

        def widened(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(map(widened, value))
            return value.to(self.dtype) if isinstance(value, torch.Tensor) and value.dtype in self._narrow else value

        return func(*map(widened, args), **{n: a if n == "out" else widened(a) for n, a in kwargs.items()})

    def cast(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Where a model asks for its weights' type, or for float32, activations get their own."""
        if func in (torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.float):
            narrow = func is torch.Tensor.float or args[0].dtype == self.dtype
            return args[0].to(self.dtype) if narrow else func(*args, **kwargs)
        if func is torch.Tensor.type_as:
            func, args = torch.Tensor.to, (args[0], args[1].dtype)
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], torch.Tensor):
            args = (args[0], args[1].device, args[1].dtype, *args[2:])

        def own(value: Any) -> Any:
            if not isinstance(value, torch.dtype) or not args or args[0].dtype not in (self.dtype, torch.float32):
                return value
            return self.dtype if value in self._narrow else value

        return func(*map(own, args), **{name: own(value) for name, value in kwargs.items()})


_HANDLED: dict[Any, Callable[..., Any]] = {
    F.linear: Products.linear,
    torch.addmm: Products.addmm,
    F.embedding: Products.embedding,
    **dict.fromkeys(
        (
            *(torch.Tensor.to, torch.Tensor.type, torch.Tensor.type_as, torch.Tensor.float, torch.Tensor.half),
            *(torch.Tensor.bfloat16, F.softmax, F.log_softmax, torch.softmax, torch.sum, torch.Tensor.sum),
        ),
        Products.cast,
    ),
    **dict.fromkeys(
        (
            *(F.layer_norm, F.rms_norm, F.group_norm, F.conv1d, F.scaled_dot_product_attention),
            *(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.bmm, torch.baddbmm),
            *(torch.einsum, torch._grouped_mm),
        ),
        Products.promoted,
    ),
}
