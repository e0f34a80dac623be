"""Which of two libraries takes a CPU's float32 products: MKL, as torch does by itself, or oneDNN."""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

logger = logging.getLogger(__name__)

_SETTINGS = threading.RLock()
_ROWS, _WIDTH = 512, 768  # of a product that is timed
_CLEARLY = 0.7
_SAME = 1e-6  # of the largest value: what the libraries' results may differ by


@contextlib.contextmanager
def fastest_float32(device: torch.device) -> Iterator[None]:
    """The block within which a CPU's float32 products go where they are faster, with equal results within 1e-6.

    On some processors oneDNN is two to three times as fast as MKL. torch sends float32 products there only where it is
    allowed to round their inputs to bfloat16. Processors without matrix units for bfloat16 do not make use of that; so
    results are compared, and on others nothing is changed.
    """
    if device.type != "cpu" or not _onednn_is_faster(torch.get_num_threads()):
        yield
        return
    with _through_onednn():
        yield


def _through_onednn() -> contextlib.AbstractContextManager[None]:
    return settings(torch.backends.mkldnn.matmul, "bf16")  # type: ignore[attr-defined]


@contextlib.contextmanager
def settings(backend: Any, precision: str) -> Iterator[None]:
    """The block within which a backend's float32 products are of a precision; restored afterwards.

    The setting is the whole process's: whoever wants another one meanwhile waits.
    """
    with _SETTINGS:
        before = backend.fp32_precision
        backend.fp32_precision = precision
        try:
            yield
        finally:
            backend.fp32_precision = before


@functools.cache
def _onednn_is_faster(threads: int) -> bool:
    """Tried once for each number of threads; 20 milliseconds."""
    if not torch.backends.mkldnn.is_available():
        return False
    random = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(rows, _WIDTH, generator=random) for rows in (_ROWS, 2 * _WIDTH))
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        plain = F.linear(x, weight)
        with _through_onednn():
            other = F.linear(x, weight)
        if not same(other, plain):
            return False
        took: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(4):
            for onednn, times in took.items():
                with _through_onednn() if onednn else contextlib.nullcontext():
                    start = time.perf_counter()
                    F.linear(x, weight)
                    times.append(time.perf_counter() - start)
    mkl, dnn = min(took[False]), min(took[True])
    logger.debug("float32 products: MKL %.2g s, oneDNN %.2g s", mkl, dnn)
    # Clearly so, or noise would choose, and the last bits of results would differ from run to run.
    return dnn < _CLEARLY * mkl


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two results are equal within 1e-6 of their largest value."""
    return bool((one - other).abs().max() <= _SAME * other.abs().max())
