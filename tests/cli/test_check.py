"""`likra check`: a promise that is kept, one that is broken, and what cannot be checked."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likra.data import Question
from likra.hub.calibration_file import read_calibration
from likra.likra import Likra
from likra.utils.runtime import QUIET
from tests.cli.test_cli import bad, data, heads, invoke
from tests.conftest import write_questions

__all__ = ["bad", "data", "heads"]  # fixtures


@pytest.fixture
def own(heads: Path, tmp_path: Path) -> Path:
    """A copy of the heads that a test may calibrate."""
    return Path(shutil.copytree(heads, tmp_path / "own"))


@pytest.fixture
def fresh(own: Path, questions: list[Question], tmp_path: Path) -> Path:
    """A file of 60 questions, of which the heads answer all rightly."""
    asked = [
        replace(question, id=f"{turn} {question.id}", text=f"{question.text} ({turn})")
        for turn in range(6)
        for question in questions[:10]
    ]
    likra = Likra.from_pretrained(own)
    found = likra.evaluate(asked, runtime=QUIET)
    answers = np.nanargmax(found.scores["likra"], axis=1)
    right = [replace(question, answer=int(best)) for question, best in zip(asked, answers, strict=True)]
    return write_questions(tmp_path / "fresh.jsonl", right)


def corrupted(file: Path, share: float) -> Path:
    """The same questions, the first ones with a wrong answer."""
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for record in records[: int(share * len(records))]:
        record["answer"] = (record["answer"] + 1) % len(record["choices"])
    other = file.with_name("corrupted.jsonl")
    other.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return other


def test_a_promise_that_holds_and_one_that_is_broken(own: Path, fresh: Path) -> None:
    result = invoke("calibrate", own, "--data", fresh, "--split", "all", "--error-budget", "0.05")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "At an error budget of 5%" in text and "share automated 100.0%" in text
    record = read_calibration(own)
    assert record and record.automation and record.automation.average and record.automation.sure

    kept = invoke("check", own, "--data", fresh, "--error-budget", "0.2")
    assert kept.exit_code == 0 and "No sign that the error is above 20%" in " ".join(kept.output.split())
    assert "chosen by some of the questions judged here" in kept.stderr
    few = invoke("check", own, "--data", fresh, "--limit", "10", "--json")
    assert few.exit_code == 0
    found = json.loads(few.stdout)
    assert found["questions"] == 10 and found["holds"] and not found["enough"] and found["error"]["value"] == 0

    wrong = corrupted(fresh, 0.3)
    broken = invoke("check", own, "--data", wrong)
    assert broken.exit_code == 1 and "no longer holds" in broken.output
    told = invoke("check", own, "--data", wrong, "--json")
    assert told.exit_code == 1
    found = json.loads(told.stdout)
    assert not found["holds"] and found["error_budget"] == 0.05
    assert found["error"]["value"] == pytest.approx(0.3) and found["error"]["low"] > 0.05
    assert invoke("check", own, "--data", wrong, "--error-budget", "0.4").exit_code == 0
    # A calibration without a budget has no threshold: the old one was for other probabilities.
    assert invoke("calibrate", own, "--data", fresh, "--split", "all", "--method", "plain").exit_code == 0
    record = read_calibration(own)
    assert record and record.automation is None


def test_answers_are_scored_as_the_calibration_was(own: Path, fresh: Path) -> None:
    likra = Likra.from_pretrained(own)
    record = likra.calibrate(str(fresh), split="all", error_budget=0.3, runtime=QUIET)
    assert record.automation and record.automation.average
    shown = invoke("calibrate", own, "--data", fresh, "--split", "all", "--error-budget", "0.3", "--norm", "token")
    assert shown.exit_code == 0, shown.output
    kept = read_calibration(own)
    assert kept and kept.automation and kept.automation.average
    found = json.loads(invoke("check", own, "--data", fresh, "--json").stdout)
    likra = Likra.from_pretrained(own)
    table = likra.evaluate(str(fresh), split="all", runtime=QUIET).likelihoods
    # By hand: log-likelihood ratios by the token, their softmax at the temperature.
    ratio = (table.head("positive") - table.head("negative")) / table.tokens_QC / kept.calibration.temperature
    sure = np.nanmax(np.exp(ratio) / np.nansum(np.exp(ratio), axis=1, keepdims=True), axis=1)
    assert found["share"]["value"] == pytest.approx((sure >= kept.automation.average.threshold).mean())


def test_what_cannot_be_checked_is_refused(own: Path, fresh: Path, bad: Callable[..., str], tmp_path: Path) -> None:
    assert "keeps no threshold" in bad("check", own, "--data", fresh)
    for share in ("5", "0"):
        assert "--error-budget must be a share" in bad("check", own, "--data", fresh, "--error-budget", share)
        assert "--error-budget must be a share" in bad("calibrate", own, "--data", fresh, "--error-budget", share)
    assert not (own / "calibration.json").exists()
    assert invoke("calibrate", own, "--data", fresh, "--split", "all", "--error-budget", "0.001").exit_code == 0
    assert "nothing is automated" in bad("check", own, "--data", fresh)
    unpaired = tmp_path / "thumbs.jsonl"
    unpaired.write_text('{"prompt": "Which?", "completion": " a", "label": true}\n')
    assert invoke("calibrate", own, "--data", fresh, "--split", "all", "--error-budget", "0.3").exit_code == 0
    assert "has no choices" in bad("check", own, "--data", unpaired)
    assert "no such file" in bad("check", own, "--data", tmp_path / "none.jsonl")
