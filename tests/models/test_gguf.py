"""GGUF files as bases: read as llama.cpp means them, known again, and refused in one line where they are bad."""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from lm_eval.api.instance import Instance
from peft import PeftModel
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from likra import InputError, Likra, Question
from likra.data import Prompter
from likra.engine.loglikelihood import encode_question, score
from likra.hub.folder import read_manifest
from likra.integrations.harness import LikraLM
from likra.lab.runner import task
from likra.models import gguf as gguf_module
from likra.models.base import load_base
from likra.scoring.likelihoods import BASE
from likra.serve import create_app
from likra.utils import locations
from likra.utils.files import sha256
from tests.cli.test_cli import invoke, refused
from tests.conftest import VOCABULARY, Run, write_questions

TYPES = gguf.GGMLQuantizationType
TEXTS = [
    "Question: What is two and two?\nAnswer: four",
    "a  goat, isn't it?",
    " café \n\n 12 345  67",
    "</s> the sea",
]
#: GGUF's name of a layer's part -> transformers'.
PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def tiny_llama(rope: dict[str, Any] | None = None) -> PreTrainedModel:
    """A random Llama whose rows are whole blocks of 32 values."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_parameters=rope or {"rope_type": "default", "rope_theta": 10000.0},
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.2)
    return model  # type: ignore[no-any-return]


def as_llama_cpp(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in llama.cpp's order: those that are turned together stand side by side."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tensors_of(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """A Llama's weights as GGUF names and orders them."""
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    found = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
        "output.weight": weights["lm_head.weight"],
    }
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    for layer in range(model.config.num_hidden_layers):
        for part, name in PARTS.items():
            weight = weights[f"model.layers.{layer}.{name}.weight"]
            found[f"blk.{layer}.{part}.weight"] = as_llama_cpp(weight, heads[part]) if part in heads else weight
    return found


Change = Callable[[gguf.GGUFWriter], Any]


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    tokenizer: Any,
    kind: TYPES = TYPES.F32,
    *,
    architecture: str = "llama",
    pre: str | None = "gpt-2",
    vocabulary: bool = True,
    without: str = "\0",
    change: Change | None = None,
) -> Path:
    """A model and its tokenizer as llama.cpp's converter writes them, matrices stored as `kind`."""
    config, rules = model.config, json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    if vocabulary:
        words = sorted(rules["vocab"], key=rules["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        if pre is not None:
            writer.add_tokenizer_pre(pre)
        writer.add_token_list(words)
        writer.add_token_types([3 if word in ("<s>", "</s>") else 1 for word in words])
        writer.add_token_merges([" ".join(merge) for merge in rules["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_pad_token_id(1)
        writer.add_add_bos_token(True)
        writer.add_chat_template("{{ messages[0]['content'] }}")
    if change:
        change(writer)
    for name, weight in tensors_of(model).items():
        if without in name:
            continue
        if weight.ndim == 1 or kind == TYPES.F32:
            writer.add_tensor(name, weight.astype(np.float32))
        else:
            writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rounded(model: PreTrainedModel, kind: TYPES) -> PreTrainedModel:
    """The model with its matrices as they are after being stored."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            stored = gguf.quants.dequantize(gguf.quants.quantize(parameter.detach().numpy(), kind), kind)
            parameter.data = torch.from_numpy(stored.astype(np.float32))
    return model


@torch.no_grad()
def plain(model: PreTrainedModel, context: tuple[int, ...], completion: tuple[int, ...]) -> float:
    """Log-likelihood of a completion by one forward pass."""
    ids = torch.tensor([context + completion])
    logprobs = model(ids).logits[0].log_softmax(-1)
    return sum(float(logprobs[len(context) - 1 + place, token]) for place, token in enumerate(completion))


@pytest.fixture(scope="module")
def file(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf", tiny_llama(), tokenizer, TYPES.Q8_0)


@pytest.mark.parametrize("kind", [TYPES.F32, TYPES.F16, TYPES.Q8_0, TYPES.Q4_0], ids=lambda kind: kind.name)
def test_likelihoods_are_those_of_the_stored_weights(
    kind: TYPES, tokenizer: Any, questions: list[Question], tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), tokenizer, kind)
    base, model, prompter = load_base(str(path)), rounded(tiny_llama(), kind), Prompter("qa")
    assert base.model.dtype == torch.float32 and base.max_length == 128 and base.files == path
    table = score(base, None, questions, prompter)
    for row, question in zip(table.head(BASE), questions, strict=True):
        found = [plain(model, pair.context, pair.completion) for pair in encode_question(base, question, prompter)]
        np.testing.assert_allclose(row[: len(found)], found, atol=1e-4)
    whole = rounded(tiny_llama(), TYPES.F32).state_dict()
    same = all(torch.equal(base.model.state_dict()[name], value) for name, value in whole.items())
    assert same == (kind == TYPES.F32)
    assert load_base(str(path), dtype="bfloat16").model.dtype == torch.bfloat16


def test_the_tokenizer_is_the_one_that_was_written(file: Path, tokenizer: Any, tmp_path: Path) -> None:
    found = load_base(str(file)).tokenizer
    for text in TEXTS:
        assert found(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert found.decode(found.encode(text, add_special_tokens=False)) == text
    assert (found.bos_token, found.eos_token, found.pad_token) == ("<s>", "</s>", "</s>")
    assert found.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == "Hi"
    # A folder's own tokenizer is another one's.
    shutil.copy(file, tmp_path / "tiny.gguf")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "nonsense"}')
    assert load_base(str(tmp_path / "tiny.gguf")).tokenizer(TEXTS[0]) == tokenizer(TEXTS[0])


def test_digits_stand_apart_where_the_file_says_so(
    tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SmolLM's way, of which transformers knows nothing: two spaces are one token before a number too."""
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    words = {word: place for word, place in vocabulary["vocab"].items() if place < VOCABULARY - 2}
    words |= {"ĠĠ": VOCABULARY - 2, "12": VOCABULARY - 1}
    merges = [tuple(merge) for merge in vocabulary["merges"] if "".join(merge) in words]
    merges += [("Ġ", "Ġ"), ("1", "2")]
    tokenizer = AutoTokenizer.from_pretrained(_saved(tokenizer, tmp_path / "own", BPE(vocab=words, merges=merges)))
    backend = Tokenizer(BPE(vocab=words, merges=merges))
    digits = pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    text = "In  12 days,\n\n  345 of them"
    expected = backend.encode(text).ids
    apart = load_base(str(write_gguf(tmp_path / "a.gguf", tiny_llama(), tokenizer, pre="smollm"))).tokenizer
    assert apart.encode(text, add_special_tokens=False) == expected and not caplog.records
    together = load_base(str(write_gguf(tmp_path / "b.gguf", tiny_llama(), tokenizer, pre="gpt-2"))).tokenizer
    assert together.encode(text, add_special_tokens=False) != expected and not caplog.records
    for pre in ("viking", None):
        load_base(str(write_gguf(tmp_path / "c.gguf", tiny_llama(), tokenizer, pre=pre)))
        assert "is not known to transformers" in caplog.records.pop().message


def test_llama_3_has_its_positions_and_its_bos(tokenizer: Any, questions: list[Question], tmp_path: Path) -> None:
    """A file states the rule of its positions by what becomes of each frequency, an old one says nothing of a BOS."""
    rule = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    model = tiny_llama({"rope_type": "llama3", "rope_theta": 500_000.0, **rule})
    factors = (500_000.0 ** (-np.arange(4) / 4) / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    assert factors[0] == 1 and factors[-1] == 8

    def change(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", factors)
        writer.kv_data[0].pop("tokenizer.ggml.add_bos_token")

    base = load_base(str(write_gguf(tmp_path / "a.gguf", model, tokenizer, pre="llama-bpe", change=change)))
    assert base.tokenizer("Hi").input_ids[0] == 0
    ids = torch.arange(120)[None]
    with torch.no_grad():
        found, expected = base.model(ids).logits, model(ids).logits
        unscaled = tiny_llama({"rope_type": "default", "rope_theta": 500_000.0})(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (unscaled - expected).abs().max() > 1e-2


def _saved(tokenizer: Any, folder: Path, model: BPE) -> Path:
    """The tokenizer with another model."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.model = model
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(questions: list[Question], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, some in (("train", questions[:5]), ("validation", questions[5:10]), ("test", questions[10:])):
        write_questions(folder / f"{split}.jsonl", some)
    return folder


@pytest.fixture(scope="module")
def heads(file: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads on a GGUF file, trained by the command line."""
    folder = tmp_path_factory.mktemp("heads") / "heads"
    done = invoke("train", file, "--data", data, "--out", folder, "--lr", "0.01", "--rank", "4", "--batch-size", "4")
    assert done.exit_code == 0 and "GGUF" not in done.stderr, done.output
    return folder


def told(*arguments: Any) -> Any:
    """What a command prints as JSON."""
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def by_hand(heads: Path, question: Question, prompter: Prompter) -> dict[str, float]:
    """Scores by plain forward passes of the file's weights with PEFT's adapters, one head after the other."""
    found: list[dict[str, float]] = []
    for role in ("positive", "negative"):
        model = PeftModel.from_pretrained(rounded(tiny_llama(), TYPES.Q8_0), heads / role).eval()
        pairs = encode_question(load_base(read_manifest(heads)["base"]["name"]), question, prompter)
        found.append({c: plain(model, p.context, p.completion) for c, p in zip(question.choices, pairs, strict=True)})
    return {choice: found[0][choice] - found[1][choice] for choice in question.choices}


def test_the_commands_the_server_and_the_harness(heads: Path, data: Path, questions: list[Question]) -> None:
    question = questions[10]
    expected = by_hand(heads, question, Prompter("qa"))
    choices = [part for choice in question.choices for part in ("--choice", choice)]
    ranked = told("score", heads, "--question", question.text, *choices)
    assert {one["text"]: one["score"] for one in ranked} == pytest.approx(expected, abs=1e-3)
    assert told("eval", heads, "--data", data)["questions"] == 2
    likra = Likra.from_pretrained(heads)
    with TestClient(create_app({"tiny": likra})) as client:
        answer = client.post("/v1/score", json={"question": question.text, "choices": list(question.choices)}).json()
    assert {one["text"]: one["score"] for one in answer["choices"]} == pytest.approx(expected, abs=1e-3)
    pairs = [(f"Question: {question.text}\nAnswer:", f" {choice}") for choice in question.choices]
    asked = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
    found = LikraLM(heads=str(heads)).loglikelihood(asked)
    np.testing.assert_allclose([value for value, _ in found], list(expected.values()), atol=1e-3)


def test_a_process_of_its_own_reads_them(heads: Path, run: Run) -> None:
    """A command that begins with a quick import of transformers, which lacks what reads GGUF files."""
    score = ["score", str(heads), "--question", "Which?", "--choice", "goat", "--choice", "owl", "--json"]
    done = run([sys.executable, "-m", "likra", *score])
    assert done.returncode == 0, done.stderr
    for found, expected in zip(json.loads(done.stdout), told(*score[:-1]), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_heads_are_written_on_calibrated_and_distilled(heads: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(heads, tmp_path / "heads")
    assert invoke("calibrate", tmp_path / "heads", "--data", data).exit_code == 0
    assert told("generate", heads, "--prompt", "Which animal?", "--max-tokens", "3")[0]["texts"]
    how = ["--max-tokens", "3", "--limit", "2"]
    assert invoke("distill", heads, "--data", data, "--out", tmp_path / "one", *how).exit_code == 0


def test_heads_know_their_file(heads: Path, file: Path, tokenizer: Any, tmp_path: Path) -> None:
    origin = read_manifest(heads)["base"]
    assert origin["name"] == str(file) and origin["identity"]["stored"] == sha256(file)
    shutil.copy(file, tmp_path / "moved.gguf")
    moved = Likra.from_pretrained(heads, model=str(tmp_path / "moved.gguf"))
    assert moved.base.fingerprint == origin["identity"]["digest"]
    half = Likra.from_pretrained(heads, dtype="bfloat16")  # the same file in another precision
    assert half.base.model.dtype == torch.bfloat16
    other = write_gguf(tmp_path / "other.gguf", tiny_llama(), tokenizer, TYPES.Q4_0)
    with pytest.raises(InputError, match=r"but .*other\.gguf differs from it: its weights are others"):
        Likra.from_pretrained(heads, model=str(other))
    split = write_gguf(tmp_path / "split.gguf", tiny_llama(), tokenizer, TYPES.Q8_0, pre="smollm")
    with pytest.raises(InputError, match="its tokenizer is another one"):
        Likra.from_pretrained(heads, model=str(split))
    # What a study keeps is found again by the file's content.
    assert task._model_content(str(file)) == sha256(file) != task._model_content(str(other))


def test_the_card_names_the_file_and_its_code_runs(heads: Path, file: Path) -> None:
    card = (heads / "README.md").read_text(encoding="utf-8")
    assert card.count("# Likra heads on tiny.Q8_0.gguf") == 1 and sha256(file) in card
    assert "pip install 'likra[gguf]'" in card and "base_model" not in card.split("---")[1]
    for code in card.split("```python\n")[1:]:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code.split("```")[0], {})
        assert len(printed.getvalue().splitlines()) == 2


def scaled(writer: gguf.GGUFWriter) -> None:
    writer.add_tensor("rope_freqs.weight", np.full(4, 8, np.float32))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another architecture": ({"architecture": "clip"}, "transformers cannot load this GGUF file"),
    "no tokenizer": ({"vocabulary": False}, "holds no tokenizer"),
    "no output layer's norm": ({"without": "output_norm"}, r"lacks weights of its model \(model.norm.weight\)"),
    "a part": ({"change": lambda writer: writer.add_uint16("split.count", 3)}, "is one of 3 parts of a model"),
    "an adapter": ({"change": lambda writer: writer.add_type("adapter")}, "holds no model but 'adapter'"),
    "scaled by factors": ({"change": scaled}, r"its rotary positions are scaled \(rope_freqs.weight\)"),
    "scaled by a rule": (
        {"change": lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)},
        r"its rotary positions are scaled \(llama.rope.scaling.type\)",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_no_whole_model_is_refused(what: str, tokenizer: Any, tmp_path: Path) -> None:
    more, reason = BAD[what]
    path = write_gguf(tmp_path / "bad.gguf", tiny_llama(), tokenizer, **more)
    with pytest.raises(InputError, match=f"^{path}: {reason}") as caught:
        load_base(str(path))
    assert "\n" not in str(caught.value)


def test_bad_files_are_one_line(
    file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(model: Path) -> str:
        return refused(capsys, monkeypatch, "train", model, "--data", data, "--out", tmp_path / "heads")

    whole = file.read_bytes()
    for length in (4, 20, 100, len(whole) // 2, len(whole) - 40):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        assert f"{tmp_path / 'cut.gguf'}: is not a whole GGUF file" in bad(tmp_path / "cut.gguf")
    (tmp_path / "cut.gguf").write_bytes(whole[:4] + b"\xff" * 400)
    assert "is not a whole GGUF file" in bad(tmp_path / "cut.gguf")
    (tmp_path / "text.gguf").write_text("not a model")
    assert "is a file, but no GGUF file" in bad(tmp_path / "text.gguf")
    (tmp_path / "empty.gguf").touch()
    assert "is a file, but no GGUF file" in bad(tmp_path / "empty.gguf")
    assert "no such file" in bad(tmp_path / "missing.gguf")
    assert "no such file" in bad(Path("owner/name/missing.gguf"))
    assert f"give its GGUF file: {file}" in bad(file.parent)
    assert not (tmp_path / "heads").exists()
    with pytest.raises(InputError, match="quantize must be left out for a GGUF file"):
        load_base(str(file), quantize="8bit")
    monkeypatch.setattr(locations.importlib.util, "find_spec", lambda name: None)
    assert "needs an extra: pip install 'likra[gguf]'" in bad(file)


def test_a_bar_on_a_terminal_only(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    labels = []

    @contextlib.contextmanager
    def bar(label: str, unit: str) -> Iterator[Any]:
        labels.append((label, unit))
        yield lambda done, total: labels.append((done, total))

    load_base(str(file))
    assert "quantiz" not in capsys.readouterr().err
    monkeypatch.setattr(gguf_module, "progress_bar", bar)
    load_base(str(file))
    assert labels[0] == ("Loading", "tensors") and labels[-1] == (len(labels) - 1, len(labels) - 1)
