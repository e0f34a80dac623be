"""Heads on disk against PEFT itself."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from likra.data import Prompter, Question
from likra.data.tokens import common_ending, encode_pair
from likra.engine.loglikelihood import score
from likra.errors import InputError, StateError
from likra.likra import Likra
from likra.models.adapters import adapter_config, read_adapter, write_adapter
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.utils.embedded import embedded_models
from likra.utils.runtime import QUIET
from tests.conftest import ARCHITECTURES, tiny_base
from tests.engine.test_engine import perturb

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
    stack = HeadStack(tiny_base(tokenizer, architecture), ["one", "two"], lora=lora_config(r=4, lora_alpha=7))
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
    stack = HeadStack(
        base, ["one", "two"], lora=lora_config(r=4, lora_alpha=7), adapt="completion", invocation_tokens=ending
    )
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
    other.fit(questions, runtime=QUIET)
    other.save_pretrained(tmp_path / "plain")
    with pytest.raises(InputError, match="do not act from the same tokens on"):
        Likra.from_adapters(
            tiny_base(tokenizer, architecture), positive=tmp_path / "plain" / "positive", negative=tmp_path / "two"
        )


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["model.layers.1.mlp.up_proj"]])
def test_peft_adapts_exactly_the_layers_of_the_stack(targets: list[str], tokenizer: Any, tmp_path: Path) -> None:
    stack = HeadStack(tiny_base(tokenizer), ["one"], lora=lora_config(r=2, target_modules=targets))
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
    stack = HeadStack(tiny_base(tokenizer), ["one"], lora=lora_config(r=4))
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
        ({"peft_type": "IA3"}, "heads are LoRA adapters|is not an adapter configuration"),
    ):
        config.write_text(json.dumps(fields | change))
        refused(match)
    config.write_text("{")
    refused("is not an adapter configuration")
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


CHANGES: dict[str, list[Any]] = {  # a value other than the default for each field of LoraConfig, and later ones
    "task_type": ["SEQ_CLS"],
    "auto_mapping": [{"base_model_class": "LlamaForCausalLM"}],
    "peft_version": ["99.0"],
    "base_model_name_or_path": ["someone/else"],
    "revision": ["main"],
    "inference_mode": [False, True],
    "r": [1],
    "target_modules": [["q_proj"], ".*q_proj", "all-linear"],
    "exclude_modules": [["lm_head"], ".*mlp.*"],
    "lora_alpha": [3, 0, -2],
    "lora_dropout": [0.1],
    "fan_in_fan_out": [True],
    "bias": ["all", "lora_only"],
    "use_rslora": [True],
    "modules_to_save": [["lm_head"]],
    "init_lora_weights": ["pissa", "pissa_niter_4", "olora", "OLoRA", "corda", "loftq", "lora_ga", "later", 3],
    "layers_to_transform": [0, [0, 1]],
    "layers_pattern": ["layers"],
    "rank_pattern": [{"q_proj": 4}],
    "alpha_pattern": [{"q_proj": 4}],
    "megatron_config": [{"a": 1}],
    "megatron_core": ["megatron.other"],
    "trainable_token_indices": [[1, 2], {"embed_tokens": [1]}],
    "loftq_config": [{"loftq_bits": 4}],
    "eva_config": [{"rho": 1.0}],
    "corda_config": [{"cache_file": "x"}],
    "lora_ga_config": [{"direction": "random"}],
    "use_dora": [True],
    "velora_config": [{"num_groups": 8}],
    "alora_invocation_tokens": [[1, 2]],
    "use_qalora": [True],
    "qalora_group_size": [8],
    "monteclora_config": [{"num_samples": 2}],
    "layer_replication": [[[0, 1], [0, 1]]],
    "runtime_config": [{"ephemeral_gpu_offload": True}],
    "lora_bias": [True],
    "target_parameters": [["q_proj.weight"]],
    "use_bdlora": [{"nblocks": 2}],
    "arrow_config": [{"top_k": 1}],
    "kasa_config": [{"beta": 0.1}],
    "ensure_weight_tying": [True],
    "a_field_of_a_later_peft": [True, 3, "x", {"a": 1}],
}
#: Fields that change nothing that the weights do not show, or that are read.
FREE = set(
    "task_type auto_mapping peft_version base_model_name_or_path revision inference_mode r target_modules "
    "exclude_modules lora_alpha lora_dropout fan_in_fan_out use_rslora layers_to_transform layers_pattern rank_pattern "
    "megatron_core loftq_config eva_config corda_config lora_ga_config alora_invocation_tokens qalora_group_size "
    "runtime_config target_parameters".split()
)


def test_every_field_of_an_adapter_is_neutral_or_refused(tokenizer: Any, tmp_path: Path) -> None:
    names = {field.name for field in dataclasses.fields(LoraConfig)}
    assert names <= {"peft_type", *CHANGES}, "a field that PEFT has added: say what becomes of it"
    write_adapter(HeadStack(tiny_base(tokenizer), ["one"], lora=lora_config(r=4)), "one", tmp_path)
    file = tmp_path / "adapter_config.json"
    fields = json.loads(file.read_text())
    for name, values in CHANGES.items():
        for value in values:
            others = {"layers_to_transform": [0]} if name == "layers_pattern" else {}  # PEFT takes it so only
            file.write_text(json.dumps(fields | others | {name: value}))
            if name in FREE:
                adapter_config(tmp_path)
            else:
                with pytest.raises(InputError, match=rf"uses {name}|is not an adapter configuration"):
                    adapter_config(tmp_path)
    for value in (True, False, None, "gaussian", "eva", "orthogonal", "mica"):
        file.write_text(json.dumps(fields | {"init_lora_weights": value}))
        adapter_config(tmp_path)
    for empty in (None, False, [], {}, ""):
        file.write_text(json.dumps(fields | {"a_field_of_a_later_peft": empty}))
        adapter_config(tmp_path)
    for name, value in (
        ("lora_alpha", "8"),
        ("lora_alpha", None),
        ("lora_alpha", float("nan")),
        ("alora_invocation_tokens", 3),
        ("alora_invocation_tokens", ["a"]),
    ):
        file.write_text(json.dumps(fields | {name: value}))
        with pytest.raises(InputError, match=name):
            adapter_config(tmp_path)


@pytest.mark.parametrize(
    "how", [{"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}, {"layer_replication": [[0, 2], [1, 2]]}]
)
def test_an_adapter_that_changes_its_base_is_refused(how: dict[str, Any], tokenizer: Any, tmp_path: Path) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", **how)
    get_peft_model(tiny_base(tokenizer).model, config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"uses {next(iter(how))}"):
        Likra.from_adapters(tiny_base(tokenizer), negative=tmp_path)


def test_pissa_that_peft_has_turned_into_plain_lora_loads(
    tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"], init_lora_weights="pissa")
    model = get_peft_model(tiny_base(tokenizer).model, config)
    config.init_lora_weights = True
    model.save_pretrained(tmp_path / "first")
    config.init_lora_weights = "pissa"
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
    expected = peft_likelihoods(model.eval(), tokenizer, questions)
    model.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "first"))
    likra = Likra.from_adapters(tiny_base(tokenizer), positive=tmp_path / "plain")
    assert_equal(likra.likelihoods(questions, PROMPTER), "positive", expected)


@pytest.mark.parametrize(
    "how",
    [
        {"target_modules": ["q_proj"], "init_lora_weights": "gaussian"},
        {"target_modules": ["q_proj"], "init_lora_weights": "eva"},
        {"target_modules": ["q_proj"], "init_lora_weights": "orthogonal"},
        {"target_modules": ["q_proj"], "init_lora_weights": "mica"},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1], "lora_dropout": 0.5},
        {"target_modules": "all-linear", "exclude_modules": ["down_proj"], "lora_alpha": -3},
        {"target_modules": r".*layers\.0.*proj", "lora_alpha": 0},
        {"target_modules": ["q_proj", "up_proj"], "rank_pattern": {"q_proj": 4, "up_proj": 4}, "use_rslora": True},
        {"target_modules": [], "target_parameters": ["q_proj.weight", "up_proj.weight"]},
    ],
    ids=str,
)
def test_what_is_neutral_scores_as_in_peft(
    how: dict[str, Any], tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    model = get_peft_model(tiny_base(tokenizer).model, LoraConfig(r=4, task_type="CAUSAL_LM", **how))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.1)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny_base(tokenizer).model, str(tmp_path)).eval()
    expected = peft_likelihoods(again, tokenizer, questions)
    likra = Likra.from_adapters(tiny_base(tokenizer), positive=tmp_path)
    assert_equal(likra.likelihoods(questions, PROMPTER), "positive", expected)


@pytest.mark.parametrize(
    ("architecture", "target", "saved", "match"),
    [
        (
            "llama",
            "lm_head",
            False,
            "adapts lm_head, but heads do not adapt the output layer; train it without lm_head",
        ),
        ("gpt2", "lm_head", False, "adapts lm_head, but heads do not adapt the output layer"),  # tied
        ("llama", "lm_head", True, "not a LoRA weight of a linear layer; .* leave the output layer and the embeddings"),
        (
            "llama",
            "embed_tokens",
            False,
            "not a LoRA weight of a linear layer; .* leave the output layer and the embedd",
        ),
    ],
)
def test_adapted_output_layers_and_embeddings_are_named(
    architecture: str, target: str, saved: bool, match: str, tokenizer: Any, tmp_path: Path
) -> None:
    model = get_peft_model(tiny_base(tokenizer, architecture).model, LoraConfig(r=2, target_modules=[target]))
    model.save_pretrained(tmp_path, save_embedding_layers=saved)
    base = tiny_base(tokenizer, architecture)
    with pytest.raises(InputError, match=match):
        Likra.from_adapters(base, positive=tmp_path)


def test_a_rank_that_is_not_that_of_the_weights_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    write_adapter(HeadStack(tiny_base(tokenizer), ["one"], lora=lora_config(r=4)), "one", tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"r": 8}))
    with pytest.raises(InputError, match=r"its layers have rank 4, but adapter_config\.json says r is 8"):
        Likra.from_adapters(tiny_base(tokenizer), positive=tmp_path)


def test_an_output_layer_of_another_name_is_named(tokenizer: Any, tmp_path: Path) -> None:
    bases = [tiny_base(tokenizer) for _ in range(2)]
    for base in bases:
        base.model.embed_out = base.model.lm_head
        del base.model.lm_head
        base.model.get_output_embeddings = lambda model=base.model: model.embed_out  # type: ignore[method-assign]
    get_peft_model(bases[0].model, LoraConfig(r=2, target_modules=["embed_out"])).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="adapts embed_out, but heads do not adapt the output layer"):
        Likra.from_adapters(bases[1], positive=tmp_path)


def test_a_parameter_that_peft_turns_round_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    """PEFT transposes updates of `target_parameters`; of a square Conv1D no shape would show it."""
    config = LoraConfig(r=2, target_modules=[], target_parameters=["attn.c_proj.weight"])
    get_peft_model(tiny_base(tokenizer, "gpt2").model, config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="by target_parameters, which turns a Conv1D's update round"):
        Likra.from_adapters(tiny_base(tokenizer, "gpt2"), positive=tmp_path)


@pytest.mark.parametrize(
    ("named", "here", "said"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B", False),
        ("meta-llama/Llama-3.1-8B", "/models/llama-3.1-8b", False),
        ("meta-llama/Llama-3.1-8B", "C:\\models\\Llama-3.1-8B\\", False),
        ("/cache/models--meta-llama--Llama-3.1-8B/snapshots/" + 40 * "a", "meta-llama/Llama-3.1-8B", False),
        ("openai-community/gpt2", "gpt2", False),
        (None, "gpt2", False),
        ("", "gpt2", False),
        ("meta-llama/Llama-3.1-8B", "LlamaForCausalLM", False),  # a model in memory without a name
        (str(embedded_models()["world"]), "world", False),
        (str(embedded_models()["world-tiny"]), "world", True),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("meta-llama/Llama-3.1-8B", "someone/Llama-3.1-8B", True),
        ("meta-llama/Llama-3.1-8B", "../models/stories260K", True),
    ],
)
def test_another_base_that_an_adapter_names_is_said(
    named: str | None, here: str, said: bool, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_adapter(HeadStack(tiny_base(tokenizer), ["one"], lora=lora_config(r=2)), "one", tmp_path)
    file = tmp_path / "adapter_config.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps(fields | {"base_model_name_or_path": named}))
    base = dataclasses.replace(tiny_base(tokenizer), name=here)
    Likra.from_adapters(base, positive=tmp_path)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * said
    assert not said or f"names {named} as its base, but this is {here}" in caplog.text


def test_another_commit_that_an_adapter_names_is_said(
    tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = dataclasses.replace(tiny_base(tokenizer), name="some/model", revision=40 * "a")
    write_adapter(HeadStack(base, ["one"], lora=lora_config(r=2)), "one", tmp_path)
    base = dataclasses.replace(tiny_base(tokenizer), name="some/model", revision=40 * "a")
    likra = Likra.from_adapters(base, positive=tmp_path)
    assert not caplog.records
    assert likra.stack
    likra.stack.remove()
    Likra.from_adapters(dataclasses.replace(base, revision=40 * "b"), positive=tmp_path)
    assert f"names some/model at {40 * 'a'} as its base, but this is some/model at {40 * 'b'}" in caplog.text


def test_an_adapter_of_another_base_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    write_adapter(HeadStack(tiny_base(tokenizer, "gpt2"), ["one"], lora=lora_config(r=2)), "one", tmp_path / "gpt2")
    with pytest.raises(InputError, match="trained on another base"):
        Likra.from_adapters(tiny_base(tokenizer), positive=tmp_path / "gpt2")
    base = tiny_base(tokenizer)
    write_adapter(HeadStack(base, ["one"], lora=lora_config(r=2)), "one", tmp_path / "llama")
    with pytest.raises(StateError, match="already carries heads"):
        Likra.from_adapters(base, positive=tmp_path / "llama")
    with pytest.raises(InputError, match="needs a positive or a negative adapter"):
        Likra.from_adapters(tiny_base(tokenizer))
