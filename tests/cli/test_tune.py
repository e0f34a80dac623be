"""`likra tune` and `likra eval --folds`, on a tiny model, and what a tuning says of tables made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from likra import Likra
from likra.cli import app as app_module
from likra.scoring.cross_validation import CrossValidation, Recipe
from likra.scoring.likelihoods import Likelihoods
from likra.scoring.tuning import Tuning
from likra.training.trainer import Trainer
from likra.utils.files import unfinished
from tests.cli.test_cli import bad
from tests.conftest import write_questions
from tests.training.test_cross_validation import made

__all__ = ["bad"]  # a fixture


@pytest.fixture
def data(questions: Any, tmp_path: Path) -> Path:
    return write_questions(tmp_path / "quiz.jsonl", questions)


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(app_module.app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_folds_give_what_eval_gives(model_folder: Path, data: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables.parquet"
    common = ("eval", model_folder, "--data", data, "--folds", 3, "--lr", 1e-3, "--epochs", 2, "--try-lr", "1e-3,3e-3")
    found = json.loads(run(*common, "--json", "--save-likelihoods", tables))
    assert (found["folds"], found["questions"], found["learning_rate"], found["num_train_epochs"]) == (3, 12, 1e-3, 2)
    assert list(found["methods"]) == ["base", "pmi", "tfidf", "sft", "base_likra", "likra"]
    for value in found["methods"].values():
        assert set(value) == {"accuracy", "low", "high"}
        assert value["low"] <= value["accuracy"] <= value["high"]
    assert found["chosen"]["likra"]["setting"]["learning_rate"] in (1e-3, 3e-3)
    assert tables.exists()
    said = run(*common, "--more", 100)
    assert "With 100 more records expect" in " ".join(said.split())
    assert "each judged by heads that learned from the other folds (3 folds)" in " ".join(said.split())


def test_it_goes_on_where_it_was_killed(model_folder: Path, data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def tuned(out: Path, *more: Any) -> Any:
        common = ("tune", model_folder, "--data", data, "--folds", 3, "--try-epochs", "1,2", "--json")
        return json.loads(run(*common, "--out", out, *more))

    whole = tuned(tmp_path / "whole")
    real, steps = Trainer._step, []

    def killed(self: Trainer, *arguments: Any) -> Any:
        if len(steps) == 5:
            raise KeyboardInterrupt
        steps.append(arguments)
        return real(self, *arguments)

    out = tmp_path / "heads"
    monkeypatch.setattr(Trainer, "_step", killed)
    common = ["tune", str(model_folder), "--data", str(data), "--folds", "3", "--try-epochs", "1,2", "--out", str(out)]
    assert CliRunner().invoke(app_module.app, common).exit_code != 0
    assert unfinished(out).exists()
    assert not out.exists()
    monkeypatch.setattr(Trainer, "_step", real)
    for more in (["--seed", "1"], ["--try-epochs", "1,2,3"], ["--adapt", "everywhere"]):
        other = CliRunner().invoke(app_module.app, [*common, *more])
        assert "holds an unfinished run on other data or with other options" in str(other.exception)
    assert tuned(out) == whole
    assert not unfinished(out).exists()
    heads, same = (Likra.from_pretrained(folder) for folder in (out, tmp_path / "whole"))
    assert heads.training["tuning"] == whole
    assert heads.weight == whole["taken"].get("weight", 1.0)
    assert heads.training_config == same.training_config
    assert heads.training_config.learning_rate == whole["taken"]["learning_rate"]
    assert set(heads.heads) == {"sft": {"positive"}, "base_likra": {"negative"}}.get(
        whole["taken"]["method"], {"positive", "negative"}
    )
    for name in heads.heads:
        assert heads.trained.digest(name) == same.trained.digest(name)


def of(sft: list[int], likra: list[int], hidden: list[int]) -> Tuning:
    """Of records that are judged rightly where there is a 1."""

    def scores(right: list[int]) -> Any:
        return np.array([[1.0, 0.0] if one else [0.0, 1.0] for one in right])

    found = made({Recipe(1e-3, 1): scores(sft)}, [n % 4 for n in range(len(sft))])
    found.likelihoods.logprob_HQC[0] = 1000 * scores(
        [0] * len(sft)
    )  # the base is always wrong, far apart from all else
    # The ratio is that of `likra` at every weight: far apart from what the positive head says.
    found.likelihoods.logprob_HQC[2] = 100 * (scores([1 - one for one in likra]))
    table: CrossValidation = CrossValidation(
        found.tables, found.default, found.fold_Q, normalizations=("raw",), beside={"hidden": scores(hidden)}
    )
    return Tuning(table)


def test_what_it_says() -> None:
    both = of(sft=[1, 0] * 10, likra=[1] * 18 + [0] * 2, hidden=[0] * 20)
    assert both.method == "likra"
    assert next(iter(both.rows)) == "likra"
    assert both.conclusion[0].startswith("Of the heads, Likra is taken")
    assert "Likra minus SFT +40.0 points" in both.conclusion[0]
    alone = of(sft=[1] * 18 + [0] * 2, likra=[1] * 18 + [0] * 2, hidden=[0] * 20)
    assert alone.method == "sft"
    assert "no gain from the negative head is seen here" in alone.conclusion[0]
    other = of(sft=[1, 0] * 10, likra=[1, 0] * 10, hidden=[1] * 20)
    assert other.conclusion[0].startswith("Hidden states is better here than any heads")
    assert other.honest.value == 0.5
    # A lead that may be chance is said to be one.
    close = of(sft=[1] * 19 + [0], likra=[1] * 19 + [0], hidden=[1] * 20)
    assert "as far as so few tell" in close.conclusion[0]


def test_the_honest_figure_is_of_the_rule_that_takes() -> None:
    """By hand: without fold k, the method that is best on the other folds; its credit on fold k."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        sft, likra = (rng.integers(0, 2, 20).tolist() for _ in range(2))
        found = of(sft, likra, hidden=[0] * 20)
        fold_Q, expected = np.arange(20) % 4, 0.0
        for fold in range(4):
            others = fold_Q != fold
            better = np.array(likra)[others].sum() > np.array(sft)[others].sum()
            expected += np.array(likra if better else sft)[~others].sum() / 20
        assert found.honest.value == pytest.approx(expected)
        assert found.method == ("likra" if sum(likra) > sum(sft) else "sft")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--folds", "99"), "folds is 99, but the data asks only 12 different things"),
        (("--try-lr", "fast"), "--try-lr fast: give positive numbers"),
        (("--error-budget", "5"), "--error-budget must be a share above 0 and below 1"),
        (("--try-epochs", "0,1"), "--try-epochs 0,1: give whole numbers of 1 or more"),
    ],
)
def test_bad_input(bad: Any, model_folder: Path, data: Path, tmp_path: Path, more: Any, expected: str) -> None:
    said = bad("tune", str(model_folder), "--data", str(data), "--out", str(tmp_path / "heads"), *more)
    assert expected in said
    assert not (tmp_path / "heads").exists()
    assert not unfinished(tmp_path / "heads").exists()


def test_heads_of_a_table_know_its_labels(bad: Any, model_folder: Path, tmp_path: Path) -> None:
    rows = [
        f"the {word} is broken,{team}" for word in ("car", "mug", "hat", "pen") for team in ("north", "south", "west")
    ]
    table, fresh = tmp_path / "table.csv", tmp_path / "fresh.csv"
    table.write_text("\n".join(["ticket,team", *(f"{n} {row}" for n, row in enumerate(rows))]))
    fresh.write_text("\n".join(["ticket,team", "the door is broken,north", "the lid is broken,south"]))  # no west
    heads = tmp_path / "heads"
    columns = ("--text", "ticket", "--label", "team")
    found = json.loads(
        run("tune", model_folder, "--data", table, *columns, "--out", heads, "--folds", 3, "--try-epochs", 1, "--json")
    )
    assert found["questions"] == 12
    judged = tmp_path / "judged.parquet"
    run("eval", heads, "--data", fresh, "--save-likelihoods", judged)
    assert [question.choices for question in Likelihoods.load(judged).questions] == [("north", "south", "west")] * 2
    # All of the table trained them.
    assert "all of it trained these heads" in bad("eval", str(heads), "--data", str(table))
    assert "all of it trained these heads" in bad("calibrate", str(heads), "--data", str(table))


def test_options_of_training_need_folds(bad: Any, model_folder: Path, data: Path) -> None:
    assert "--shots: is not for --folds" in bad(
        "eval", str(model_folder), "--data", str(data), "--folds", "2", "--shots", "1"
    )
