"""The kernel for sequences of unequal lengths is tried before it is relied on."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from likra.engine import kernels
from likra.engine.kernels import AttentionShape
from likra.engine.transfer import sent
from tests.engine.another_device import StandIn, read_as_cuda

SHAPE = AttentionShape(torch.device("cpu"), torch.float32, 4, 2, 8)


def test_a_kernel_that_is_right_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = read_as_cuda(monkeypatch, "runs")
    assert SHAPE.varlen and kernel.calls
    calls = kernel.calls
    assert SHAPE.varlen and kernel.calls == calls  # tried once
    with torch.inference_mode():  # as in scoring
        assert AttentionShape(torch.device("cpu"), torch.bfloat16, 4, 4, 16).varlen


@pytest.mark.parametrize(
    "shape",
    [
        AttentionShape(torch.device("cpu"), torch.float64, 4, 2, 8),
        AttentionShape(torch.device("cpu"), torch.bfloat16, 4, 2, 12),
        AttentionShape(torch.device("cpu"), torch.bfloat16, 4, 2, 512),
    ],
)
def test_what_it_does_not_compute_is_not_asked_of_it(shape: AttentionShape, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = read_as_cuda(monkeypatch, "runs")
    assert not shape.varlen and not kernel.calls


def aligned_at_the_start(kernel: StandIn, *args: Any, **kwargs: Any) -> Any:
    """As SDPA's causal mask is; seen where there are fewer queries than keys."""
    if kwargs["window_size"] == (-1, 0) and not torch.equal(args[3], args[4]):
        kwargs["window_size"] = (-1, -1)
    return kernel(*args, **kwargs)


def one_too_far(kernel: StandIn, *args: Any, **kwargs: Any) -> Any:
    left, right = kwargs["window_size"]
    return kernel(*args, **{**kwargs, "window_size": (left + (left > 0), right)})


def other_base(kernel: StandIn, *args: Any, **kwargs: Any) -> Any:
    """Log-sum-exps to the base of 2."""
    out, log = kernel(*args, **kwargs)
    return out, log / 0.6931


def no_gradient(kernel: StandIn, *args: Any, **kwargs: Any) -> Any:
    out, log = kernel(*args, **kwargs)
    return out + args[2].sum() * 0 + (out.detach() - out), log


def unknown_gpu(kernel: StandIn, *args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nmore")


@pytest.mark.parametrize("wrong", [aligned_at_the_start, one_too_far, other_base, no_gradient, unknown_gpu])
def test_a_kernel_that_is_wrong_is_left_out(
    wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = read_as_cuda(monkeypatch, "runs")
    monkeypatch.setattr(kernels, "varlen_attn", lambda *args, **kwargs: wrong(kernel, *args, **kwargs))
    with caplog.at_level(logging.WARNING, "likra"):
        assert not SHAPE.varlen
    assert "varlen_attn cannot be used on cpu" in caplog.text and "more" not in caplog.text


def test_what_is_sent_arrives(device: torch.device) -> None:
    tensors = [torch.arange(6).view(2, 3), torch.tensor([True, False]), torch.zeros(0, dtype=torch.long), torch.ones(1)]
    for one, other in zip(tensors, sent(device, tensors), strict=True):
        assert other.device.type == device.type and other.dtype == one.dtype and torch.equal(one, other.cpu())
