"""What tells one base from another."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from likra.data import Question
from likra.errors import InputError
from likra.likra import Likra
from likra.models.base import Base, as_base, load_base, sampled
from likra.models.identity import Identity, checksum, weights_of
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.utils.files import sha256
from tests.conftest import ARCHITECTURES, tiny_base


def by_hand(tensor: torch.Tensor) -> int:
    """The checksum in Python's whole numbers."""
    from likra.models.identity import _FACTORS

    content = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    content += bytes(-len(content) % 8)
    words = [int.from_bytes(content[i : i + 8], "little") for i in range(0, len(content), 8)]
    width, factors = len(_FACTORS), [int(factor) for factor in _FACTORS]
    return sum(word * factors[i % width] * (2 * (i // width) + 1) for i, word in enumerate(words)) % 2**64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8, torch.bool])
@pytest.mark.parametrize("size", [0, 1, 7, 2**18 + 3])
def test_a_checksum_is_the_sum_that_it_says(dtype: torch.dtype, size: int) -> None:
    tensor = torch.randn(size + 1, generator=torch.Generator().manual_seed(size)).to(dtype)[1:]  # begins anywhere
    assert int(checksum(tensor), 16) == by_hand(tensor)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_change_of_one_value_is_lost(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([1, 5, 2**15, 2**17]))
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(size))
    before = checksum(tensor), checksum(tensor, torch.float32)
    place = data.draw(st.integers(0, size - 1))
    octets = tensor.view(torch.uint8)
    octets[4 * place + data.draw(st.integers(0, 3))] ^= data.draw(st.integers(1, 255))
    assert checksum(tensor) != before[0] and checksum(tensor, torch.float32) != before[1]


def test_values_in_another_order_are_others() -> None:
    tensor = torch.arange(2**17, dtype=torch.float32)
    sums = {checksum(tensor), checksum(tensor.flip(0)), checksum(tensor.roll(1)), checksum(tensor.roll(2**16))}
    assert len(sums) == 4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_base_that_was_saved_is_the_one_in_memory(architecture: str, tokenizer: Any, tmp_path: Path) -> None:
    base = tiny_base(tokenizer, architecture)
    told = Identity.from_dict(json.loads(json.dumps(base.identity().as_dict())))
    base.model.save_pretrained(tmp_path / "model", max_shard_size="20KB")
    tokenizer.save_pretrained(tmp_path / "model")
    again = load_base(str(tmp_path / "model"))
    assert told.differences(again.identity()) == ([], [])
    assert told.digest == base.fingerprint == again.fingerprint
    HeadStack(again, ["one"], lora=lora_config(r=2))
    assert again.identity().digest == told.digest  # heads that it carries count nothing
    assert {name for name, _ in weights_of(again.model)} == {name for name, _ in weights_of(base.model)}


@pytest.fixture(scope="module")
def heads(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads on the tiny Llama."""
    return saved(load_base(str(model_folder)), tmp_path_factory.mktemp("heads") / "heads")


def saved(base: Base, folder: Path) -> Path:
    """Untrained heads on a base, saved."""
    likra = Likra.from_base(base)
    likra.stack = HeadStack(likra.base, likra.heads, lora=lora_config(r=2, target_modules=["q_proj"]))
    likra.training = {"data": None, "negatives": "incorrect", "shots": 0, "limit": None}
    likra.training |= {"examples": {"positive": 1, "negative": 1}, "prompts_cut": {"positive": 0, "negative": 0}}
    likra.save_pretrained(folder)
    return folder


def edited(folder: Path, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads((folder / file).read_text(encoding="utf-8"))
    change(fields)
    (folder / file).write_text(json.dumps(fields), encoding="utf-8")


def weights_edited(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def config(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: edited(folder, "config.json", lambda found: found.update(fields))


def tokenizer_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: edited(folder, "tokenizer.json", change)


def weight(name: str, change: Callable[[torch.Tensor], object]) -> Callable[[Path], None]:
    return lambda folder: weights_edited(folder, lambda found: change(found[name]))


def added_token(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|im_start|>"])
    tokenizer.save_pretrained(folder)


def appends_eos(folder: Path) -> None:
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    backend.save(str(folder / "tokenizer.json"))


def stored_in(dtype: torch.dtype) -> Callable[[Path], None]:
    return lambda folder: AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)


def stored_and_changed(folder: Path) -> None:
    stored_in(torch.bfloat16)(folder)
    weight("model.norm.weight", lambda found: found[:1].mul_(1.5))(folder)


LAYER, NORM = "model.layers.1.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            config(rope_parameters={"rope_theta": 5e5, "rope_type": "default"}),
            "rope_parameters.rope_theta is 500000.0 here and was 10000.0",
        ),
        (config(rms_norm_eps=0.1), "rms_norm_eps is 0.1 here and was 1e-06"),
        (config(hidden_act="gelu"), 'hidden_act is "gelu" here and was "silu"'),
        (config(max_position_embeddings=64), "max_position_embeddings is 64 here and was 128"),
        (config(tie_word_embeddings=True), "tie_word_embeddings is true here and was false"),
        (config(sliding_window=8), "sliding_window is 8 here and was not set"),
        (tokenizer_json(lambda found: found.update(post_processor=None)), "another one (post_processor, reading of a"),
        (appends_eos, "its tokenizer is another one (post_processor, reading of a sample)"),
        (added_token, "its tokenizer is another one (added_tokens, vocabulary)"),
        (tokenizer_json(lambda found: found["model"]["merges"].pop()), "its tokenizer is another one (model"),
        (tokenizer_json(lambda found: found.update(normalizer={"type": "Lowercase"})), "is another one (normalizer"),
        (
            weight("model.embed_tokens.weight", lambda found: found[301].mul_(5)),
            "are others (model.embed_tokens.weight)",
        ),
        (weight(LAYER, lambda found: found[5, 7].add_(1)), f"its weights are others ({LAYER})"),
        (weight(LAYER, lambda found: found.neg_()), f"its weights are others ({LAYER})"),
        (weight(NORM, lambda found: found[3:4].mul_(1.0001)), f"its weights are others ({NORM})"),
        (weight(NORM, lambda found: found.copy_(found.flip(0).mul_(2))), f"its weights are others ({NORM})"),
        (stored_and_changed, "its weights are others (model.norm.weight)"),
    ],
)
def test_another_base_is_refused_by_what_differs(
    change: Callable[[Path], None], named: str, heads: Path, model_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_folder, tmp_path / "other")
    change(tmp_path / "other")
    with pytest.raises(InputError) as caught:
        Likra.from_pretrained(heads, model=str(tmp_path / "other"))
    [line] = str(caught.value).splitlines()
    assert line.startswith(
        f"{heads}: its heads were trained on {model_folder}, but {tmp_path / 'other'} differs from it"
    )
    assert named in line and "load the base that they were trained on" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: None, ""),
        (
            lambda folder: edited(folder, "tokenizer_config.json", lambda found: found.update(chat_template="{{ 1 }}")),
            "",
        ),
        (lambda folder: (folder / "generation_config.json").write_text('{"max_new_tokens": 3}'), ""),
        (config(attention_dropout=0.5, use_cache=False, transformers_version="4.0", initializer_range=1.0), ""),
        (stored_in(torch.bfloat16), "its weights are rounded otherwise"),
        (stored_in(torch.float16), "its weights are rounded otherwise"),
    ],
)
def test_the_same_base_is_taken_and_its_precision_is_said(
    change: Callable[[Path], object],
    said: str,
    heads: Path,
    model_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(model_folder, tmp_path / "other")
    change(tmp_path / "other")
    Likra.from_pretrained(heads, model=str(tmp_path / "other"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * bool(said)
    assert said in caplog.text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("before", ["float32", "bfloat16", "float16"])
def test_the_precision_that_a_base_is_read_in_is_said(
    before: str, dtype: str, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where one is not the other rounded (bfloat16 and float16): the files are the same."""
    saved(load_base(str(model_folder), dtype=before), tmp_path / "heads")
    Likra.from_pretrained(tmp_path / "heads", dtype=dtype)
    expected = [f"it is read in {dtype} here and was in {before}"] if dtype != before else []
    assert len(caplog.records) == len(expected) and all(text in caplog.text for text in expected)


def test_a_base_that_was_changed_in_memory_is_another(heads: Path, model_folder: Path, tmp_path: Path) -> None:
    base = load_base(str(model_folder))
    first = base.fingerprint
    base.model.get_submodule("model.layers.0.self_attn.v_proj").weight.data[1, 2] += 1e-3  # type: ignore[index,operator]
    with pytest.raises(InputError, match="its weights are others"):
        Likra.from_pretrained(heads, model=base)
    assert base.fingerprint == first  # a name only
    saved(base, tmp_path / "heads")
    with pytest.raises(InputError, match=r"its weights are others \(model.layers.0.self_attn.v_proj.weight\)"):
        Likra.from_pretrained(tmp_path / "heads", model=str(model_folder))


class Quantised:
    """Stands for bitsandbytes: linear layers hold packed numbers of another shape, and a state beside them."""

    def __init__(self, base: Base, bits: int) -> None:
        model, kinds = base.model, {4: torch.uint8, 8: torch.int8}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                packed = (module.weight.data * 3).to(torch.int8).view(kinds[bits]).flatten()[:: 8 // bits, None]
                module.weight = torch.nn.Parameter(packed.clone(), requires_grad=False)
                module.register_buffer("SCB", torch.ones(3))
        model.config.quantization_config = {"quant_method": "bitsandbytes", f"load_in_{bits}bit": True}
        self.base = base


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_base_is_said(bits: int, heads: Path, model_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = Identity.from_dict(json.loads((heads / "likra.json").read_text())["base"]["identity"])
    base = Quantised(load_base(str(model_folder)), bits).base
    # Of the same files: surely the same base.
    said = f"it is quantised (bitsandbytes, {bits} bits) here and was not"
    assert told.differences(base.identity()) == ([], [said])
    assert Identity.from_dict(base.identity().as_dict()).differences(load_base(str(model_folder)).identity()) == (
        [],
        [f"it is not quantised here and was quantised (bitsandbytes, {bits} bits)"],
    )
    # Of other files: as far as can be told.
    base.files = None
    assert told.differences(base.identity()) == ([], [said, "quantised weights cannot be compared"])
    same = Identity.from_dict(base.identity().as_dict())
    assert same.differences(base.identity()) == ([], [])
    base.model.get_submodule("model.layers.0.mlp.up_proj").weight.data[0] += 1  # type: ignore[index,operator]
    assert same.differences(base.identity()) == (["its weights are others (model.layers.0.mlp.up_proj.weight)"], [])
    base.model.get_submodule("model.norm").weight.data[0] += 1  # type: ignore[index,operator]
    assert told.differences(base.identity()) == (["its weights are others (model.norm.weight)"], [])


def test_other_versions_of_the_libraries_are_no_other_base(heads: Path, model_folder: Path) -> None:
    told = json.loads((heads / "likra.json").read_text())["base"]["identity"]
    here = load_base(str(model_folder)).identity()
    told["config"] |= {"a_field_of_another_version": 3}
    told["tokenizer"] |= {"pre_tokenizer": "written otherwise"}
    assert len(Identity.from_dict(told).differences(here)[0]) == 2
    told["versions"] |= {"transformers": "4.57.0"}
    assert Identity.from_dict(told).differences(here) == ([], [])
    told["config"] |= {"rms_norm_eps": 0.5}
    told["tokenizer"] |= {"vocabulary": "another"}
    assert Identity.from_dict(told).differences(here)[0] == [
        "rms_norm_eps is 1e-06 here and was 0.5",
        "its tokenizer is another one (vocabulary)",
    ]


def test_files_of_the_hub_are_known_by_their_names(base: Base, model_folder: Path, tmp_path: Path) -> None:
    """The hub's cache keeps a large file under its digest, so that it need not be read."""
    assert base.identity().stored() is None
    base.files, blobs = tmp_path / "snapshots" / ("a" * 40), tmp_path / "blobs"
    blobs.mkdir()
    shutil.copytree(model_folder, base.files)
    plain = base.identity().stored()
    blob = blobs / sha256(base.files / "model.safetensors")
    (base.files / "model.safetensors").rename(blob)
    (base.files / "model.safetensors").symlink_to(blob)
    assert base.identity().stored() == plain is not None
    blob.write_bytes(b"not read")
    assert base.identity().stored() == plain
    blob.unlink()
    assert base.identity().stored() is None


def test_heads_of_an_earlier_likra_load(heads: Path, model_folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    shutil.copytree(heads, tmp_path / "heads")

    def earlier(manifest: dict[str, Any]) -> None:
        for later in ("format", "training_config", "adapt", "invocation_tokens"):
            del manifest[later]
        manifest["recipe"] = {
            "learning_rate": 1e-3,
            "batch_size": 8,
            "epochs": 1,
            "schedule": "constant",
            "warmup": 0.0,
            "rank": 4,
            "alpha": 8.0,
            "targets": "all-linear",
            "activation": "everywhere",
            "loss": "answer",
            "bf16": False,
            "gradient_checkpointing": False,
            "seed": 0,
        }
        manifest |= {"activation": "everywhere", "invocation": []}
        manifest["base"] = {
            "name": str(model_folder),
            "revision": None,
            "fingerprint": sampled(load_base(str(model_folder)).model),
        }

    edited(tmp_path / "heads", "likra.json", earlier)
    assert Likra.from_pretrained(tmp_path / "heads").stack
    assert Likra.from_pretrained(tmp_path / "heads", dtype="bfloat16").stack
    with pytest.raises(InputError, match="differs from it: its weights are others"):
        Likra.from_pretrained(tmp_path / "heads", model=tiny_base(tokenizer, seed=1))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 3},
        {"format": 3, "likra": "0.0.1"},
        {"likra": "99.0.1", "training_config": {"a_later_field": 3}},
        {"likra": "0.2.0.dev1", "base": {"name": "x", "revision": None, "identity": {}}},
        {"format": 3, "heads": {"other": "other"}},
    ],
)
def test_heads_of_a_later_likra_are_named_as_such(change: dict[str, Any], heads: Path, tmp_path: Path) -> None:
    shutil.copytree(heads, tmp_path / "heads")
    edited(tmp_path / "heads", "likra.json", lambda manifest: manifest.update(change))
    with pytest.raises(InputError, match=r"likra.json: was written by likra \S+, newer than this one \(\S+\); upgrade"):
        Likra.from_pretrained(tmp_path / "heads")


@pytest.mark.parametrize(
    "change",
    [{"training_config": {"odd": 3}}, {"format": "x"}, {"likra": None}, {"base": {"name": "x", "revision": None}}],
)
def test_a_damaged_manifest_is_not_a_later_one(change: dict[str, Any], heads: Path, tmp_path: Path) -> None:
    shutil.copytree(heads, tmp_path / "heads")
    edited(tmp_path / "heads", "likra.json", lambda manifest: manifest.update(change))
    with pytest.raises(InputError, match=r"likra.json: is damaged"):
        Likra.from_pretrained(tmp_path / "heads")


def test_a_later_likra_of_this_format_is_read(heads: Path, tmp_path: Path) -> None:
    shutil.copytree(heads, tmp_path / "heads")
    edited(tmp_path / "heads", "likra.json", lambda manifest: manifest.update(likra="99.1"))
    assert Likra.from_pretrained(tmp_path / "heads").stack


def test_a_tokenizer_without_rules_is_told_by_what_it_does(base: Base, questions: list[Question]) -> None:
    class Slow:
        bos_token = eos_token = unk_token = None
        added_tokens_decoder: ClassVar[dict[int, Any]] = {}
        all_special_tokens: ClassVar[list[str]] = []

        def __init__(self, fast: PreTrainedTokenizerFast) -> None:
            self.fast = fast

        def get_vocab(self) -> dict[str, int]:
            return self.fast.get_vocab()

        def __call__(self, text: str) -> Any:
            return {"input_ids": self.fast(text)["input_ids"][self.cut :]}

        cut = 0

    slow = Slow(base.tokenizer)
    told = as_base(base.model, slow).identity()
    assert told.differences(as_base(base.model, slow).identity()) == ([], [])
    slow.cut = 1
    found = told.differences(as_base(base.model, slow).identity())
    assert found == (["its tokenizer is another one (reading of a sample)"], [])
