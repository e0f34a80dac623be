"""`likra teach`: new heads with what was gained and lost, heads that are worse, and what cannot be taught."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likra import Likra
from likra.data import Question
from likra.training.trainer import Trainer
from likra.utils.files import unfinished
from tests.cli.test_cli import bad, invoke
from tests.conftest import write_questions

__all__ = ["bad"]  # a fixture
FAST = ("--lr", "1e-2", "--rank", "4", "--batch-size", "4", "--epochs", "3")


def about(word: str, answer: int, count: int = 20) -> list[Question]:
    """Questions that are all answered alike."""
    return [
        Question(f"{word} {n}", f"Which {word} is it, {n}?", ("this one", "that one"), answer) for n in range(count)
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    # Corrections that say the opposite of what was learned: what is gained on them is lost on the old records.
    data = {"old": about("hat", 0, 24), "opposite": about("mug", 1), "alike": about("mug", 0), "fresh": about("cat", 0)}
    return {name: write_questions(folder / f"{name}.jsonl", some) for name, some in data.items()}


@pytest.fixture(scope="module")
def heads(files: dict[str, Path], model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads that keep their records."""
    out = tmp_path_factory.mktemp("heads") / "heads"
    result = invoke("train", model_folder, "--data", files["old"], "--out", out, "--keep-data", *FAST)
    assert result.exit_code == 0, result.output
    return out


def test_taught_heads_are_written(heads: Path, files: dict[str, Path], tmp_path: Path) -> None:
    learned = [json.loads(line)["split"] for line in (heads / "records.jsonl").read_text().splitlines()]
    assert learned.count("train") + learned.count("test") == 24  # of the hash's tenth, too
    out = tmp_path / "taught"
    result = invoke("teach", heads, "--data", files["alike"], "--out", out, "--folds", 2)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "On the 20 corrections, each judged by heads that had not learned it (2 folds): accuracy" in said
    assert f"On {learned.count('train')} old records, each judged by heads that never learned it" in said
    assert f"3 epochs), and once more {min(20, learned.count('train'))} of" in said
    assert not unfinished(out).exists()
    likra = Likra.from_pretrained(out)
    assert likra.training["teaching"][0]["data"] == str(files["alike"])
    assert likra.records and [len(some) for some in likra.records.rounds] == [learned.count("train"), 20]
    losses = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    assert losses and all({*step["losses"]} == {"positive", "negative"} for step in losses)
    assert "1. alike.jsonl" in (out / "README.md").read_text()


def test_worse_heads_are_not_written_unless_told(
    heads: Path, files: dict[str, Path], tmp_path: Path, bad: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "taught"
    command = ("teach", heads, "--data", files["opposite"], "--out", out, "--folds", 2, "--replay", 0, "--epochs", 6)
    refused = invoke(*command)
    assert refused.exit_code == 1, refused.output
    said = " ".join(refused.output.split())
    assert "The new heads are worse on the old records, beyond the interval. Nothing was written." in said
    assert not out.exists() and unfinished(out).exists()
    assert "holds an unfinished run" in bad(*command[:-2])  # another number of epochs
    # What was trained is kept: to write it takes no step.
    monkeypatch.setattr(Trainer, "_step", lambda *arguments: pytest.fail("trained again"))
    found = json.loads(invoke(*command, "--json").stdout)
    assert found["worse_on"] == ["the old records"] and not found["written"] and found["replay"] == 0
    assert found["lost"][0]["difference"]["high"] < 0 < found["gained"]["difference"]["low"]
    told = invoke(*command, "--even-if-worse", "--json")
    assert told.exit_code == 0 and json.loads(told.stdout) == {**found, "written": True}
    assert Likra.from_pretrained(out).training["teaching"] and not unfinished(out).exists()
    # All of the corrections taught them: none is a test.
    assert "all of it taught these heads" in bad("eval", out, "--data", files["opposite"])
    assert invoke("eval", out, "--data", files["old"], "--json").exit_code == 0


def test_without_old_records(
    files: dict[str, Path], model_folder: Path, tmp_path: Path, bad: Callable[..., str]
) -> None:
    heads, out = tmp_path / "heads", tmp_path / "taught"
    assert invoke("train", model_folder, "--data", files["old"], "--out", heads, *FAST).exit_code == 0
    assert not (heads / "records.jsonl").exists()
    common = ("teach", heads, "--data", files["alike"], "--folds", 2)
    said = " ".join(invoke(*common, "--out", out).output.split())
    assert "It is not known what was lost on the old records: these heads keep no old records" in said
    assert "Learned: the corrections alone" in said
    found = json.loads(invoke(*common, "--out", tmp_path / "other", "--old", files["fresh"], "--json").stdout)
    assert found["lost"][0]["records"] == 20 and found["lost_on"] == "records never learned"
    for more, expected in (
        (("--replay", 3), "--replay is 3, but these heads keep no old records"),
        (("--folds", 99), "folds is 99, but the data asks only 20 different things"),
        (("--old", files["alike"]), "none is left to judge by"),
        (("--lr", 0), "--lr must be a positive number"),
    ):
        assert expected in bad(*common, *more, "--out", tmp_path / "bad")
        assert not (tmp_path / "bad").exists() and not unfinished(tmp_path / "bad").exists()


def test_corrections_of_a_table(model_folder: Path, tmp_path: Path, bad: Callable[..., str]) -> None:
    """By the heads' own fields and labels; thumbs and decisions of the same texts teach them as well."""

    def table(name: str, *rows: str) -> Path:
        path = tmp_path / name
        path.write_text("\n".join(["ticket,team", *rows]))
        return path

    teams = ("north", "south", "west")
    rows = [f"{word} {team} {n},{team}" for word in ("car", "mug") for n, team in enumerate(teams)]
    heads = tmp_path / "heads"
    columns = ("--text", "ticket", "--label", "team", "--keep-data")
    done = invoke("train", model_folder, "--data", table("old.csv", *rows), "--out", heads, *columns, *FAST)
    assert done.exit_code == 0, done.output
    thumbs = tmp_path / "thumbs.jsonl"
    thumbs.write_text(
        "".join(
            json.dumps({"prompt": f"The pen is {n}.", "completion": teams[n % 3], "label": n < 3}) + "\n"
            for n in range(6)
        )
    )
    decisions = tmp_path / "decisions.jsonl"
    asked = {"team": {"type": "choice", "instructions": "Which team?", "criteria": dict.fromkeys(teams)}}
    decisions.write_text(
        "".join(
            json.dumps({"state": f"Lid {n}.", "questions": asked, "answers": {"team": teams[n % 3]}}) + "\n"
            for n in range(6)
        )
    )
    new = table("new.csv", *(f"the lid is {n},{teams[n % 2]}" for n in range(6)))
    for data, measure in ((new, "accuracy"), (thumbs, "AUROC"), (decisions, "accuracy")):
        out = tmp_path / f"taught-{data.stem}"
        result = invoke("teach", heads, "--data", data, "--out", out, "--folds", 2, "--json", "--even-if-worse")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert (found["gained"]["measure"], found["corrections"]) == (measure, 6)
        likra: Any = Likra.from_pretrained(out)
        assert len(likra.records.rounds[1]) == 6
    assert Likra.from_pretrained(tmp_path / "taught-new").records.rounds[1][0].choices == teams  # type: ignore[union-attr]
    assert "not among the labels" in bad(
        "teach", heads, "--data", table("odd.csv", "the lid,east"), "--out", tmp_path / "bad"
    )
