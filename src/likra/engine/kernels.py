"""Which attention kernels a device has; one of them is tried before it is relied on."""

import functools
import importlib
import logging
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

logger = logging.getLogger(__name__)

#: What torch's kernel for sequences of unequal lengths computes in.
HALF: tuple[torch.dtype, ...] = (torch.bfloat16, torch.float16)
_WIDEST = 256  # features of a head, at most; in eights


_this: Any = sys.modules[__name__]


def __getattr__(name: str) -> Any:
    """torch's `varlen_attn` and `AuxRequest`, or None; read when first asked for, for they load torch's compiler."""
    if name not in ("varlen_attn", "AuxRequest"):
        raise AttributeError(name)
    try:
        varlen = importlib.import_module("torch.nn.attention.varlen")
    except ImportError:  # an older torch
        varlen = None
    globals().update(varlen_attn=getattr(varlen, "varlen_attn", None), AuxRequest=getattr(varlen, "AuxRequest", None))
    return globals()[name]


def kind_of(device: torch.device) -> str:
    """`cpu`, `cuda` or `mps`: what decides where code differs by device. (Tests put another one in its place.)"""
    return device.type


@dataclass(frozen=True)
class Lengths:
    """R sequences that lie one after the other, each with queries and keys of its own.

    Attributes:
        ends_q, ends_k: Where each begins, and where the last one ends, [R + 1] in int32.
        longest_q, longest_k: Tokens of the longest.
    """

    ends_q: torch.Tensor
    ends_k: torch.Tensor
    longest_q: int
    longest_k: int


@dataclass(frozen=True)
class AttentionShape:
    """What a kernel must be able to compute.

    Attributes:
        device, dtype: Of queries, keys and values.
        query, key: Numbers of heads.
        size: Features of a head.
    """

    device: torch.device
    dtype: torch.dtype
    query: int
    key: int
    size: int

    @property
    def varlen(self) -> bool:
        """Whether `varlen` computes this here, gradients included; tried once, against plain torch."""
        if kind_of(self.device) != "cuda" or _this.varlen_attn is None:
            return False
        if self.dtype not in HALF or self.size % 8 or self.size > _WIDEST or self.query % self.key:
            return False
        return _works(self, _this.varlen_attn)


def varlen(
    query_Nhd: torch.Tensor,
    key_Kkd: torch.Tensor,
    value_Kkd: torch.Tensor,
    lengths: Lengths,
    scale: float,
    *,
    causal: bool,
    window: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of sequences of unequal length, without padding and masks; no gradient flows through the log-sum-exps.

    Args:
        query_Nhd, key_Kkd, value_Kkd: Queries, keys and values of all sequences, one after the other.
        lengths: Which are whose.
        scale: Of the scores.
        causal: Whether a query attends to the keys up to its own place, counted from the end of its sequence.
        window: And to so many of them only.

    Returns:
        Outputs [N, heads, head size] and log-sum-exps [N, heads] in float32.
    """
    back = -1 if window is None else window - 1
    out_Nhd, log = _this.varlen_attn(
        query_Nhd,
        key_Kkd,
        value_Kkd,
        lengths.ends_q,
        lengths.ends_k,
        lengths.longest_q,
        lengths.longest_k,
        return_aux=_this.AuxRequest(lse=True),
        scale=scale,
        window_size=(back, 0) if causal else (-1, -1),
        enable_gqa=query_Nhd.shape[1] != key_Kkd.shape[1],
    )
    # The kernel gives [heads, N], its documentation says [N, heads]; of as many heads as tokens it is the former.
    return out_Nhd, log.transpose(0, 1) if log.shape == (query_Nhd.shape[1], query_Nhd.shape[0]) else log


@functools.cache
def _works(shape: AttentionShape, kernel: Any) -> bool:
    """Whether `kernel` gives what plain torch gives, outputs, log-sum-exps and gradients, on a few tokens."""
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(shape.device.type, enabled=False):
            # Fewer queries than keys, and as many; fewer keys than the window, and more.
            gap = max(_gap(shape, queries, window) for queries in (3, 9) for window in (None, 4))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a kernel says that does not know a GPU
        gap, reason = float("inf"), f"{type(error).__name__}: {error}".splitlines()[0][:120]
    else:
        reason = f"it is off by {gap:.2g}"
    if not gap < 0.05:
        logger.warning("torch's varlen_attn cannot be used on %s (%s); masks are used (slower)", shape.device, reason)
        return False
    return True


def _gap(shape: AttentionShape, queries: int, window: int | None) -> float:
    """The largest difference between `varlen` and plain torch, of two sequences with 9 and 6 keys."""
    random = torch.Generator().manual_seed(0)
    counts_q, counts_k = (queries, 6), (9, 6)

    def drawn(tokens: int, count: int) -> torch.Tensor:
        values = torch.randn(tokens, count, shape.size, generator=random)
        return values.to(shape.device, shape.dtype).requires_grad_()

    q, k, v = drawn(sum(counts_q), shape.query), drawn(sum(counts_k), shape.key), drawn(sum(counts_k), shape.key)
    ends_q, ends_k = (
        torch.tensor([0, first, first + second], dtype=torch.int32, device=shape.device)
        for first, second in (counts_q, counts_k)
    )
    lengths = Lengths(ends_q, ends_k, max(counts_q), max(counts_k))
    found, log = varlen(q, k, v, lengths, shape.size**-0.5, causal=True, window=window)
    pairs = zip(
        q.split(counts_q), k.split(counts_k), v.split(counts_k), found.split(counts_q), log.split(counts_q), strict=True
    )
    gaps, outs = [], []
    for one, keys, values, out, log_qh in pairs:
        expected, expected_log = _plainly(one.float(), keys.float(), values.float(), shape.size**-0.5, window)
        gaps += [(out - expected).abs().max(), (log_qh - expected_log).abs().max()]
        outs.append(expected)
    weights = torch.randn(found.shape, generator=random).to(shape.device)
    ours, plain = (torch.autograd.grad((out.float() * weights).sum(), (q, k, v)) for out in (found, torch.cat(outs)))
    # Gradients are sums over many queries: as large as they are, they are rounded.
    gaps += [(one - other).abs().max() / other.abs().max().clamp(min=1) for one, other in zip(ours, plain, strict=True)]
    return float(torch.stack([gap.detach().float() for gap in gaps]).max())


def _plainly(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The causal attention of one sequence [tokens, heads, head size], aligned at its end."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    back = torch.arange(len(q), device=q.device)[:, None] + len(k) - len(q) - torch.arange(len(k), device=q.device)
    hidden = (back < 0) | (back >= (len(k) if window is None else window))
    scores = scores.masked_fill(hidden, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v), scores.logsumexp(-1).T


def padded_to(tensor: torch.Tensor, multiple: int) -> torch.Tensor:
    """Zeros after the last dimension, so that its size is a multiple."""
    return F.pad(tensor, (0, -tensor.shape[-1] % multiple))
