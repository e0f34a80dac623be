"""Heads on disk against PEFT itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from likra.errors import InputError
from likra.heads import HeadStack, read_adapter, write_adapter
from likra.likelihood.engine import score
from likra.model import Likra
from likra.questions import Prompter, Question
from likra.questions.tokens import common_ending, encode_pair
from tests.conftest import ARCHITECTURES, tiny_base
from tests.likelihood.test_engine import perturb

PROMPTER = Prompter("qa")


def peft_likelihoods(model: Any, tokenizer: Any, questions: list[Question]) -> dict[tuple[str, int], float]:
    """Summed log-likelihoods by plain forward passes of a PEFT model."""
    result = {}
    for question in questions:
        for place, (context, completion) in enumerate(PROMPTER.pairs(question)):
            pair = encode_pair(tokenizer, context, completion, 128)
            with torch.no_grad():
                logprobs = model(torch.tensor([pair.context + pair.completion])).logits[0].double().log_softmax(-1)
            first = len(pair.context) - 1
            result[question.id, place] = sum(logprobs[first + i, t].item() for i, t in enumerate(pair.completion))
    return result


def assert_equal(table: Any, name: str, expected: dict[tuple[str, int], float]) -> None:
    for row, question in enumerate(table.questions):
        for place in range(len(question.choices)):
            assert table.head(name)[row, place] == pytest.approx(expected[question.id, place], abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_loads_a_saved_head_and_scores_the_same(
    architecture: str, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    stack = HeadStack(tiny_base(tokenizer, architecture), ["one", "two"], rank=4, alpha=7)
    perturb(stack)
    table = score(stack.base, stack, questions, PROMPTER, ("one", "two"))
    for name in ("one", "two"):
        write_adapter(stack, name, tmp_path / name)
        model = PeftModel.from_pretrained(tiny_base(tokenizer, architecture).model, str(tmp_path / name)).eval()
        assert_equal(table, name, peft_likelihoods(model, tokenizer, questions))


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "opt"])  # PEFT's fails on OPT's MLP
def test_peft_loads_an_answer_head_as_activated_lora_and_scores_the_same(
    architecture: str, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    base = tiny_base(tokenizer, architecture)
    contexts = [encode_pair(tokenizer, *PROMPTER.pairs(question)[0], 128).context for question in questions]
    ending = common_ending(tokenizer, contexts)
    assert tokenizer.decode(ending) == "Answer:"
    stack = HeadStack(base, ["one", "two"], rank=4, alpha=7, activation="answer", invocation=ending)
    perturb(stack)
    table = score(base, stack, questions, PROMPTER, ("one", "two"))
    for name in ("one", "two"):
        write_adapter(stack, name, tmp_path / name)
        model = PeftModel.from_pretrained(tiny_base(tokenizer, architecture).model, str(tmp_path / name)).eval()
        assert_equal(table, name, peft_likelihoods(model, tokenizer, questions))
    # And they come back as heads that act only on answers.
    again = Likra.from_adapters(
        tiny_base(tokenizer, architecture), positive=tmp_path / "one", negative=tmp_path / "two"
    ).likelihoods(questions, PROMPTER)
    np.testing.assert_allclose(again.head("positive"), table.head("one"), atol=1e-5)
    other = Likra.from_base(tiny_base(tokenizer, architecture), role="sft")
    other.fit(questions, progress=False)
    other.save_pretrained(tmp_path / "plain")
    with pytest.raises(InputError, match="not woken by the same tokens"):
        Likra.from_adapters(
            tiny_base(tokenizer, architecture), positive=tmp_path / "plain" / "positive", negative=tmp_path / "two"
        )


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["model.layers.1.mlp.up_proj"]])
def test_peft_adapts_exactly_the_layers_of_the_stack(targets: list[str], tokenizer: Any, tmp_path: Path) -> None:
    stack = HeadStack(tiny_base(tokenizer), ["one"], rank=2, targets=targets)
    write_adapter(stack, "one", tmp_path / "one")
    model = PeftModel.from_pretrained(tiny_base(tokenizer).model, str(tmp_path / "one"))
    adapted = {name for name, _ in model.named_modules() if name.endswith(".lora_A.default")}
    assert adapted == {f"base_model.model.{path}.lora_A.default" for path in stack.layers}


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_an_adapter_trained_with_peft_loads_as_a_head(
    architecture: str, rslora: bool, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    names = {"llama": (["q_proj", "up_proj"], ["down_proj"]), "gpt2": (["c_attn"], ["c_attn", "c_proj"])}[architecture]
    for side, (rank, targets) in zip(("positive", "negative"), zip((3, 5), names, strict=True), strict=True):
        model = get_peft_model(
            tiny_base(tokenizer, architecture).model,
            LoraConfig(r=rank, lora_alpha=9, target_modules=targets, use_rslora=rslora, task_type="CAUSAL_LM"),
        ).eval()
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.1)
        model.save_pretrained(str(tmp_path / side))
        expected = peft_likelihoods(model, tokenizer, questions)
        likra = Likra.from_adapters(tiny_base(tokenizer, architecture), **{side: tmp_path / side})
        assert_equal(likra.likelihoods(questions, PROMPTER), side, expected)
    # Both at once: of different ranks, on different layers.
    likra = Likra.from_adapters(
        tiny_base(tokenizer, architecture), positive=tmp_path / "positive", negative=tmp_path / "negative"
    )
    assert_equal(likra.likelihoods(questions, PROMPTER), "negative", expected)
    assert likra.stack is not None and likra.stack.ranks == [3, 5]
    # And a head that was padded in the stack is written at its own rank again.
    write_adapter(likra.stack, "positive", tmp_path / "again")
    assert json.loads((tmp_path / "again" / "adapter_config.json").read_text())["r"] == 3


def test_adapters_that_no_head_can_be_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    stack = HeadStack(tiny_base(tokenizer), ["one"], rank=4)
    write_adapter(stack, "one", tmp_path / "good")
    config, weights = tmp_path / "good/adapter_config.json", tmp_path / "good/adapter_model.safetensors"

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match):
            read_adapter(stack, "one", tmp_path / "good")

    fields = json.loads(config.read_text())
    for change, match in (
        ({"use_dora": True}, "uses use_dora"),
        ({"bias": "all"}, "uses bias"),
        ({"modules_to_save": ["lm_head"]}, "uses modules_to_save"),
        ({"peft_type": "IA3"}, "heads are LoRA adapters|is no adapter configuration"),
    ):
        config.write_text(json.dumps(fields | change))
        refused(match)
    config.write_text("{")
    refused("is no adapter configuration")
    config.write_text(json.dumps(fields))
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    refused("truncated or damaged")
    weights.unlink()
    refused("is missing")
    (tmp_path / "good" / "adapter_model.bin").write_bytes(b"pickle")
    refused("pickled .bin weights are never read")
    config.unlink()
    refused("adapter_config.json: is missing")


def test_an_adapter_of_another_base_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    write_adapter(HeadStack(tiny_base(tokenizer, "gpt2"), ["one"], rank=2), "one", tmp_path / "gpt2")
    with pytest.raises(InputError, match="trained on another base"):
        Likra.from_adapters(tiny_base(tokenizer), positive=tmp_path / "gpt2")
    base = tiny_base(tokenizer)
    write_adapter(HeadStack(base, ["one"], rank=2), "one", tmp_path / "llama")
    with pytest.raises(InputError, match="already carries heads"):
        Likra.from_adapters(base, positive=tmp_path / "llama")
    with pytest.raises(InputError, match="needs a positive or a negative adapter"):
        Likra.from_adapters(tiny_base(tokenizer))
