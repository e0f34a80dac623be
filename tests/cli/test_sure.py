"""Probabilities, from `likra calibrate` to an answer that is withheld."""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likra.data import Question, load
from likra.errors import InputError
from likra.generation import Decoding
from likra.likra import Likra
from likra.training.config import TrainingConfig
from likra.training.provenance import left_over
from likra.utils.runtime import QUIET, Runtime
from tests.cli.test_cli import bad, data, heads, invoke
from tests.conftest import tiny_base, write_questions

__all__ = ["bad", "data", "heads"]  # fixtures


@pytest.fixture
def own(heads: Path, tmp_path: Path) -> Path:
    """A copy of the heads that a test may calibrate."""
    return Path(shutil.copytree(heads, tmp_path / "own"))


def test_calibrated_heads_say_how_sure_they_are(own: Path, data: Path) -> None:
    result = invoke("calibrate", own, "--data", data, "--split", "all", "--method", "plain")
    assert result.exit_code == 0, result.output
    assert "Expected calibration error" in result.output and "12 questions of all" in result.output
    assert json.loads((own / "calibration.json").read_text())["calibration"]["method"] == "plain"
    assert "calibration error" in (own / "README.md").read_text().lower()  # on the card too

    asked = ["score", own, "--question", "Which animal does Ada keep?", "--choice", "goat 4", "--choice", "goat 2"]
    ranked = json.loads(invoke(*asked, "--json").stdout)
    temperature = json.loads((own / "calibration.json").read_text())["calibration"]["temperature"]
    assert abs(ranked[0]["score"] - ranked[1]["score"]) < 5 * temperature  # else there is nothing to see
    # By hand: the logistic function of the difference of the two scores.
    expected = 1 / (1 + np.exp((ranked[1]["score"] - ranked[0]["score"]) / temperature))
    assert ranked[0]["probability"] == pytest.approx(expected)
    assert ranked[0]["probability"] + ranked[1]["probability"] == pytest.approx(1)
    assert "probability" in invoke(*asked).output
    # Of another weight nothing is known, and a lone choice is no choice.
    assert json.loads(invoke(*asked, "--weight", "0.5", "--json").stdout)[0]["probability"] is None
    assert json.loads(invoke(*asked[:-2], "--json").stdout)[0]["probability"] is None

    withheld = invoke(*asked, "--min-confidence", str(expected + 1e-3))
    assert "No answer" in withheld.output
    assert "No answer" not in invoke(*asked, "--min-confidence", str(expected - 1e-3)).output
    best = json.loads(invoke(*asked, "--min-confidence", "1", "--json").stdout)[0]
    assert best["withheld"] is True and best["probability"] == pytest.approx(expected)  # the best guess is still shown
    assert json.loads(invoke(*asked, "--min-confidence", "0", "--json").stdout)[0]["withheld"] is False


def test_eval_counts_only_what_is_answered(own: Path, data: Path) -> None:
    plain = json.loads(invoke("eval", own, "--data", data, "--json").stdout)
    assert "calibration" not in plain
    assert invoke("calibrate", own, "--data", data, "--split", "all", "--method", "plain").exit_code == 0
    assert "look better calibrated than they are" in invoke("eval", own, "--data", data).stderr
    likra = Likra.from_pretrained(own)
    result = likra.evaluate(str(data), runtime=QUIET)
    candidates = likra.candidates(result.likelihoods)
    best = [max(some, key=lambda c: c.score) for some in candidates]
    right = [q.choices.index(c.text) == q.answer for q, c in zip(result.likelihoods.questions, best, strict=True)]
    least = sorted(c.probability or 0 for c in best)[2]
    given = [one for one, c in zip(right, best, strict=True) if (c.probability or 0) >= least]
    found = json.loads(invoke("eval", own, "--data", data, "--min-confidence", least, "--json").stdout)
    assert found["methods"] == plain["methods"]
    assert found["calibration"]["coverage"] == pytest.approx(len(given) / len(right))
    assert found["calibration"]["answered"]["accuracy"] == pytest.approx(np.mean(given))
    text = invoke("eval", own, "--data", data, "--min-confidence", least).output
    assert "Answering only when sure" in text and "without the calibration" in text


def test_a_calibration_with_examples_in_the_prompt_is_none_without(own: Path, data: Path) -> None:
    likra = Likra.from_pretrained(own)
    likra.calibration = likra.calibrate(str(data), split="all", shots=2, runtime=QUIET)
    assert likra.rank("Which animal?", ["a goat", "an owl"])[0].probability is None
    shown = likra.evaluate(str(data), shots=2, runtime=QUIET)
    assert likra.probable(shots=2) is not None
    assert likra.candidates(shown.likelihoods)[0][0].probability is not None
    assert likra.probable() is None


def test_what_cannot_be_sure_is_refused(own: Path, data: Path, bad: Callable[..., str]) -> None:
    asked = ("score", own, "--question", "?", "--choice", "a", "--choice", "b")
    assert "calibrate the heads" in bad(*asked, "--min-confidence", "0.5")
    assert "calibrate these heads" in bad("eval", own, "--data", data, "--min-confidence", "0.5")
    assert "is no folder here" in bad("calibrate", "owner/name", "--data", data)
    assert not Path("owner").exists()
    assert "must be one of temperature, isotonic, plain" in bad("calibrate", own, "--data", data, "--method", "magic")
    assert "give new records" in bad("calibrate", own, "--data", data)
    assert "at least 5" in bad("calibrate", own, "--data", data, "--split", "test")
    assert not (own / "calibration.json").exists()


def test_without_a_validation_split_what_training_left_over_is_used(
    questions: list[Question], tokenizer: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_questions(folder / "train.jsonl", questions)
    source = str(folder)
    likra = Likra.from_base(tiny_base(tokenizer), training_config=TrainingConfig(learning_rate=1e-2, seed=3))
    likra.fit(source, limit=5, runtime=QUIET)
    fitted = likra.calibrate(source, method="plain", runtime=QUIET)
    assert fitted.questions == len(questions) - 5 and "left over" in str(fitted.split)
    likra.save_pretrained(tmp_path / "heads")
    again = Likra.from_pretrained(tmp_path / "heads", model=tiny_base(tokenizer))
    assert again.calibration == fitted
    assert again.rank("?", ["a", "b"])[0].probability == pytest.approx(likra.rank("?", ["a", "b"])[0].probability)
    # The same ones as a plain draw leaves: those that no head has seen.
    drawn = {q.id for q in random.Random(3).sample(questions, 5)}
    assert {q.id for q in left_over(likra.training, load(source), likra.training_config.seed)} == {
        q.id for q in questions
    } - drawn
    likra.fit(source, runtime=QUIET)
    assert likra.calibration is None
    with pytest.raises(InputError, match="its training records trained these heads; give new records"):
        likra.calibrate(source, runtime=Runtime(progress=False))


def test_an_answer_can_always_be_given_without_a_threshold(tokenizer: Any, questions: list[Question]) -> None:
    likra = Likra.from_base(tiny_base(tokenizer), training_config=TrainingConfig()).fit(questions, runtime=QUIET)
    [best, _] = likra.rank("?", ["a", "b"])
    assert best.is_sure(None)
    with pytest.raises(InputError, match="needs a probability"):
        best.is_sure(0.1)


def test_writing_from_the_command_line(heads: Path, data: Path, tmp_path: Path, bad: Callable[..., str]) -> None:
    prompt = ("--prompt", "Which animal does Ada keep?", "--max-tokens", "4")
    [one] = json.loads(invoke("generate", heads, *prompt, "--json").stdout)
    assert one["prompt"] == prompt[1] and len(one["texts"]) == 1
    likra = Likra.from_pretrained(heads)
    assert [one["texts"]] == likra.generate(prompt[1], decoding=Decoding(max_tokens=4), runtime=QUIET)
    assert invoke("generate", heads, *prompt).stdout.strip() == one["texts"][0].strip()
    drawn = json.loads(invoke("generate", heads, *prompt, "--n", "3", "--temperature", "1", "--json").stdout)
    assert len(drawn[0]["texts"]) == 3
    picked = json.loads(invoke("pick", heads, *prompt, "--n", "5", "--json").stdout)
    assert [c["score"] for c in picked] == sorted((c["score"] for c in picked), reverse=True)

    merged = invoke("merge", heads, "--out", tmp_path / "merged", "--contrast", "0.5")
    assert merged.exit_code == 0 and "ordinary PEFT adapter" in merged.output
    distilled = invoke(
        "distill", heads, "--data", data, "--out", tmp_path / "one", "--max-tokens", "4", "--limit", "4", "--n", "2"
    )
    assert distilled.exit_code == 0 and "divergence" in distilled.output, distilled.output
    for folder in ("merged", "one"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
    assert "a prompt is empty" in bad("generate", heads, "--prompt", " ")
    assert "must be above 0" in bad("pick", heads, *prompt, "--temperature", "0")
    beams = invoke("generate", heads, *prompt, "--beams", "3", "--n", "3", "--plausibility", "1", "--json")
    assert "found 1 different texts, not 3" in beams.stderr and len(json.loads(beams.stdout)[0]["texts"]) == 1
    assert "--n must be 1, got 3" in bad("generate", heads, *prompt, "--n", "3")
    assert "got 'fairy'" in bad("generate", heads, *prompt, "--method", "fairy")
    assert "not empty" in bad("merge", heads, "--out", tmp_path / "merged")
    assert "not empty" in bad("distill", heads, "--data", data, "--out", tmp_path / "merged")
    assert "shorten one of them" in bad("generate", heads, "--prompt", "?", "--max-tokens", "4000")


def test_what_the_heads_know_of_another_file_is_left_out_and_said_once(
    own: Path, questions: list[Question], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = [dataclasses.replace(question, id=f"n{question.id}", text=f"Now, {question.text}") for question in questions]
    file = write_questions(tmp_path / "file.jsonl", [*questions[:3], *new])
    result = invoke("calibrate", own, "--data", file, "--method", "plain")
    assert result.exit_code == 0 and f"{len(new)} questions of all" in result.output, result.output
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert said == [f"{file}: 3 of its records trained these heads and are left out."]
    assert "these heads were trained on" not in result.output
