"""Heads read on the way through several epochs, against heads that are trained for so many epochs alone."""

import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from likra import Likra, TrainingConfig
from likra.cli.app import app
from likra.lab.run import run_studies
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import estimate_of
from likra.lab.runner.task import Task
from likra.lab.study import STUDIES
from likra.utils.runtime import QUIET
from tests.lab.test_transfer import killed_after

TASK = Task("world-tiny", "world", limit=30)
CONFIG = TrainingConfig(learning_rate=1e-3)
SEEDS = (0, 3)


def planned() -> Plan:
    plan = Plan((TASK,), sizes=(0, 8), seeds=SEEDS, config=CONFIG)
    # 12 questions: the second step of each epoch has fewer examples than the first.
    return STUDIES["epochs"].configure(plan, epochs="3,2", questions="12")  # type: ignore[call-arg]


def test_rows_are_those_of_heads_trained_alone(tmp_path: Path) -> None:
    rows, ran = run_studies([("epochs", planned())], tmp_path, shown=False)
    assert ran == len(SEEDS)
    accuracy: dict[tuple[int, str], float] = {}
    for epochs in (1, 2, 3):
        found = []
        for seed in SEEDS:
            config = dataclasses.replace(CONFIG, seed=seed, num_train_epochs=epochs)
            likra = Likra.from_base("world-tiny", training_config=config)
            likra.fit(TASK.drawn(12, seed), runtime=QUIET)
            found.append(likra.evaluate(TASK.test(), runtime=QUIET).methods)
        for method in ("sft", "base_likra", "likra"):
            accuracy[epochs, method] = sum(of_seed[method].value for of_seed in found) / len(found)
            labels = {"method": method, "size": 12, "at": float(epochs)}
            measured = estimate_of(rows, quantity="accuracy", **labels)
            assert measured is not None and measured.value == pytest.approx(accuracy[epochs, method])
            gained = estimate_of(rows, quantity="difference", **labels)
            if epochs > 1:
                assert gained is not None
                assert gained.value == pytest.approx(accuracy[epochs, method] - accuracy[1, method])
            else:
                assert gained is None
    assert len({accuracy[epochs, "likra"] for epochs in (1, 2, 3)}) > 1
    said = STUDIES["epochs"].section(rows)
    assert len(said.tables[0].rows) == 3 and "3 epochs of 12 training questions change" in said.sentences[0]


def test_a_run_that_was_cut_off_gives_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_studies([("epochs", planned())], tmp_path / "whole", shown=False)
    with killed_after(2, monkeypatch):
        run_studies([("epochs", planned())], tmp_path / "killed", shown=False)
    run_studies([("epochs", planned())], tmp_path / "killed", shown=False)
    whole, killed = ((tmp_path / name / "results.parquet").read_bytes() for name in ("whole", "killed"))
    assert killed == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0,2"], "--epochs 0,2: give whole numbers from 1"),
        (["--questions", "some"], "--questions some: give whole numbers from 1"),
        (["--questions", "4096"], "only 576 training questions"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    command = ["study", "epochs", "world-tiny", "--data", "world", "--sizes", "0,8", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, *arguments])
    assert message in str(result.exception)
