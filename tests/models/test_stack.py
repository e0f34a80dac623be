"""The stack: which layers it adapts, how heads are told apart, and what it refuses."""

from typing import Any

import pytest
import torch

from likra.errors import InputError, StateError
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from tests.conftest import ARCHITECTURES, tiny_base


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_linear_adapts_every_linear_layer_but_the_output(architecture: str, tokenizer: Any) -> None:
    from peft import LoraConfig, get_peft_model

    stack = HeadStack(tiny_base(tokenizer, architecture), ["one"], lora=lora_config(r=2))
    other = tiny_base(tokenizer, architecture).model
    peft = get_peft_model(other, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    theirs = {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.default")
        for name, _ in peft.named_modules()
        if name.endswith("lora_A.default")
    }
    assert set(stack.layers) == theirs


def test_exactly_the_heads_train(base: Base) -> None:
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=2))
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    training = {name for name, parameter in base.model.named_parameters() if parameter.requires_grad}
    assert training == {f"{path}.{side}" for path in stack.layers for side in "ab"}


def test_targets_by_name(base: Base) -> None:
    stack = HeadStack(base, ["one"], lora=lora_config(r=2, target_modules=["q_proj", "v_proj"]))
    assert {path.rsplit(".", 1)[-1] for path in stack.layers} == {"q_proj", "v_proj"}
    with pytest.raises(StateError, match="already carries heads"):
        HeadStack(base, ["two"], lora=lora_config(r=2))
    stack.remove()
    with pytest.raises(InputError, match="target_modules must name linear layers; there is no w_proj, but down_proj"):
        HeadStack(base, ["one"], lora=lora_config(r=2, target_modules=["q_proj", "w_proj"]))
    with pytest.raises(InputError, match="must name linear layers"):
        HeadStack(base, ["one"], lora=lora_config(r=2, target_modules=["lm_head"]))


def test_outside_active_the_model_is_the_base(base: Base) -> None:
    ids = torch.tensor([[0, 5, 9, 13]])
    before = base.model(ids).logits
    stack = HeadStack(base, ["one"], lora=lora_config(r=2))
    for layer in stack.layers.values():
        layer.b.data.normal_()
    assert torch.equal(base.model(ids).logits, before)
    with stack.active([("one", 0, 4)], 4):
        assert not torch.allclose(base.model(ids).logits, before)
    assert torch.equal(base.model(ids).logits, before)


def test_a_seed_gives_the_same_head_wherever_it_stands(tokenizer: Any) -> None:
    one = HeadStack(tiny_base(tokenizer), ["x", "y"], lora=lora_config(r=2), seeds=[7, 8])
    other = HeadStack(tiny_base(tokenizer), ["z", "y", "x"], lora=lora_config(r=2), seeds=[1, 8, 7])
    for name in ("x", "y"):
        for path, (a, b) in one.weights(name).items():
            assert torch.equal(a, other.weights(name)[path][0])
            assert not b.any()
    assert not one.same("x", "y") and one.same("x", None)


def test_names_must_differ_and_exist(base: Base) -> None:
    with pytest.raises(InputError, match="a name occurs twice"):
        HeadStack(base, ["one", "one"])
    stack = HeadStack(base, ["one"])
    with pytest.raises(InputError, match="no head is called 'two'; the heads are one"):
        stack.index("two")
    stack.remove()
    with pytest.raises(InputError, match="adapt must be one of everywhere, completion, got 'prompt'"):
        HeadStack(base, ["one"], adapt="prompt")
