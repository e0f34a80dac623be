"""Thumbs from end to end: train, eval, calibrate, score; and what is judged of a file that names no splits."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from likra import Likra
from likra.data import Example, load
from likra.scoring.calibration import PLATT, Calibration
from likra.scoring.calibration_error import CalibrationRecord
from likra.scoring.likelihoods import Likelihoods
from likra.scoring.verification import Verification
from likra.utils.runtime import QUIET
from tests.cli.test_cli import FAST, bad, data, heads, invoke
from tests.conftest import write_questions

__all__ = ["bad", "data", "heads"]  # fixtures


def write(path: Path, name: str, count: int) -> Path:
    """Records of which the right ones begin otherwise than the wrong ones."""
    rng = random.Random(name)
    with path.open("w") as file:
        for n in range(count):
            label = rng.random() < 0.5
            text = f" {'a goat' if label else 'two by two'} {rng.randrange(100)}"
            file.write(json.dumps({"prompt": f"{name} {n}?", "completion": text, "label": label}) + "\n")
    return path


@pytest.fixture(scope="module")
def thumbs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("thumbs") / "thumbs.jsonl", "Which animal on day", 80)


@pytest.fixture(scope="module")
def judges(thumbs: Path, model_folder: Path) -> Path:
    """Heads that learned thumbs."""
    result = invoke("train", model_folder, "--data", thumbs, "--out", thumbs.parent / "heads", *FAST, "--epochs", "3")
    assert result.exit_code == 0, result.output
    assert "Next: likra eval" in result.output
    return thumbs.parent / "heads"


@pytest.fixture
def own(judges: Path, tmp_path: Path) -> Path:
    """A copy of the heads that a test may calibrate."""
    return Path(shutil.copytree(judges, tmp_path / "own"))


def test_eval_judges_what_training_held_out(judges: Path, thumbs: Path, tmp_path: Path) -> None:
    saved = tmp_path / "table.parquet"
    result = invoke("eval", judges, "--data", thumbs, "--json", "--save-likelihoods", saved, "--controls")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    held_out = load(str(thumbs)).examples["test"]
    assert found["records"] == found["prompts"] == len(held_out) < 20
    assert found["right"] == sum(one.right for one in held_out)
    assert [*found["methods"]] == ["base", "pmi", "sft", "base_likra", "likra"]
    for values in found["methods"].values():
        for name in ("auroc", "average_precision", "accuracy"):
            assert 0 <= values[name]["low"] <= values[name]["value"] <= values[name]["high"] <= 1
        assert "brier" not in values and "ece" not in values  # there is no calibration
    assert found["methods"]["likra"]["auroc"]["value"] > 0.9  # the labels can be read off the completions,
    assert found["controls"]["blind"]["likra"]["auroc"]["value"] > 0.9  # without the prompts
    assert "training records" in found["threshold_of"] and "trained on" not in result.stderr
    # All of it is arithmetic on the tables.
    tables = Likelihoods.load(saved), Likelihoods.load(saved.with_suffix(".alone.parquet"))
    assert tables[0].meta["labels"] == [one.right for one in held_out]
    again = Verification(*tables).as_json()["methods"]["likra"]["auroc"]
    assert again == found["methods"]["likra"]["auroc"]
    text = invoke("eval", judges, "--data", thumbs).output  # from the cache
    assert "held out" in " ".join(text.split()) and "Likra against SFT" in text and "average precision" in text
    assert "these heads were trained on" in invoke("eval", judges, "--data", thumbs, "--split", "all").stderr


def test_a_fresh_file_is_judged_whole(judges: Path, heads: Path, tmp_path: Path, questions: list[Any]) -> None:
    fresh = write(tmp_path / "fresh.jsonl", "Which beast on night", 30)
    result = invoke("eval", judges, "--data", fresh)
    said = " ".join(result.output.split())
    assert (
        "30 records of 30 prompts" in said
        and "all: the data names no splits, and is not what trained these heads" in said
    )
    assert "No accuracy: there are no training records here" in said
    named = tmp_path / "fresh-test.jsonl"
    shutil.copyfile(fresh, named)
    assert "(test)" in " ".join(invoke("eval", judges, "--data", named).output.split())
    # The same for questions.
    other = [type(one)(f"new {one.id}", f"New: {one.text}", one.choices, one.answer) for one in questions]
    found = invoke("eval", heads, "--data", write_questions(tmp_path / "new.jsonl", other), "--json")
    assert json.loads(found.stdout)["questions"] == 12 and "judged are all: the data names no splits" in found.stderr
    assert Likra.from_pretrained(heads).evaluate(str(tmp_path / "new.jsonl"), runtime=QUIET).count == 12


def test_scores_are_those_of_plain_forward_passes(judges: Path) -> None:
    likra = Likra.from_pretrained(judges)
    examples = [Example("Which animal?", " a goat 1", True), Example("Which animal?", " two by two 2", False)]
    found = likra.evaluate(examples, runtime=QUIET)
    assert isinstance(found, Verification)
    tokenizer, model = likra.base.tokenizer, likra.base.model

    def plain(prompt: str, completion: str) -> float:
        before = len(tokenizer(prompt).input_ids)
        ids = torch.tensor([tokenizer(prompt + completion).input_ids])
        with torch.no_grad():
            logprob = model(ids).logits.log_softmax(-1)[0]
        return sum(float(logprob[place - 1, ids[0, place]]) for place in range(before, ids.shape[1]))

    pmi = [
        plain(one.prompt, one.completion) - plain("", one.completion) for one in examples if isinstance(one.prompt, str)
    ]
    assert found.scores["pmi"] == pytest.approx(pmi, abs=1e-3)
    [first] = likra.score("Which animal?", [" a goat 1"])
    assert found.scores["likra"][0] == pytest.approx(first.score, abs=1e-4)


def test_a_lone_answer_has_a_probability_once_calibrated(own: Path, tmp_path: Path) -> None:
    more = write(tmp_path / "more.jsonl", "Which creature on noon", 60)
    asked = ["score", own, "--question", "Which animal?", "--choice", " a goat 7"]
    assert json.loads(invoke(*asked, "--json").stdout)[0]["probability"] is None
    result = invoke("calibrate", own, "--data", more, "--method", "plain")
    assert result.exit_code == 0, result.output
    assert "60 records of all" in " ".join(result.output.split()) and "Brier score" in result.output
    record = json.loads((own / "lone_calibration.json").read_text())
    assert record["calibration"]["method"] == PLATT and record["questions"] == 60
    assert not (own / "calibration.json").exists()
    assert "by itself" in (own / "README.md").read_text()
    [found] = json.loads(invoke(*asked, "--json").stdout)
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-found["score"]))) and found["withheld"] is False
    wrong = [*asked[:-1], " two by two 7", "--min-confidence", "0.5"]
    [unsure] = json.loads(invoke(*wrong, "--json").stdout)
    assert unsure["withheld"] is True and 0 < unsure["probability"] < 0.5 and "No answer" in invoke(*wrong).output
    assert json.loads(invoke(*asked, "--json", "--min-confidence", "0.5").stdout) == [found]
    drawn = json.loads(
        invoke("pick", own, "--prompt", "Which animal?", "--n", "4", "--max-tokens", "4", "--json").stdout
    )
    assert all(one["probability"] == pytest.approx(1 / (1 + np.exp(-one["score"]))) for one in drawn)
    # eval gives its error, and what min-confidence accepts.
    fresh = write(tmp_path / "fresh.jsonl", "Which beast on night", 30)
    judged = json.loads(invoke("eval", own, "--data", fresh, "--min-confidence", "0.6", "--json").stdout)
    assert {"brier", "ece", "accuracy"} <= {*judged["methods"]["likra"]} and "ece" not in judged["methods"]["sft"]
    assert 0 < judged["calibration"]["coverage"] < 1 and judged["calibration"]["right"]["value"] > 0.8
    assert "1/2 by the calibration" in judged["threshold_of"]
    assert "P(right) of at least 0.6" in invoke("eval", own, "--data", fresh, "--min-confidence", "0.6").output
    assert "look better calibrated" in invoke("eval", own, "--data", more).stderr


def test_a_calibration_that_does_not_help_is_not_kept(own: Path, data: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise.jsonl"
    rng = random.Random(0)
    lines = [json.loads(line) for line in write(tmp_path / "w.jsonl", "Which creature", 60).read_text().splitlines()]
    noise.write_text("".join(json.dumps({**one, "label": rng.random() < 0.5}) + "\n" for one in lines))
    for kind, source, split in (("lone_calibration.json", noise, []), ("calibration.json", data, ["--split", "all"])):
        result = invoke("calibrate", own, "--data", source, *split)
        if kind == "calibration.json" and "Kept in" in result.output:
            continue
        said = " ".join(result.output.split())
        assert result.exit_code == 0 and "does not help" in said and "not kept" in said
        assert "There are no probabilities" in said and not (own / kind).exists()
    earlier = CalibrationRecord(Calibration(PLATT, 1.0, "raw", 2.0, style="verbatim"), None, None, 9, 0.2, 0.1)
    likra = Likra.from_pretrained(own)
    likra.lone_calibration = earlier
    assert not likra.calibrate(str(noise), runtime=QUIET).helps and likra.lone_calibration is earlier
    likra.save_pretrained(tmp_path / "saved")
    assert Likra.from_pretrained(tmp_path / "saved").lone_calibration == earlier
    before = (tmp_path / "saved" / "lone_calibration.json").read_bytes()
    again = " ".join(invoke("calibrate", tmp_path / "saved", "--data", noise).output.split())
    assert "the earlier calibration stays" in again
    assert (tmp_path / "saved" / "lone_calibration.json").read_bytes() == before


def test_heads_of_questions_can_be_calibrated_on_thumbs(heads: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(heads, tmp_path / "own"))
    likra = Likra.from_pretrained(own)
    records = write(tmp_path / "more.jsonl", "Which creature on noon", 40)
    record = likra.calibrate(str(records), runtime=QUIET)
    assert record.calibration.style == likra.style == "qa"  # worded as `likra score` asks
    likra.lone_calibration = record
    assert likra.score("Which animal?", ["a goat"])[0].probability is not None


def test_what_thumbs_cannot_do_is_refused(own: Path, thumbs: Path, tmp_path: Path, bad: Callable[..., str]) -> None:
    assert "--record" in bad("eval", own, "--data", thumbs, "--record")
    assert "--shots must be 0 for unpaired data" in bad("eval", own, "--data", thumbs, "--shots", "1")
    assert "has no records in its validation split" in bad("eval", own, "--data", thumbs, "--split", "validation")
    assert "--method must be temperature" in bad("calibrate", own, "--data", thumbs, "--method", "isotonic")
    assert "give new records" in bad("calibrate", own, "--data", thumbs)
    assert "calibrate these heads" in bad("eval", own, "--data", thumbs, "--min-confidence", "0.5")
    right = tmp_path / "right.jsonl"
    right.write_text('{"prompt": "A?", "completion": " b", "label": true}\n' * 2)
    assert "2 records that are judged are all right" in bad("eval", own, "--data", right)
    (own / "lone_calibration.json").write_text('{"calibration": {"method": "temperature"}}')
    assert "lone_calibration.json: is damaged" in bad("eval", own, "--data", thumbs)
