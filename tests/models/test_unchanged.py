"""Weights are read again only where they may have changed; whatever changes them is seen."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from likra.engine.loglikelihood import score
from likra.models import identity
from likra.models.base import Base, as_base
from likra.models.identity import content
from tests.conftest import tiny_base
from tests.engine.test_cache import PROMPTER

LAYER = "model.layers.1.self_attn.v_proj"
#: More values than are looked at each time.
BIG = 40_000


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the tensors whose every value is read, as they are read."""
    seen: list[torch.Size] = []
    checksum = identity.checksum

    def counted(tensor: torch.Tensor, *rounding: torch.dtype) -> str:
        seen.append(tensor.shape)
        return checksum(tensor, *rounding)

    monkeypatch.setattr(identity, "checksum", counted)
    return seen


def test_an_evaluation_reads_no_weight_again(base: Base, questions: Any, tmp_path: Any, read: list[torch.Size]) -> None:
    found = base.identity()
    first = score(base, None, questions, PROMPTER, cache=tmp_path).logprob_HQC
    read.clear()
    np.testing.assert_array_equal(score(base, None, questions, PROMPTER, cache=tmp_path).logprob_HQC, first)
    assert base.identity().digest == found.digest
    assert all(len(shape) < 2 for shape in read), read  # buffers that are no parameters: the rotations


def _other(tensor: torch.Tensor) -> torch.Tensor:
    """The same but for the last value."""
    other = tensor.detach().clone()
    other.view(-1)[-2] += 1e-3
    return other


def _merge(model: Any) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["k_proj"], init_lora_weights=False)
    get_peft_model(model, config).merge_adapter()


def _replace_module(model: Any) -> None:
    layer = model.get_submodule(LAYER)
    new = nn.Linear(layer.in_features, layer.out_features, bias=False).requires_grad_(False)
    new.weight.data = _other(layer.weight)
    model.get_submodule(LAYER.rpartition(".")[0]).v_proj = new


def _replace_parameter(model: Any) -> None:
    layer = model.get_submodule(LAYER)
    layer.weight = nn.Parameter(_other(layer.weight), requires_grad=False)


def _fused(model: Any) -> None:
    weight = model.get_submodule(LAYER).weight
    weight.requires_grad_(True)
    weight.grad = torch.zeros_like(weight)
    weight.grad.view(-1)[-2] = 1
    torch.optim.Adam([weight], fused=True).step()
    weight.grad = None
    weight.requires_grad_(False)


def _numpy(model: Any) -> None:
    model.get_submodule(LAYER).weight.numpy().reshape(-1)[-2] += 1e-3


def _inference(model: Any) -> None:
    with torch.inference_mode():
        model.get_submodule(LAYER).weight[-1, -2] += 1e-3


def _whole(change: Callable[[torch.Tensor], Any]) -> Callable[[Any], None]:
    return lambda model: change(model.get_submodule(LAYER).weight)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "in place": _whole(lambda w: w[-1, -2].add_(1e-3)),
    "through a view": _whole(lambda w: w.T[-2, -1].add_(1e-3)),
    "detached": _whole(lambda w: w.detach()[-1, -2].mul_(2)),
    "data, one value": _whole(lambda w: w.data[-1, -2].mul_(2)),
    "data copied": _whole(lambda w: w.data.copy_(_other(w))),
    "data set": _whole(lambda w: setattr(w, "data", _other(w))),
    "set": _whole(lambda w: w.set_(_other(w))),
    "untyped storage": _whole(lambda w: torch.empty(0).set_(w.untyped_storage())[-2].mul_(2)),
    "state dict": lambda model: model.state_dict()[f"{LAYER}.weight"][-1, -2].mul_(2),
    "load_state_dict": lambda model: model.load_state_dict(
        {name: _other(value) if name == f"{LAYER}.weight" else value for name, value in model.state_dict().items()}
    ),
    "load_state_dict, assigned": lambda model: model.load_state_dict(
        {name: _other(value) if name == f"{LAYER}.weight" else value for name, value in model.state_dict().items()},
        assign=True,
    ),
    "merge_adapter": _merge,
    "another module": _replace_module,
    "another parameter": _replace_parameter,
    "another dtype": lambda model: model.to(torch.bfloat16),
    "persistent buffer": lambda model: model.get_buffer("more").add_(1),
    "other buffer": lambda model: model.model.rotary_emb.inv_freq.mul_(1.001),
    "fused optimizer": _fused,
    "numpy": _numpy,
    "inference mode": _inference,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_seen(name: str, tokenizer: Any) -> None:
    """Of a single value, mostly, that is none of those that are looked at each time."""
    base = tiny_base(tokenizer)
    layer = base.model.get_submodule(LAYER)
    layer.weight = nn.Parameter(torch.randn(100, BIG // 100), requires_grad=False)
    base.model.register_buffer("more", torch.ones(3))
    base = as_base(base.model, tokenizer)
    before = content(base.model)
    assert content(base.model) == before
    CHANGES[name](base.model)
    after = content(base.model)
    assert after != before
    assert content(base.model) == after
    # Whatever is known of a tensor, it is what reading all of it gives.
    identity.CHECKSUMS._known.clear()
    assert content(base.model) == after


def test_what_was_handed_out_once_is_read_each_time(base: Base, read: list[torch.Size]) -> None:
    kept = base.model.get_submodule(LAYER).weight.data  # type: ignore[union-attr]
    before = content(base.model)
    kept[0, 0] += 1  # type: ignore[index,operator]
    assert content(base.model) != before


def test_a_watched_model_can_be_copied(base: Base, questions: Any) -> None:
    import copy
    import pickle

    twin = copy.deepcopy(base.model)
    assert content(twin) == content(base.model)
    weight = base.model.get_submodule(LAYER).weight
    assert torch.equal(pickle.loads(pickle.dumps(weight)), weight)  # type: ignore[arg-type]
    assert isinstance(weight, nn.Parameter)
