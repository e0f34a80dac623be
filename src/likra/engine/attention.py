"""The attention of packed trees, as an implementation that transformers' models call."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

from likra.engine import kernels
from likra.engine.kernels import AttentionShape, varlen
from likra.engine.layout import Chain, Layout
from likra.engine.plan import LayoutKind, Plan
from likra.models.thread_lock import in_thread, lock_of

NAME = "likra"
_SCORES = 2**26  # attention scores that are held at once where no kernel returns the log-sum-exp

#: What some models add to attention and a packed reading does not.
_UNKNOWN = ("softcap", "s_aux", "position_bias", "head_mask", "cache")


class CannotShare(RuntimeError):
    """The model's attention is of a kind that packed trees cannot be read with."""


class KVCache:
    """Keys and values of tokens that were read before, for each attention layer [slots, key-value heads, head size]."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._waiting: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one layer."""
        return self._layers[id(layer)]

    def offer(self, layer: nn.Module, plan: Plan, key_Nkd: torch.Tensor, value_Nkd: torch.Tensor) -> None:
        """Take what the plan wants kept; it is in the cache after `commit`."""
        if len(plan.store[0]):
            rows, _ = plan.store_on(key_Nkd.device)
            self._waiting[id(layer)] = (key_Nkd.detach()[rows], value_Nkd.detach()[rows])

    def commit(self, plan: Plan) -> None:
        """Move in what was offered. A reading that failed halfway is not committed, and so can be tried again."""
        for layer, new in self._waiting.items():
            if layer not in self._layers:
                key, value = (some.new_zeros(plan.slots, *some.shape[1:]) for some in new)
                self._layers[layer] = (key, value)
            _, slots = plan.store_on(new[0].device)
            for full, some in zip(self._layers[layer], new, strict=True):
                full[slots] = some
        self._waiting = {}

    def discard(self) -> None:
        """Drop what was offered."""
        self._waiting = {}


# The readings in progress: the id of a model's configuration -> what is read, and for which thread. One at a time for a
# model. Not thread-local, because gradient checkpointing reads again in the threads of the backward pass.
_now: dict[int, tuple[Plan, KVCache, int]] = {}


@contextlib.contextmanager
def reads_trees(model: PreTrainedModel, plan: Plan, cache: KVCache) -> Iterator[None]:
    """Within the block the model reads the plan's packed tokens as one row: `input_ids` and `position_ids` [1, N]."""
    with lock_of(model):
        configs = {id(c): c for c in (getattr(m, "config", None) for m in model.modules()) if c is not None}
        usual = [(config, config._attn_implementation, _now.get(key)) for key, config in configs.items()]
        try:
            for key, config in configs.items():
                _now[key] = plan, cache, threading.get_ident()
                config._attn_implementation = NAME
            yield
            cache.commit(plan)
        finally:
            cache.discard()
            for config, name, before in usual:
                config._attn_implementation = name
                if before is None:
                    _now.pop(id(config), None)
                else:
                    _now[id(config)] = before


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed tokens [1, heads, N, head size] to their ancestors; returns [1, N, heads, head size]."""
    plan, cache, thread = _now.get(id(module.config), (None, None, -1))
    if plan is None or cache is None or not in_thread(thread):
        raise RuntimeError("the model is being read in another thread; let likra run it, which waits, or wait.")
    odd = attention_mask is not None or any(others.get(name) is not None for name in _UNKNOWN)
    if odd or query.shape[0] != 1 or query.shape[2] != len(plan.ids_N):
        raise CannotShare
    # Under autocast rotations may leave queries and keys in float32; the kernels take one dtype.
    query_Nhd, key_Nkd, value_Nkd = (x[0].transpose(0, 1).to(value.dtype) for x in (query, key, value))
    way = _way(query_Nhd, key_Nkd, value_Nkd)
    layout = plan.layout(sliding_window, value.device, value.dtype, way)
    if layout.to_prefix and torch.is_grad_enabled():  # what is merged needs the gradients of the log-sum-exps
        layout = plan.layout(sliding_window, value.device, value.dtype, "blocks")
    keys_Mkd, values_Mkd = key_Nkd, value_Nkd
    if len(layout.cached):
        old_key, old_value = cache.of(module)
        keys_Mkd = torch.cat([old_key[layout.cached], keys_Mkd])
        values_Mkd = torch.cat([old_value[layout.cached], values_Mkd])
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    log_Nh: torch.Tensor | None
    if layout.runs:
        out_Nhd, log_Nh = _of_runs(layout, query_Nhd, keys_Mkd, values_Mkd, scale)
    else:
        out_Nhd, log_Nh = _of_blocks(layout, query_Nhd, key_Nkd, value_Nkd, keys_Mkd, values_Mkd, scale)
    if layout.prefix:
        # Merged by the log-sum-exps, as in Juravsky et al. 2024, arXiv 2402.05099.
        assert log_Nh is not None
        far, far_log = _of_prefix(layout, query_Nhd, *cache.of(module), scale)
        out_Nhd = _merged(out_Nhd, log_Nh, far, far_log)
    cache.offer(module, plan, key_Nkd, value_Nkd)
    return out_Nhd.unsqueeze(0), None


def _way(query_Nhd: torch.Tensor, key_Nkd: torch.Tensor, value_Nkd: torch.Tensor) -> LayoutKind:
    """How the device attends fastest."""
    (_, heads, size), key_heads = query_Nhd.shape, key_Nkd.shape[1]
    if size != value_Nkd.shape[-1]:
        return "blocks"
    if kernels.kind_of(query_Nhd.device) == "cpu":
        return "chains"
    return "runs" if AttentionShape(query_Nhd.device, query_Nhd.dtype, heads, key_heads, size).varlen else "blocks"


def _of_runs(
    layout: Layout, query_Nhd: torch.Tensor, keys_Mkd: torch.Tensor, values_Mkd: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention below the shared prefix, and its log-sum-exps, without masks."""
    outs, logs = zip(
        *(
            varlen(
                query_Nhd[run.first : run.last],
                keys_Mkd.index_select(0, run.keys_K),
                values_Mkd.index_select(0, run.keys_K),
                run.lengths,
                scale,
                causal=True,
                window=run.window,
            )
            for run in layout.runs
        ),
        strict=True,
    )
    return torch.cat(outs), torch.cat(logs)


def _of_blocks(
    layout: Layout,
    query_Nhd: torch.Tensor,
    key_Nkd: torch.Tensor,
    value_Nkd: torch.Tensor,
    keys_Mkd: torch.Tensor,
    values_Mkd: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention below the shared prefix, and its log-sum-exps where something is merged with it."""
    apart = bool(layout.prefix or layout.chains)
    outs, logs = [], []
    for block in layout.blocks:
        q, k, v = _gathered(block.queries_Bq, block.keys_Bk, query_Nhd, keys_Mkd, values_Mkd)
        if apart:
            out, log = _with_log_sum_exp(q, k, v, block.mask_B1qk, scale)
            logs.append(log.transpose(1, 2).flatten(0, 1))
        else:
            grouped = (
                kernels.kind_of(q.device) == "cpu"
            )  # elsewhere the fast kernels take no mask with fewer key-value heads
            if not grouped:
                k, v = _repeated_for_queries(q, k, v)
            out = F.scaled_dot_product_attention(q, k, v, block.mask_B1qk, scale=scale, enable_gqa=grouped)
        outs.append(out.transpose(1, 2).flatten(0, 1))
    for chain in layout.chains:
        out, log = _chain_attention(chain, query_Nhd, key_Nkd, value_Nkd, keys_Mkd, values_Mkd, scale)
        outs.append(out.transpose(1, 2).flatten(0, 1))
        logs.append(log.transpose(1, 2).flatten(0, 1))
    out_Nhd = torch.cat(outs).index_select(0, layout.restore_N)
    return out_Nhd, torch.cat(logs).index_select(0, layout.restore_N) if layout.prefix else None


def _of_prefix(
    layout: Layout, query_Nhd: torch.Tensor, key_Skd: torch.Tensor, value_Skd: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to the shared prefix, which lies in the cache, and its log-sum-exps."""
    k, v = (x.unflatten(0, (layout.prefixes, -1))[:, : layout.prefix] for x in (key_Skd, value_Skd))
    if layout.to_prefix:
        return varlen(query_Nhd, k.flatten(0, 1), v.flatten(0, 1), layout.to_prefix, scale, causal=False)
    q = query_Nhd.unflatten(0, (layout.prefixes, -1)).transpose(1, 2)
    far, log = _with_log_sum_exp(q, k.transpose(1, 2), v.transpose(1, 2), None, scale)
    return far.transpose(1, 2).flatten(0, 1), log.transpose(1, 2).flatten(0, 1)


def _merged(near: torch.Tensor, near_log: torch.Tensor, far: torch.Tensor, far_log: torch.Tensor) -> torch.Tensor:
    """Attention to two sets of keys [..., head size] from attention to each and their log-sum-exps [...]."""
    share = torch.sigmoid(far_log - near_log).unsqueeze(-1).to(near.dtype)
    return torch.lerp(near, far, share)


def _chain_attention(
    chain: Chain,
    query_Nhd: torch.Tensor,
    key_Nkd: torch.Tensor,
    value_Nkd: torch.Tensor,
    keys_Mkd: torch.Tensor,
    values_Mkd: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of a chain [A, heads, tokens, head size] to itself and what is above, and the log-sum-exps."""
    q, k, v = (
        x.unflatten(0, (chain.adapters, -1))[:, chain.first : chain.last].transpose(1, 2)
        for x in (query_Nhd, key_Nkd, value_Nkd)
    )
    out, log = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, is_causal=True, scale=scale)
    if chain.keys_Ak.shape[1]:
        k, v = (
            x.index_select(0, chain.keys_Ak.flatten()).unflatten(0, tuple(chain.keys_Ak.shape)).transpose(1, 2)
            for x in (keys_Mkd, values_Mkd)
        )
        far, far_log = _with_log_sum_exp(q, k, v, None, scale)
        out, log = _merged(out, log, far, far_log), torch.logaddexp(log, far_log)
    return out, log


def _gathered(
    queries_Bq: torch.Tensor, keys_Bk: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> list[torch.Tensor]:
    """[B, heads, places, head size] of the places of a block."""
    pairs = ((queries_Bq, query), (keys_Bk, key), (keys_Bk, value))
    return [
        x.index_select(0, places.flatten()).unflatten(0, tuple(places.shape)).transpose(1, 2) for places, x in pairs
    ]


def _with_log_sum_exp(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention [B, heads, places, head size], and each query's log-sum-exp [B, heads, places] in float32."""
    if kernels.kind_of(q.device) == "cpu" and q.shape[-1] == v.shape[-1] and not torch.is_grad_enabled():
        out, log = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=mask, scale=scale)
        return out, log
    k, v = _repeated_for_queries(q, k, v)
    at_once = max(1, _SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))
    outs, logs = [], []
    for start in range(0, q.shape[2], at_once):
        # In float32: half precision would round the scores before the softmax.
        scores = (q[:, :, start : start + at_once].float() * scale) @ k.transpose(-1, -2).float()
        if mask is not None:
            scores += mask[:, :, start : start + at_once]
        logs.append(scores.logsumexp(-1))
        outs.append(torch.exp(scores - logs[-1].unsqueeze(-1)).to(v.dtype) @ v)
    return torch.cat(outs, 2), torch.cat(logs, 2)


def _repeated_for_queries(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values with as many heads as the queries."""
    repeats = q.shape[1] // k.shape[1]
    if repeats == 1:
        return k, v
    return k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)


AttentionInterface.register(NAME, attend)
