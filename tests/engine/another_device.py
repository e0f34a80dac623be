"""A CPU that is read as a GPU: the branches that only CUDA takes, and a stand-in for the kernel that only CUDA has."""

import itertools
from typing import Any

import pytest
import torch

from likra.engine import kernels

#: How a GPU attends: by torch's kernel for sequences of unequal lengths, or without it.
WAYS = ("runs", "blocks")


class StandIn:
    """torch's `varlen_attn` in plain torch: one sequence after the other, and no gradient of the log-sum-exps."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seq_q: torch.Tensor,
        cu_seq_k: torch.Tensor,
        max_q: int,
        max_k: int,
        *,
        return_aux: Any,
        scale: float,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32 and return_aux.lse
        assert enable_gqa == (query.shape[1] != key.shape[1])
        ends_q, ends_k = cu_seq_q.tolist(), cu_seq_k.tolist()
        assert ends_q[-1] == len(query) and ends_k[-1] == len(key) == len(value)
        key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], 1) for x in (key, value))
        outs, logs = [], []
        for (q0, q1), (k0, k1) in zip(itertools.pairwise(ends_q), itertools.pairwise(ends_k), strict=True):
            assert 0 < q1 - q0 <= max_q and 0 < k1 - k0 <= max_k
            scores_hqk = torch.einsum("qhd,khd->hqk", query[q0:q1].float(), key[k0:k1].float()) * scale
            # How far each key lies behind its query, where the last of both are aligned.
            back_qk = torch.arange(q1 - q0)[:, None] + (k1 - k0) - (q1 - q0) - torch.arange(k1 - k0)
            left, right = (1 << 30 if size < 0 else size for size in window_size)
            scores_hqk = scores_hqk.masked_fill((back_qk > left) | (back_qk < -right), -torch.inf)
            outs.append(torch.einsum("hqk,khd->qhd", scores_hqk.softmax(-1), value[k0:k1].float()).to(value.dtype))
            logs.append(scores_hqk.logsumexp(-1).detach())
        return torch.cat(outs), torch.cat(logs, 1)  # the latter [heads, N], as the kernel has it


def read_as_cuda(monkeypatch: pytest.MonkeyPatch, way: str) -> StandIn:
    """From now on in this test, tensors are read as if they lay on a GPU."""
    found = StandIn()
    monkeypatch.setattr(kernels, "kind_of", lambda device: "cuda")
    monkeypatch.setattr(kernels, "varlen_attn", found if way == "runs" else None)
    monkeypatch.setattr(kernels, "HALF", (torch.bfloat16, torch.float16, torch.float32))
    return found
