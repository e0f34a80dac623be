"""`--template` and `--orders` on the command line, against the tables that they leave."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from likra.data.canonical import canonical
from likra.scoring.likelihoods import Likelihoods
from tests.cli.test_cli import FAST, bad, data, invoke

__all__ = ["bad", "data"]  # fixtures


@pytest.fixture(scope="module")
def listing(data: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads that learned letters."""
    out = tmp_path_factory.mktemp("heads") / "heads"
    result = invoke("train", model_folder, "--data", data, "--out", out, "--template", "options", *FAST)
    assert result.exit_code == 0, result.output
    assert "--template options" in " ".join(result.stdout.split())
    return out


def test_heads_that_learned_letters_are_judged_by_letters(listing: Path, data: Path, tmp_path: Path) -> None:
    tables = []
    for name, more in (("own", ()), ("same", ("--template", "options")), ("other", ("--template", "qa"))):
        file = tmp_path / f"{name}.parquet"
        result = invoke("eval", listing, "--data", data, "--save-likelihoods", file, *more)
        assert result.exit_code == 0, result.output
        assert ("learned prompts of the template" in result.stderr) == (name == "other")
        tables.append(Likelihoods.load(file))
    own, same, other = tables
    assert own.meta["style"] == "options" and other.meta["style"] == "qa"
    np.testing.assert_array_equal(own.logprob_HQC, same.logprob_HQC)
    assert own.characters_QC.max() == 1 < other.characters_QC.max()
    command = ["score", listing, "--question", "Which animal?", "--choice", "goat", "--choice", "owl"]
    by_letter, by_text = (json.loads(invoke(*command, "--json", *more).stdout) for more in ((), ("--template", "qa")))
    assert {c["text"] for c in by_letter} == {c["text"] for c in by_text} == {"goat", "owl"}
    assert {c["base"] for c in by_letter} != {c["base"] for c in by_text}
    assert "A. goat" in (listing / "README.md").read_text() or "A. oxygen" in (listing / "README.md").read_text()


def test_orders_are_counted_by_hand(listing: Path, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    result = invoke("eval", listing, "--data", data, "--orders", "all", "--json", "--save-likelihoods", file)
    assert result.exit_code == 0, result.output
    value, table = json.loads(result.stdout), Likelihoods.load(file)
    of_question: dict[str, list[tuple[str, bool]]] = {}
    scores_QC = table.head("positive") - table.head("negative")
    for question, row in zip(table.questions, scores_QC, strict=True):
        best = int(np.nanargmax(row))
        of_question.setdefault(question.text, []).append((canonical(question.choices[best]), best == question.answer))
    assert sorted(map(len, of_question.values())) == [2, 3, 4, 5]
    accuracy = np.mean([np.mean([right for _, right in answers]) for answers in of_question.values()])
    changed = np.mean([len({text for text, _ in answers}) > 1 for answers in of_question.values()])
    assert value["questions"] == 4
    assert value["methods"]["likra"]["accuracy"] == pytest.approx(accuracy)
    assert value["orders"]["most"] == 5
    assert value["orders"]["changed"]["likra"]["value"] == pytest.approx(changed)
    shown = " ".join(invoke("eval", listing, "--data", data, "--orders", "2").stdout.split())
    assert "Means over up to 2 orders of the options. Answers that change with it: Base" in shown
    assert "4 questions (test)" in shown


def test_data_shows_them(data: Path) -> None:
    shown = invoke("data", data, "--template", "options").stdout
    assert "A. goat 0" in shown and "[ A]" in shown
    assert "assistant:" in invoke("data", data, "--template", "chat", "--shots", "1").stdout


def test_what_does_not_go_together(bad: Callable[..., str], listing: Path, data: Path, model_folder: Path) -> None:
    judged = ("eval", listing, "--data", data)
    assert "add --template options" in bad(*judged, "--template", "qa", "--orders", "all")
    assert "--orders 1: give all, or a whole number of 2 or more" in bad(*judged, "--orders", "1")
    assert "leave out --min-confidence, --record" in bad(*judged, "--orders", "all", "--record")
    assert "--template must be one of qa" in bad(*judged, "--template", "odd")
    score = ("score", listing, "--question", "?", "--choice", "a", "--choice", "b")
    assert "--template must be one of qa" in bad(*score, "--template", "odd")
    assert "learned to name one of the listed options" in bad("generate", listing, "--prompt", "Which animal?")
    out = ("--out", data.parent / "no-heads")
    assert bad("train", model_folder, "--data", data, "--template", "chat", *out).startswith(
        "the tokenizer has no chat template"
    )
    assert not (data.parent / "no-heads").exists()
    assert "has no chat template" in bad(*judged, "--template", "chat")


def test_calibrated_letters(listing: Path, data: Path) -> None:
    assert invoke("calibrate", listing, "--data", data, "--split", "all").exit_code == 0
    assert json.loads((listing / "calibration.json").read_text())["calibration"]["style"] == "options"
    score = ["score", listing, "--question", "Which animal?", "--choice", "goat", "--choice", "owl", "--json"]
    assert json.loads(invoke(*score).stdout)[0]["probability"] is not None
    assert json.loads(invoke(*score, "--template", "qa").stdout)[0]["probability"] is None
