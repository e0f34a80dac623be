"""`likra mine`, and the way from its file to negatives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likra.cli.mine import _records
from likra.data import Prompter, Question, load, negatives, positives
from likra.mining import RIGHT, Mined
from tests.cli.test_cli import FAST, invoke, refused
from tests.conftest import write_questions

BOTH = ["--kind", "sampled", "--kind", "similar"]


@pytest.fixture
def bad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    return lambda *arguments: refused(capsys, monkeypatch, *arguments)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def lines(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in found), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mined") / "mined.jsonl"
    result = invoke("mine", "world", "--data", "world", "--out", out, "--limit", 12, *BOTH)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert shown.startswith("kind answers kept nats per answer nats per token right 12 12 -")
    assert "equivalent to a right answer" in shown
    assert f"likra train world --data {out}" in shown
    kept = {kind: sum(record["origins"].count(kind) for record in records(out)) for kind in ("sampled", "similar")}
    for kind, count in kept.items():
        [row] = [line.split() for line in result.stdout.splitlines() if line.startswith(kind)]
        assert int(row[1]) >= int(row[2]) == count > 0
        assert f"dropped of {kind}: {int(row[1]) - count} (" in shown
    return out


def test_the_file_is_read_again_as_it_was_mined(mined: Path) -> None:
    source = load(str(mined))
    assert (source.form, source.style, list(source.questions)) == ("likra", "qa", ["train"])
    given = {question.id: question for question in load("world").questions["train"]}
    for record, question in zip(records(mined), source.questions["train"], strict=True):
        origin = given[question.id]
        assert question.answer is not None and origin.answer is not None
        assert (question.text, question.group) == (origin.text, origin.group)
        assert question.choices[question.answer] == origin.choices[origin.answer]
        assert record["origins"][question.answer] == "right" and len(record["origins"]) == len(question.choices)
    # Worded, every mined answer is a wrong example of its question's own prompt.
    prompter = Prompter(source.style)
    wrong = negatives(source.questions["train"], prompter, "all")
    mined_answers = [
        f" {choice}"
        for record in records(mined)
        for choice, origin in zip(record["choices"], record["origins"], strict=True)
        if origin != "right"
    ]
    assert [example.completion for example in wrong] == mined_answers
    assert {example.prompt for example in wrong} == {e.prompt for e in positives(source.questions["train"], prompter)}


def test_the_same_command_finds_the_same(mined: Path, tmp_path: Path) -> None:
    command = ["mine", "world", "--data", "world", "--limit", 12, *BOTH, "--out"]
    assert invoke(*command, tmp_path / "again.jsonl").exit_code == 0
    assert (tmp_path / "again.jsonl").read_bytes() == mined.read_bytes()
    assert invoke(*command, tmp_path / "again.jsonl", "--seed", 1).exit_code == 0  # and replaces what was there
    assert (tmp_path / "again.jsonl").read_bytes() != mined.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.jsonl"]


def test_mined_data_trains(mined: Path, model_folder: Path, tmp_path: Path) -> None:
    result = invoke("train", model_folder, "--data", mined, "--out", tmp_path / "heads", "--negatives", "all", *FAST)
    assert result.exit_code == 0, result.output
    wrong = sum(len(record["choices"]) - 1 for record in records(mined))
    assert f"negative head: {wrong} examples" in result.stdout


def test_right_answers_alone_suffice(mined: Path, tmp_path: Path) -> None:
    """A source of (question, answer) gives what the same source with wrong choices gives: they are not looked at."""
    right = [
        {"id": q.id, "question": q.text, "answer": q.choices[q.answer or 0], "split": "train"}
        for q in load("world").questions["train"]
    ]
    path = lines(tmp_path / "right.jsonl", right)
    assert load(str(path)).right_only
    out = tmp_path / "mined.jsonl"
    result = invoke("mine", "world", "--data", path, "--out", out, "--limit", 12, *BOTH)
    assert result.exit_code == 0, result.output
    assert records(out) == [{k: v for k, v in record.items() if k != "group"} for record in records(mined)]


def test_right_completions_become_preference_pairs(tmp_path: Path) -> None:
    """Worded alike when they are read again: prompts and right completions are the source's own."""
    right = [
        {"prompt": f"Question: {q.text}\nAnswer:", "completion": f" {q.choices[q.answer or 0]}", "split": "train"}
        for q in load("world").questions["train"][:12]
    ]
    out = tmp_path / "mined.jsonl"
    result = invoke("mine", "world", "--data", lines(tmp_path / "right.jsonl", right), "--out", out, *BOTH)
    assert result.exit_code == 0, result.output
    source = load(str(out))
    assert (source.form, source.style) == ("preference pairs", "verbatim")
    found = source.questions["train"]
    assert len(found) == len({q.id for q in found}) == len(records(out)) > 12
    assert {record["origin"] for record in records(out)} == {"sampled", "similar"}
    given = {(record["prompt"], record["completion"]) for record in right}
    assert {(e.prompt, e.completion) for e in positives(found, Prompter("verbatim"))} <= given
    for example in negatives(found, Prompter("verbatim")):
        assert example.completion[0] == " " != example.completion[1] and "\n" not in example.completion


def test_a_split_is_kept(mined: Path, tmp_path: Path) -> None:
    out = tmp_path / "mined.jsonl"
    command = ["mine", "world", "--data", "world", "--out", out, "--kind", "similar", "--limit", 4, "--split", "test"]
    assert invoke(*command).exit_code == 0
    test = {q.id for q in load("world").questions["test"]}
    assert {record["split"] for record in records(out)} == {"test"} and {r["id"] for r in records(out)} <= test
    assert {record["split"] for record in records(mined)} == {"train"}
    assert not {record["id"] for record in records(mined)} & test


def test_questions_of_which_nothing_is_found_are_counted(model_folder: Path, tmp_path: Path) -> None:
    questions = [Question(str(n), f"Which animal does person{n} keep?", (f"animal{n}",), 0) for n in range(3)]
    questions.append(Question("alone", "Wo?", ("hier",), 0))
    right = [{"id": q.id, "question": q.text, "answer": q.choices[0], "split": "train"} for q in questions]
    path = lines(tmp_path / "right.jsonl", right)
    result = invoke("mine", model_folder, "--data", path, "--out", tmp_path / "mined.jsonl", "--kind", "similar")
    assert result.exit_code == 0, result.output
    assert "Nothing was found for 1 of 4 questions" in result.stdout
    assert [record["id"] for record in records(tmp_path / "mined.jsonl")] == ["0", "1", "2"]


def test_help_teaches() -> None:
    shown = " ".join(invoke("mine", "--help").stdout.split())
    assert "wrong answers" in shown and "similar" in shown and "--per-question" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "odd"], "must be among sampled, similar, got 'odd'"),
        (["--temperature", "0"], "must be a positive number, got 0.0"),
        (["--tries", "1"], "must be at least the answers wanted per question (3), got 1"),
        (["--max-tokens", "128"], "the model reads 128 tokens in all, got 128"),
        (["--split", "all"], "--split all: must be one of train, validation, test"),
        (["--split", "validation"], "has no questions in its validation split"),
        (["--shots", "50"], "answered training questions that examples are taken from"),
        (["--dtype", "int4"], "--dtype must be one of float32"),
    ],
)
def test_options_out_of_range(
    arguments: list[str],
    message: str,
    bad: Callable[..., str],
    model_folder: Path,
    questions: list[Question],
    tmp_path: Path,
) -> None:
    data = write_questions(tmp_path / "train.jsonl", questions)
    assert message in bad("mine", model_folder, "--data", data, "--out", tmp_path / "mined.jsonl", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_what_cannot_be_mined_or_written(
    bad: Callable[..., str], model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    data = write_questions(tmp_path / "train.jsonl", questions)
    out = tmp_path / "mined.jsonl"
    assert "let its name end in .jsonl" in bad("mine", model_folder, "--data", data, "--out", tmp_path / "mined.csv")
    before = data.read_bytes()
    assert "is the data that is mined for" in bad("mine", model_folder, "--data", data, "--out", data)
    assert data.read_bytes() == before
    assert "train.jsonl is a file" in bad("mine", model_folder, "--data", data, "--out", data / "mined.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    assert "is a folder" in bad("mine", model_folder, "--data", data, "--out", tmp_path / "folder.jsonl")
    cloze = {"sentence": "A _ ran.", "option1": "cat", "option2": "rock", "answer": "1", "split": "train"}
    path = lines(tmp_path / "cloze.jsonl", [cloze])
    assert "worded as 'cloze'" in bad("mine", model_folder, "--data", path, "--out", out)
    path = lines(tmp_path / "thumbs.jsonl", [{"prompt": "Hi.", "completion": " Yes.", "label": True}])
    assert "is unpaired data" in bad("mine", model_folder, "--data", path, "--out", out)
    assert not out.exists()


def test_conversations_stay_conversations(tmp_path: Path) -> None:
    turns = (("system", "Be brief."), ("user", "Hello!"), ("assistant", "Yes?"))
    asked = Question("7", "Which gas?", ("argon", "oxygen", "neon"), 1, before=turns)
    found = _records(Mined([asked], [("sampled", RIGHT, "similar")], {}, 0), "chat", "train")
    one, other = load(str(lines(tmp_path / "mined.jsonl", list(found)))).questions["train"]
    assert (one.text, one.before, one.choices) == ("Which gas?", turns, ("oxygen", "argon"))
    assert (other.choices, other.answer) == (("oxygen", "neon"), 0)
