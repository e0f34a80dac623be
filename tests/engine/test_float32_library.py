"""Float32 products that go to another library give the same, and the program around keeps its own setting."""

import pytest
import torch
from torch.nn import functional as F

from likra.engine import float32_library
from likra.engine.float32_library import fastest_float32, same

CPU = torch.device("cpu")


@pytest.fixture
def precision() -> str:
    return str(torch.backends.mkldnn.matmul.fp32_precision)


@pytest.mark.parametrize("faster", [False, True])
def test_the_setting_is_restored(faster: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32_library, "_onednn_is_faster", lambda threads: faster)
    with pytest.raises(ZeroDivisionError), fastest_float32(CPU):
        assert (torch.backends.mkldnn.matmul.fp32_precision == "bf16") == faster
        raise ZeroDivisionError
    assert torch.backends.mkldnn.matmul.fp32_precision == precision
    with fastest_float32(torch.device("meta")):
        assert torch.backends.mkldnn.matmul.fp32_precision == precision


def test_what_it_allows_is_as_exact_as_before() -> None:
    random = torch.Generator().manual_seed(1)
    x, weight = torch.randn(64, 300, generator=random), torch.randn(200, 300, generator=random)
    right = x.double() @ weight.double().T
    with fastest_float32(CPU):
        assert same(F.linear(x, weight).double(), right)


def test_results_that_were_rounded_are_not_the_same() -> None:
    random = torch.Generator().manual_seed(1)
    x, weight = torch.randn(64, 300, generator=random), torch.randn(200, 300, generator=random)
    assert not same(F.linear(x.bfloat16().float(), weight.bfloat16().float()), F.linear(x, weight))


def test_a_library_that_rounds_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with matrix units for bfloat16."""

    def rounding(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if torch.backends.mkldnn.matmul.fp32_precision == "bf16":
            x, weight = x.bfloat16().float(), weight.bfloat16().float()
        return x @ weight.T

    monkeypatch.setattr(float32_library.F, "linear", rounding)
    monkeypatch.setattr(float32_library, "_CLEARLY", 1e9)
    float32_library._onednn_is_faster.cache_clear()
    try:
        assert not float32_library._onednn_is_faster(12345)
    finally:
        float32_library._onednn_is_faster.cache_clear()
