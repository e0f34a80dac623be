"""A repetition of `likra eval` loads no model, prints the same, and is never that of other files."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from likra.cli.app import app
from likra.data import Question
from likra.hub import kept
from likra.likra import Likra
from likra.models import base as models
from likra.utils import file_digest
from likra.utils.runtime import QUIET
from tests.conftest import Run, write_questions


@pytest.fixture
def folder(model_folder: Path, questions: list[Question], tmp_path: Path) -> Path:
    """A folder with a model, heads that were trained on it, and questions; its files have settled."""
    shutil.copytree(model_folder, tmp_path / "model")
    likra = Likra.from_base(str(tmp_path / "model")).fit(questions[:8], runtime=QUIET)
    likra.save_pretrained(tmp_path / "heads")
    write_questions(tmp_path / "data.jsonl", questions)
    _settle(tmp_path)
    return tmp_path


def _settle(folder: Path) -> None:
    """As if the files had been written an hour ago; what is written since has another time."""
    for path in folder.rglob("*"):
        os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are loaded, by name."""
    seen: list[str] = []
    load = models.load_base

    def counted(name: str, **how: Any) -> Any:
        seen.append(name)
        return load(name, **how)

    monkeypatch.setattr(models, "load_base", counted)
    # A file that was just written need not be an hour old for the test.
    monkeypatch.setattr(file_digest, "_SETTLED", -1.0)
    return seen


def evaluate(folder: Path, *more: str) -> str:
    command = ["eval", str(folder / "heads"), "--data", str(folder / "data.jsonl"), "--split", "all", *more]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_a_repetition_loads_no_model_and_prints_the_same(folder: Path, loaded: list[str]) -> None:
    some = ["--normalisation", "token", "--limit", "5"]
    for more in ([], ["--json"], ["--weight", "0.5"], some, ["--controls"], ["--controls", "--json", *some]):
        fresh = evaluate(folder, *more, "--no-cache")
        assert evaluate(folder, *more) == fresh
        loaded.clear()
        assert evaluate(folder, *more) == fresh
        assert not loaded
    one, two = folder / "one.parquet", folder / "two.parquet"
    evaluate(folder, "--save-likelihoods", str(one), "--no-cache")
    loaded.clear()
    evaluate(folder, "--save-likelihoods", str(two))
    assert not loaded and one.read_bytes() == two.read_bytes()


def test_controls_are_read_by_one_model_and_only_those_that_are_not_kept(folder: Path, loaded: list[str]) -> None:
    evaluate(folder)
    evaluate(folder, "--controls", "--save-likelihoods", str(folder / "one.parquet"))
    assert len(loaded) == 2
    evaluate(folder, "--controls", "--weight", "0.5", "--save-likelihoods", str(folder / "two.parquet"))
    evaluate(folder)
    assert len(loaded) == 2
    tables = {name: (folder / f"one{name}.parquet").read_bytes() for name in ("", ".blind", ".shuffled")}
    assert len({*tables.values()}) == 3
    assert tables == {name: (folder / f"two{name}.parquet").read_bytes() for name in tables}


def _weight(folder: Path) -> None:
    path = folder / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] += 0.5
    save_file(tensors, path, {"format": "pt"})


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def _retrained(folder: Path) -> None:
    shutil.rmtree(folder / "heads")
    questions = [Question("a", "Which animal?", ("owl", "goat"), 0)]
    Likra.from_base(str(folder / "model")).fit(questions, runtime=QUIET).save_pretrained(folder / "heads")


#: What is changed; and whether heads that were trained before are then refused.
CHANGES: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "weight": (_weight, True),
    "config": (lambda f: _edit(f / "model/config.json", lambda c: c.update(rms_norm_eps=0.1)), True),
    "tokenizer": (lambda f: _edit(f / "model/tokenizer.json", lambda t: t.update(post_processor=None)), True),
    "tokenizer's configuration": (
        lambda f: _edit(f / "model/tokenizer_config.json", lambda t: t.update(bos_token="</s>")),
        True,
    ),
    "heads": (_retrained, False),
    "question": (lambda f: (f / "data.jsonl").write_text((f / "data.jsonl").read_text().replace("Ada", "Eve")), False),
    "a choice": (lambda f: (f / "data.jsonl").write_text((f / "data.jsonl").read_text().replace("owl", "emu")), False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_not_served(name: str, folder: Path, loaded: list[str]) -> None:
    evaluate(folder)
    loaded.clear()
    evaluate(folder)
    assert not loaded
    change, refused = CHANGES[name]
    change(folder)
    if refused:
        command = ["eval", str(folder / "heads"), "--data", str(folder / "data.jsonl"), "--split", "all"]
        assert CliRunner().invoke(app, command).exit_code != 0
    else:
        assert evaluate(folder) == evaluate(folder, "--no-cache")
    assert loaded


@pytest.mark.parametrize("more", [["--dtype", "bfloat16"], ["--shots", "2"], ["--shots", "2", "--sampled-shots"]])
def test_other_options_are_other_tables(more: list[str], folder: Path, loaded: list[str]) -> None:
    train = folder / "data"
    train.mkdir()
    for split in ("train", "test"):
        shutil.copy(folder / "data.jsonl", train / f"{split}.jsonl")
    (train / "train.jsonl").write_text((train / "train.jsonl").read_text().replace("day", "year"))
    command = ["eval", str(folder / "heads"), "--data", str(train)]
    for each in ([], more):
        loaded.clear()
        ran = CliRunner().invoke(app, [*command, *each])
        assert ran.exit_code == 0 and loaded, ran.output


def test_a_template_that_changed_is_not_served(
    folder: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from likra.data.templates import Prompter

    evaluate(folder)
    pairs = Prompter.pairs
    monkeypatch.setattr(Prompter, "pairs", lambda self, asked: [(f"{a} ", b) for a, b in pairs(self, asked)])
    loaded.clear()
    evaluate(folder)
    assert loaded


def test_what_is_warned_of_is_said_each_time(folder: Path, loaded: list[str], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):  # heads that were trained in float32 on a base that is read in bfloat16
        caplog.clear()
        evaluate(folder, "--dtype", "bfloat16")
        assert "in another precision" in caplog.text and loaded.pop()


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, seen = tmp_path / "weights", []
    file.write_bytes(b"one")
    sha256 = file_digest.sha256
    monkeypatch.setattr(file_digest, "sha256", lambda path: seen.append(path) or sha256(path))

    def digest() -> str:
        return file_digest.file_digests([file], tmp_path / "cache")["weights"]

    assert digest() == digest() and len(seen) == 2  # it was written to a moment ago, and may be again
    monkeypatch.setattr(file_digest, "_SETTLED", -1.0)
    first = digest()
    assert digest() == first and len(seen) == 3
    before = file.stat()
    file.write_bytes(b"two")  # of the same size, and with the same time
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest() != first


def test_which_files_a_base_has(tmp_path: Path) -> None:
    assert kept.base_files("owner/name", None) is None  # a branch that may move
    assert kept.base_files("owner/name", "a" * 40) is None  # not on this disk
    for name in ("config.json", "model.safetensors", ".hidden"):
        (tmp_path / name).write_text("{}")
    found = kept.base_files(str(tmp_path), None)
    assert found and {file.name for file in found} == {"config.json", "model.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "elsewhere/b.safetensors"}}')
    assert kept.base_files(str(tmp_path), None) is None


def test_a_repetition_loads_no_torch(folder: Path, run: Run) -> None:
    script = (
        "import sys\nfrom likra.cli.app import main\nsys.argv = ['likra', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, 'transformers' in sys.modules, file=sys.stderr)"
    )
    import sys

    command = [sys.executable, "-c", script, "eval", str(folder / "heads"), "--data", str(folder / "data.jsonl")]
    command += ["--split", "all", "--device", "cpu"]
    first, second = run(command), run(command)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == second.stdout and first.stdout
    assert first.stderr.endswith("True True\n") and second.stderr.endswith("False False\n"), second.stderr
