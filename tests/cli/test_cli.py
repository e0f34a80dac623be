"""The command line as a user meets it: what it prints, and one clear line for every bad input."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from likra.cli import app as app_module
from likra.data import Question
from likra.scoring.likelihoods import Likelihoods
from tests.conftest import PATIENCE, tiny_base, write_questions

FAST = ["--lr", "1e-2", "--rank", "4", "--batch-size", "4"]
Run = Callable[..., subprocess.CompletedProcess[str]]


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app_module.app, [str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> str:
    """Run the real entry point on bad input; returns the one line that it prints."""
    monkeypatch.setattr(sys, "argv", ["likra", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        app_module.main()
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("likra: error: ") and "Traceback" not in captured.err
    return last.removeprefix("likra: error: ")


@pytest.fixture(scope="module")
def data(questions: list[Question], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training and a test file."""
    folder = tmp_path_factory.mktemp("data")
    write_questions(folder / "train.jsonl", questions[:8])
    write_questions(folder / "test.jsonl", questions[8:])
    return folder


@pytest.fixture(scope="module")
def heads(data: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads trained by the command line."""
    out = tmp_path_factory.mktemp("heads") / "heads"
    result = invoke("train", model_folder, "--data", data, "--out", out, *FAST)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def bad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    return lambda *arguments: refused(capsys, monkeypatch, *arguments)


def test_train_writes_heads_and_says_what_next(heads: Path) -> None:
    assert sorted(path.name for path in heads.iterdir()) == [
        "README.md",
        "likra.json",
        "losses.jsonl",
        "negative",
        "positive",
    ]
    assert not list(heads.parent.glob("*.partial"))


def test_eval_json_is_one_object_and_nothing_else(heads: Path, data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "table.parquet"
    command = [
        "eval",
        heads,
        "--data",
        data,
        "--json",
        "--weight",
        "0.5",
        "--norm",
        "byte",
        "--save-likelihoods",
        saved,
    ]
    result = invoke(*command)
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert list(value) == ["questions", "weight", "normalization", "precision", "rounding", "methods"]
    assert (value["questions"], value["weight"], value["normalization"]) == (4, 0.5, "byte")
    assert list(value["methods"]) == ["base", "sft", "base_likra", "likra"]
    for method in value["methods"].values():
        assert list(method) == ["accuracy", "low", "high"]
        assert 0 <= method["low"] <= method["accuracy"] <= method["high"] <= 1
    table = Likelihoods.load(saved)
    assert table.heads == ("base", "positive", "negative") and len(table.questions) == 4


def test_eval_reads_once_and_within_the_memory_given(heads: Path, data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "likra-cache" / "likelihoods"
    command = ["eval", heads, "--data", data, "--json"]
    uncached = invoke(*command, "--no-cache", "--memory", 0.01)
    assert uncached.exit_code == 0, uncached.output
    assert not kept.exists()
    first = json.loads(invoke(*command).stdout)
    assert len(list(kept.iterdir())) == 3  # base, positive, negative
    before = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    again = json.loads(invoke(*command, "--weight", 0.5).stdout)
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()} == before
    assert again["weight"] == 0.5
    assert again["methods"]["sft"] == first["methods"]["sft"] == json.loads(uncached.stdout)["methods"]["sft"]


def test_eval_shows_intervals_and_a_paired_test(heads: Path, data: Path) -> None:
    result = invoke("eval", heads, "--data", data, "--shots", "2", "--split", "all")
    assert result.exit_code == 0 and "trained on 8 of these 12 questions" in result.stderr
    for text in ("Base-Likra", "95% interval", "10 questions (all), weight 1", "McNemar"):
        assert text in result.stdout


def test_eval_counts_prompts_that_were_cut(heads: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    write_questions(
        path, [Question("a", "sea " * 300, ("goat", "owl"), 0), Question("b", "Which?", ("goat", "owl"), 0)]
    )
    assert "1 questions overran the model's context" in " ".join(invoke("eval", heads, "--data", path).stdout.split())


def test_score_ranks(heads: Path) -> None:
    command = ["score", heads, "--question", "Which?", "--choice", "goat", "--choice", "a heron"]
    candidates = json.loads(invoke(*command, "--json").stdout)
    assert {c["text"] for c in candidates} == {"goat", "a heron"}
    assert candidates[0]["score"] >= candidates[1]["score"]
    assert candidates[0]["score"] == pytest.approx(candidates[0]["positive"] - candidates[0]["negative"])
    weightless = json.loads(invoke(*command, "--json", "--weight", "0").stdout)
    assert all(c["score"] == c["positive"] for c in weightless)
    shown = invoke(*command).stdout.splitlines()
    assert "candidate" in shown[0] and "L+" in shown[0] and candidates[0]["text"] in shown[1]


def test_data_shows_what_was_recognised(data: Path, tmp_path: Path) -> None:
    shown = " ".join(invoke("data", data, "--negatives", "all").stdout.split())
    for text in ("form likra", "train 8 questions, choices:", "test 4 questions", "every wrong choice", "Answer:"):
        assert text in shown
    path = tmp_path / "unpaired.jsonl"
    path.write_text('{"prompt": "Hi.", "completion": " No.", "label": false}\n')
    assert "0 right and 1 wrong completions, unpaired" in invoke("data", path).stdout
    shown = invoke("data", data, "--negatives", "unrelated", "--shots", "1").stdout
    assert "unrelated: an answer from another source" in " ".join(shown.split())


def test_unpaired_data_trains(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "thumbs.jsonl"
    rows = [{"prompt": f"Hi {n}.", "completion": " Hello.", "label": n % 2 == 0} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = invoke("train", model_folder, "--data", path, "--out", tmp_path / "heads", *FAST)
    assert result.exit_code == 0 and "positive head: 4 examples" in result.stdout
    assert "Next: likra eval" in result.stdout  # on the tenth of the prompts that was held out
    manifest = json.loads((tmp_path / "heads/likra.json").read_text())
    assert manifest["prompt"]["style"] == "verbatim"


def test_world_show() -> None:
    result = invoke("world", "show", "--documents", "1")
    assert "model organism" in result.stdout and "Question:" in result.stdout


def test_help_teaches() -> None:
    for command in ([], ["train"], ["eval"], ["score"], ["data"], ["demo"], ["world"], ["world", "build"]):
        result = invoke(*command, "--help")
        assert result.exit_code == 0 and len(result.stdout) > 300
    assert "likra 0." in invoke("--version").stdout


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys, likra.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=PATIENCE).returncode == 0


# Bad input: one line that names the place and the remedy, exit code 2, nothing half-written.


def test_a_missing_file(bad: Callable[..., str], model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "heads"
    message = bad("train", model_folder, "--data", tmp_path / "none.jsonl", "--out", out)
    assert message.startswith(f"{tmp_path}/none.jsonl: no such file or folder") and not out.exists()
    assert bad("data", tmp_path / "none.jsonl").startswith(f"{tmp_path}/none.jsonl: no such file or folder")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.jsonl", '{"a": 1}', "line 1: of no known form"),
        ("d.md", "hello", "files of type .md are not read"),
        ("d.jsonl", '{"question": "?", "choices": ["a", "b"], "answer": 0}\n{"question', "line 2: malformed JSON"),
        ("d.jsonl", '{"question": "?", "choices": [], "answer": 0}', "line 1: field 'choices' has no choices"),
        ("d.jsonl", '{"question": "?", "choices": ["a"], "answer": 0}', "line 1: field 'choices' has only one choice"),
        (
            "d.jsonl",
            '{"question": "?", "choices": ["a", "b"], "answer": 2}',
            "line 1: field 'answer' is 2, out of range",
        ),
        (
            "d.jsonl",
            '{"question": "?", "choices": ["a", "b"], "answer": "no"}',
            "line 1: field 'answer' is 'no', which is no",
        ),
        ("d.jsonl", '{"prompt": "?", "completion": "", "label": true}', "line 1: field 'completion' is empty"),
    ],
)
def test_bad_data(
    name: str, content: str, message: str, bad: Callable[..., str], model_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    printed = bad("train", model_folder, "--data", path, "--out", tmp_path / "heads")
    assert printed.startswith(str(path)) and message in printed
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_a_completion_longer_than_the_context(
    bad: Callable[..., str], model_folder: Path, heads: Path, tmp_path: Path
) -> None:
    path = write_questions(tmp_path / "all.jsonl", [Question("huge", "Which?", ("sea " * 400, "owl"), 0)])
    printed = bad("eval", heads, "--data", path, "--split", "all")
    assert (
        printed.startswith(f"{path}, line 1: the completion ' sea sea")
        and "longer than the model's context of 128" in printed
    )
    path = write_questions(tmp_path / "train.jsonl", [Question("huge", "Which?", ("sea " * 400, "owl"), 0)])
    printed = bad("train", model_folder, "--data", path, "--out", tmp_path / "heads")
    assert printed.startswith(f"{path}, line 1: the completion")
    assert not list(tmp_path.glob("heads*"))


def test_a_base_that_is_not_finite(bad: Callable[..., str], tokenizer: Any, data: Path, tmp_path: Path) -> None:
    base = tiny_base(tokenizer)
    base.model.get_output_embeddings().weight.data[7] = float("nan")
    base.model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    printed = bad("train", tmp_path / "model", "--data", data, "--out", tmp_path / "heads")
    assert f"before any training; lm_head.weight of {tmp_path / 'model'} holds NaN or infinity" in printed
    assert not list(tmp_path.glob("heads*"))


def test_heads_of_another_base(
    bad: Callable[..., str], heads: Path, data: Path, tokenizer: Any, model_folder: Path, tmp_path: Path
) -> None:
    for name, base in (("weights", tiny_base(tokenizer, seed=1)), ("shape", tiny_base(tokenizer, "gpt2"))):
        base.model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        printed = bad("eval", heads, "--data", data, "--base", tmp_path / name)
        assert printed.startswith(f"{heads}: its heads were trained on {model_folder}, but {tmp_path / name} differs")


@pytest.mark.parametrize(
    "file", ["likra.json", "losses.jsonl", "positive/adapter_config.json", "negative/adapter_model.safetensors"]
)
@pytest.mark.parametrize("harm", ["missing", "truncated", "tampered"])
def test_a_damaged_heads_folder(file: str, harm: str, bad: Callable[..., str], heads: Path, tmp_path: Path) -> None:
    folder = tmp_path / "heads"
    shutil.copytree(heads, folder)
    content = (folder / file).read_bytes()
    if harm == "missing":
        (folder / file).unlink()
    elif harm == "truncated":
        (folder / file).write_bytes(content[: len(content) // 2])
    elif file == "likra.json":
        (folder / file).write_bytes(content.replace(b'"sft', b'"x').replace(b'"files"', b'"flies"'))
    else:
        (folder / file).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    printed = bad("score", folder, "--question", "Which?", "--choice", "goat", "--choice", "owl")
    assert printed.startswith(str(folder / file))
    assert (
        "is missing" if harm == "missing" else "is damaged" if file == "likra.json" else "is not the file"
    ) in printed


def test_an_output_folder_that_is_not_empty(
    bad: Callable[..., str], model_folder: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for command in (
        ["train", model_folder, "--data", data, "--out"],
        ["demo", "--out"],
        ["world", "build", "--out"],
    ):
        printed = bad(*command, tmp_path / "full")
        assert printed.startswith(f"{tmp_path}/full: the output folder exists and is not empty")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "thesis.txt"]
    (tmp_path / "file").write_text("mine")
    assert "is not a name for a new folder" in bad("train", model_folder, "--data", data, "--out", ".")
    assert "is a file." in bad("demo", "--out", tmp_path / "file" / "deep")
    assert "is a file, not a folder" in bad("demo", "--out", tmp_path / "file")


def test_a_hub_name_without_a_network(heads: Path, data: Path, tmp_path: Path) -> None:
    # In a process of its own: the hub's libraries read these variables when they are imported. The address is one where
    # nothing listens, so that the test means the same with and without a network.
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    for command in (
        ["train", "someone/model", "--data", data, "--out", tmp_path / "heads"],
        ["data", "arc-challenge"],
        ["data", "hf:someone/questions"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "likra.cli.app", *map(str, command)],
            env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 2 and done.stdout == ""
        [line] = done.stderr.strip().splitlines()
        assert line.startswith("likra: error: ") and "hub" in line and "network" in line
    assert not (tmp_path / "heads").exists()


def test_an_unknown_symbol(bad: Callable[..., str], data: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"[UNK]": 0, "[BOS]": 1, "Question": 2, ":": 3, "Answer": 4}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", bos_token="[BOS]")
    tiny_base(tokenizer).model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    printed = bad("train", tmp_path / "model", "--data", data, "--out", tmp_path / "heads")
    assert printed.startswith(f"{data / 'train.jsonl'}, line 1: the tokenizer has no symbol for what follows")


def test_a_damaged_model_folder(bad: Callable[..., str], data: Path, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in bad("train", tmp_path / "empty", "--data", data, "--out", tmp_path / "heads")
    shutil.copytree(model_folder, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded (" in bad("train", tmp_path / "cut", "--data", data, "--out", tmp_path / "heads")
    (tmp_path / "cut" / "model.safetensors").unlink()
    (tmp_path / "cut" / "pytorch_model.bin").write_bytes(b"pickle")
    printed = bad("train", tmp_path / "cut", "--data", data, "--out", tmp_path / "heads")
    assert "cannot be loaded (" in printed  # pickles are never read


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "0"], "--lr must be a positive number, got 0.0"),
        (["--schedule", "wavy"], "--schedule must be one of constant, linear, cosine, got 'wavy'"),
        (["--role", "all"], "--role must be one of sft-likra"),
        (["--targets", "w_proj"], "--targets must name linear layers; there is no w_proj"),
        (["--negatives", "odd"], "'odd' is not a kind of negatives"),
        (["--shots", "50"], "answered training questions that examples are taken from (8), got 50"),
        (["--dtype", "int4"], "--dtype must be one of float32"),
        (["--quantize", "2bit"], "--quantize must be one of 4bit, 8bit, got '2bit'"),
        (["--device", "banana"], "--device 'banana' cannot be used here"),
        (["--weight", "nan"], "must be a finite number, got nan"),
    ],
)
def test_options_out_of_range(
    arguments: list[str], message: str, bad: Callable[..., str], model_folder: Path, data: Path, tmp_path: Path
) -> None:
    printed = bad("train", model_folder, "--data", data, "--out", tmp_path / "heads", *arguments)
    assert message in printed and not list(tmp_path.iterdir())


def test_eval_refusals(bad: Callable[..., str], heads: Path, data: Path, tmp_path: Path) -> None:
    assert "--normalization must be one of" in bad("eval", heads, "--data", data, "--norm", "word")
    assert "let its name end in .parquet" in bad(
        "eval", heads, "--data", data, "--save-likelihoods", tmp_path / "t.csv"
    )
    assert "did you mean `world`" in bad("train", "worlld", "--data", data, "--out", tmp_path / "heads")
    (tmp_path / "t.parquet").mkdir()
    assert "is a folder" in bad("eval", heads, "--data", data, "--save-likelihoods", tmp_path / "t.parquet")
    assert "has no questions in its validation split" in bad("eval", heads, "--data", data, "--split", "validation")
    assert "no such folder; `likra train` writes one" in bad("eval", tmp_path / "none", "--data", data)
    assert "choice 2 is empty" in bad("score", heads, "--question", "?", "--choice", "a", "--choice", " ")


def test_a_killed_training_goes_on_from_the_command_line(
    model_folder: Path, data: Path, heads: Path, tmp_path: Path
) -> None:
    """The state that a kill leaves behind is found, named, used and removed."""
    from likra.training.trainer import Trainer

    out = tmp_path / "heads"
    arguments = ["train", model_folder, "--data", data, "--out", out, *FAST, "--checkpoint-every", "1"]
    real, calls = Trainer._step, []

    def interrupted(self: Any, number: int, batches: Any) -> Any:
        calls.append(number)
        if number == 1 and len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, number, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted)
        assert invoke(*arguments).exit_code != 0
        assert not out.exists() and (tmp_path / "heads.partial" / "state.json").exists()
        result = invoke(*arguments)
    assert result.exit_code == 0 and "going on with the unfinished run" in result.stderr
    assert calls == [0, 1, 1] and not (tmp_path / "heads.partial").exists()
    for name in ("positive", "negative"):
        file = f"{name}/adapter_model.safetensors"
        assert (out / file).read_bytes() == (heads / file).read_bytes()
