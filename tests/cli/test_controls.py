"""`likra eval --controls` against plain forward passes of transformers and PEFT, with questions replaced by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner, Result

from likra import Likra
from likra.cli import app as app_module
from likra.cli.evaluate import _conclusion
from likra.data import Prompter, Question, load
from likra.data.controls import control
from likra.scoring.accuracy import accuracy
from likra.scoring.controls import Answers, Controls
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.scoring.paired import paired_difference
from likra.scoring.shallow import shallow_scores
from likra.utils.runtime import QUIET
from tests.cli.test_cli import bad, data, heads
from tests.conftest import write_questions

__all__ = ["bad", "data", "heads"]  # fixtures

METHODS = ["base", "sft", "base_likra", "likra"]
Bad = Callable[..., str]


def evaluate(heads: Path, data: Path, *more: Any) -> Result:
    result = CliRunner().invoke(app_module.app, [str(one) for one in ("eval", heads, "--data", data, *more)])
    assert result.exit_code == 0, result.output
    return result


@torch.no_grad()
def plain(folder: Path, heads: Path, questions: list[Question], contexts: list[str]) -> dict[str, list[list[float]]]:
    """Reader -> the log-likelihood of each choice after its context, one text at a time, by PEFT alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model = PeftModel.from_pretrained(model, str(heads), adapter_name="positive", subfolder="positive")
    model.load_adapter(str(heads), adapter_name="negative", subfolder="negative")
    model.eval()

    def likelihood(context: str, completion: str) -> float:
        ids = tokenizer(context + completion, return_tensors="pt").input_ids
        start = len(tokenizer(context).input_ids)
        logprobs = model(ids).logits[0, start - 1 : -1].double().log_softmax(-1)
        return float(logprobs.gather(-1, ids[0, start:, None]).sum())

    def rows() -> list[list[float]]:
        return [
            [likelihood(context, f" {choice}") for choice in question.choices]
            for question, context in zip(questions, contexts, strict=True)
        ]

    found = {}
    for name in ("positive", "negative"):
        model.set_adapter(name)
        found[name] = rows()
    with model.disable_adapter():
        return {"base": rows(), **found}


def credit_of(read: dict[str, list[list[float]]], questions: list[Question], weight: float) -> dict[str, Floats]:
    found = {}
    for method, first, second in (
        ("base", "base", None),
        ("sft", "positive", None),
        ("base_likra", "base", "negative"),
        ("likra", "positive", "negative"),
    ):
        best = []
        for row in range(len(questions)):
            scores = np.array(read[first][row])
            best.append(int(np.argmax(scores - weight * np.array(read[second][row]) if second else scores)))
        found[method] = np.array([float(b == q.answer) for b, q in zip(best, questions, strict=True)])
    return found


def test_json_equals_plain_forward_passes(heads: Path, data: Path, model_folder: Path, tmp_path: Path) -> None:
    saved = tmp_path / "table.parquet"
    command = ("--controls", "--json", "--weight", 0.5, "--save-likelihoods", saved)
    ran = evaluate(heads, data, *command)
    value = json.loads(ran.stdout)
    assert list(value)[-3:] == ["methods", "controls", "reading_gain"] and ran.stdout.count("\n") == 1
    assert list(value["controls"]) == ["blind", "shuffled", "shallow"]
    source = load(str(data))
    questions = source.questions["test"]
    other = control("shuffled", questions, Prompter("qa")).instead
    assert other is not None
    credits = {}
    for name, asked in (
        ("", [question.text for question in questions]),
        ("blind", [""] * len(questions)),
        ("shuffled", [other[question].text for question in questions]),
    ):
        read = plain(model_folder, heads, questions, [f"Question: {text}\nAnswer:" for text in asked])
        table = Likelihoods.load(saved.with_suffix(f".{name}.parquet") if name else saved)
        assert table.meta.get("control", "") == name and table.questions == questions
        for reader, rows in read.items():
            for row, numbers in enumerate(rows):
                np.testing.assert_allclose(table.head(reader)[row, : len(numbers)], numbers, atol=1e-4)
        credits[name] = credit_of(read, questions, 0.5)
        shown = value["controls"][name] if name else value["methods"]
        assert shown == {method: pytest.approx(accuracy(credits[name][method]).as_accuracy()) for method in METHODS}
    for method in METHODS:
        gain = paired_difference(credits[""][method], credits["blind"][method])
        assert value["reading_gain"][method] == pytest.approx({"value": gain.value, "low": gain.low, "high": gain.high})
    # The shallow control has learned from the eight questions of the heads: a right and a wrong answer each.
    assert "Shallow learned from the answers to the questions that trained these heads: 8 right, 8 wrong" in ran.stderr
    # Python has the same, by the same code.
    likra = Likra.from_pretrained(heads)
    likra.weight = 0.5
    result = likra.evaluate(str(data), controls=True, runtime=QUIET)
    assert json.loads(json.dumps(result.as_json())) == value
    assert result.shallow is not None and result.controls is not None
    answers = result.controls.answers
    scores = shallow_scores(answers.right, answers.wrong, questions)
    right = [float(np.nanargmax(row) == question.answer) for row, question in zip(scores, questions, strict=True)]
    assert result.shallow.value == np.mean(right)
    # A list of questions has no training answers.
    listed = likra.evaluate(questions, controls=True, runtime=QUIET)
    assert listed.shallow is None and list(listed.as_json()["controls"]) == ["blind", "shuffled"]
    assert listed.as_json()["reading_gain"] == result.as_json()["reading_gain"]


def test_without_the_option_nothing_is_added(heads: Path, data: Path) -> None:
    plainly, controlled = (json.loads(evaluate(heads, data, "--json", *more).stdout) for more in ((), ("--controls",)))
    assert {**plainly, "controls": 0, "reading_gain": 0}.keys() == controlled.keys()
    assert {name: controlled[name] for name in plainly} == plainly


def test_what_is_shown(heads: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for more in ((), ("--shots", 2), ("--shots", 2, "--sampled-shots", "--norm", "byte"), ("--limit", 3)):
        shown = evaluate(heads, data, "--controls", *more).stdout
        header = shown.splitlines()[0].split()
        assert header == "method accuracy 95% interval blind shuffled reading gain 95% interval".split()
        assert "\nShallow" in shown and "trained these heads: 8 right, 8 wrong." in shown
        assert "without the question" in shown
    # The training split itself is not known to have trained heads of other data; it cannot judge itself.
    other = data.parent / "other-train.jsonl"
    questions = [Question(str(n), f"Who is number {n}?", ("one", "two"), n % 2) for n in range(4)]
    write_questions(other, questions)
    shown = evaluate(heads, other, "--controls", "--split", "train").stdout
    assert "\nShallow" not in shown and "There is no shallow control: " in shown


@pytest.mark.parametrize(
    ("accuracies", "sentence"),
    [
        ((0.75, 0.5), "Of Likra's 50.0 points over chance (25.0%), 25.0 are reached without the question; reading it"),
        ((0.75, 0.25), "Of Likra's 50.0 points over chance (25.0%), none is reached without the question; reading"),
        ((0.5, 0.75), "Of Likra's 25.0 points over chance (25.0%), all are reached without the question; reading"),
        ((0.25, 0.5), "Likra is not above chance (25.0%); without the question it has 50.0%."),
    ],
)
def test_the_conclusion(accuracies: tuple[float, float], sentence: str) -> None:
    questions = [Question(str(n), f"{n}?", ("a", "b", "c", "d"), 0) for n in range(40)]

    def table(share: float) -> Likelihoods:
        logprob_HQC = np.full((3, 40, 4), -2.0)
        logprob_HQC[1, : int(share * 40), 0] = -1.0
        logprob_HQC[1, int(share * 40) :, 1] = -1.0
        return Likelihoods(
            ("base", "positive", "negative"), questions, logprob_HQC, np.ones((40, 4), int), np.zeros((40, 4), int)
        )

    own, blind = map(table, accuracies)
    said = _conclusion(Evaluation(own, controls=Controls({"blind": blind}, Answers((), (), ""))))
    assert said.startswith(sentence)
    assert ("which may be none" in said) is False


def test_recorded_controls_are_on_the_card(heads: Path, data: Path, tmp_path: Path) -> None:
    own = tmp_path / "heads"
    shutil.copytree(heads, own)
    value = json.loads(evaluate(own, data, "--controls", "--record", "--json").stdout)
    [recorded] = json.loads((own / "evaluations.json").read_text())
    assert {name: recorded[name] for name in value} == value
    gain = value["reading_gain"]["likra"]["value"]
    assert f"reading it adds {100 * gain:.1f} (" in (own / "README.md").read_text()
    recorded["reading_gain"] = {}
    (own / "evaluations.json").write_text(json.dumps([recorded]))
    result = CliRunner().invoke(app_module.app, ["eval", str(own), "--data", str(data)])
    assert result.exit_code and "evaluations.json: is damaged" in str(result.exception)


def test_data_without_controls_is_refused_before_a_model_is_loaded(
    bad: Bad,
    heads: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("likra.models.base.load_base", lambda *more, **how: pytest.fail("a model was loaded"))
    files = {
        "cloze-test": {"sentence": "The _ is red.", "option1": "car", "option2": "cup", "answer": "1"},
        "empty-test": {"sentence_good": "Cats sleep.", "sentence_bad": "Cats sleeps.", "UID": "agreement"},
    }
    for name, record in files.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
        message = bad("eval", heads, "--data", tmp_path / f"{name}.jsonl", "--controls")
        assert f"the prompt template '{name[:5]}' has no question apart from what is scored" in message
    same = [Question(str(n), "Which one? ", (f"a{n}", f"b{n}"), 0) for n in range(3)]
    path = write_questions(tmp_path / "same-test.jsonl", same)
    for arguments in ((path,), (data, "--limit", 1)):
        assert "shuffled needs questions that ask different things" in bad(
            "eval", heads, "--data", *arguments, "--controls"
        )
    (tmp_path / "t.blind.parquet").mkdir()
    table = ("--save-likelihoods", tmp_path / "t.parquet")
    assert "t.blind.parquet: is a folder" in bad("eval", heads, "--data", data, "--controls", *table)
    thumbs = tmp_path / "thumbs.jsonl"
    thumbs.write_text('{"prompt": "Which?", "completion": " goat", "label": true}\n')
    assert "1 records that are judged are all right" in bad("eval", heads, "--data", thumbs, "--controls")
