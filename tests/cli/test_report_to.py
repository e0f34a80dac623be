"""`--report-to`: TensorBoard's files, read back by TensorBoard's own reader; and what the other trackers get."""

import importlib.machinery
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from likra import Likra
from likra.errors import InputError
from likra.training.step import Step
from likra.training.trainer import Trainer
from likra.utils import tracking
from likra.utils.files import unfinished
from likra.utils.tracking import Tracking
from tests.cli.test_cli import bad, invoke
from tests.conftest import write_questions

__all__ = ["bad"]  # a fixture

Scalars = dict[str, list[tuple[int, float]]]


@pytest.fixture
def data(questions: Any, tmp_path: Path) -> Path:
    return write_questions(tmp_path / "quiz.jsonl", questions)


def written(folder: Path, *, purged: bool = False) -> Scalars:
    """Name -> all (step, value) in the files of a run; `purged`: as TensorBoard shows them."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=purged)
    reader.Reload()
    return {name: [(one.step, one.value) for one in reader.Scalars(name)] for name in reader.Tags()["scalars"]}


def expected(steps: list[Step]) -> Scalars:
    """What the files must have, worked out from `Likra.losses`; TensorBoard keeps float32."""
    found: Scalars = {}
    for step in steps:
        for head, loss in step.losses.items():
            values = {"loss": loss, "learning_rate": step.rates[head], "examples": step.examples[head]}
            for part, value in values.items():
                found.setdefault(f"train/{part}/{head}", []).append((step.step, float(np.float32(value))))
    return found


def only(pattern: str, folder: Path) -> Path:
    [found] = folder.glob(pattern)
    return found


def command(model: Path, data: Path, out: Path, *more: Any) -> list[Any]:
    common = ["train", model, "--data", data, "--out", out, "--batch-size", 2, "--epochs", 3, "--schedule", "linear"]
    return [*common, "--checkpoint-every", 5, *more]


def killed(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Training ends before so many steps are done."""
    real = Trainer._step

    def step(self: Trainer, number: int, items: Any) -> Step:
        if number == at:
            raise KeyboardInterrupt
        return real(self, number, items)

    monkeypatch.setattr(Trainer, "_step", step)


def test_what_is_logged_is_what_training_did(model_folder: Path, data: Path, tmp_path: Path) -> None:
    result = invoke(*command(model_folder, data, tmp_path / "heads", "--report-to", "tensorboard"))
    assert result.exit_code == 0, result.output
    assert f"tensorboard --logdir {tmp_path / 'runs'}" in result.stderr.replace("\n", "")
    losses = Likra.from_pretrained(tmp_path / "heads").losses
    assert len(losses) > 10
    assert written(only("runs/heads/train-*", tmp_path)) == expected(losses)
    assert not list((tmp_path / "heads").rglob("*.json*.tmp*")) and not unfinished(tmp_path / "heads").exists()


@pytest.mark.parametrize("at_first", [True, False])
def test_a_run_that_goes_on_has_each_step_once(
    at_first: bool, model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 6 and 7 were logged, and are done again; or the first process logged nothing."""
    out, report = tmp_path / "heads", ["--report-to", "tensorboard"]
    with monkeypatch.context() as patched:
        killed(patched, at=7)
        assert invoke(*command(model_folder, data, out, *(report if at_first else []))).exit_code != 0
    assert (tmp_path / "runs").exists() is at_first
    assert invoke(*command(model_folder, data, out, *report)).exit_code == 0
    folder = only("runs/heads/train-*", tmp_path)
    assert len(list(folder.iterdir())) == 1 + at_first
    assert written(folder) == expected(Likra.from_pretrained(out).losses)


def test_what_was_killed_before_its_first_state_is_another_run(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, report = tmp_path / "heads", ["--report-to", "tensorboard"]
    with monkeypatch.context() as patched:
        killed(patched, at=3)
        assert invoke(*command(model_folder, data, out, *report)).exit_code != 0
    # Nothing is there to go on from, so the options may be others.
    assert invoke(*command(model_folder, data, out, *report, "--lr", 1e-3)).exit_code == 0
    runs = sorted(
        map(written, (tmp_path / "runs" / "heads").iterdir()), key=lambda run: len(run["train/loss/positive"])
    )
    first, second = runs
    assert len(first["train/loss/positive"]) == 3
    assert second == expected(Likra.from_pretrained(out).losses)


def test_killed_between_a_step_and_its_record(tmp_path: Path) -> None:
    """The step is in the files twice then; TensorBoard shows it once."""
    where = Tracking(("tensorboard",), "heads", tmp_path / "runs")

    def log(steps: range, known: int) -> None:
        with where.run("train", state=tmp_path) as run:
            if known:
                run.go_on([({"loss": float(step)}, step) for step in range(1, known + 1)])
            for step in steps:
                run.log({"loss": float(step)}, step)

    log(range(1, 7), known=0)
    record = tmp_path / "tracking.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"step": 5, "whole": False}))
    log(range(5, 10), known=4)
    folder = only("runs/heads/train-*", tmp_path)
    assert [step for step, _ in written(folder)["loss"]] == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9]
    assert written(folder, purged=True)["loss"] == [(step, float(step)) for step in range(1, 10)]


def test_tune_logs_its_folds_its_heads_and_what_was_found(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And, killed while it trains the heads, does not log again what was finished."""
    out = tmp_path / "heads"
    tune = ["tune", model_folder, "--data", data, "--out", out, "--folds", 3, "--try-epochs", "1,2", "--json"]
    tune += ["--report-to", "tensorboard"]
    with monkeypatch.context() as patched:
        patched.setattr("likra.tuning.calibrate", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert invoke(*tune).exit_code != 0
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("events*")}
    result = invoke(*tune)
    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in before} == before
    runs = {path.name.rsplit("-", 3)[0]: written(path) for path in (tmp_path / "runs" / "heads").iterdir()}
    assert sorted(runs) == ["eval", "folds-0.0003", "folds-0.001", "train"]
    losses = Likra.from_pretrained(out).losses
    assert runs["train"] == expected(losses)
    for rate in (0.001, 0.0003):
        of_rate = runs[f"folds-{rate:g}"]
        assert {name for name in of_rate if "/loss/" in name} == {
            f"train/loss/fold{fold}-{head}" for fold in range(3) for head in ("positive", "negative")
        }
        assert all(value == pytest.approx(rate) for _, value in of_rate["train/learning_rate/fold0-positive"])
        assert [step for step, _ in of_rate["train/loss/fold0-positive"]] == [1, 2]
    found = json.loads(result.stdout)
    figures = found["methods"] | {"expected": {key: found["taken"][key] for key in ("accuracy", "low", "high")}}
    assert runs["eval"] == {
        f"eval/{method}/{key}": [(len(losses), pytest.approx(value, rel=1e-6))]
        for method, values in figures.items()
        for key, value in values.items()
    }


def test_eval_logs_accuracies_with_their_intervals_and_controls(
    model_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "heads"
    assert invoke("train", model_folder, "--data", data, "--out", out).exit_code == 0
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "elsewhere"))
    common = ["eval", out, "--data", data, "--split", "all", "--controls", "--json"]
    result = invoke(*common, "--report-to", "tensorboard")
    found = json.loads(result.stdout)
    logged = written(only("elsewhere/heads/eval-*", tmp_path))
    steps = len(Likra.from_pretrained(out).losses)
    parts = {**found["methods"], **{f"blind/{name}": value for name, value in found["controls"]["blind"].items()}}
    parts |= {f"reading_gain/{name}": value for name, value in found["reading_gain"].items()}
    assert len(parts) == 12
    for name, values in parts.items():
        for key, value in values.items():
            assert logged[f"eval/{name}/{key}"] == [(steps, pytest.approx(value, rel=1e-6))]


class Recorder:
    """A run of wandb, or of Trackio: keeps what it gets."""

    def __init__(self, **options: Any) -> None:
        self.options, self.logged, self.finished = options, [], 0  # type: ignore[var-annotated]

    def log(self, values: dict[str, float], step: int) -> None:
        assert not self.finished
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Recorder]]:
    """Puts a stand-in for a package of a tracker in its place; gives the runs that it is asked for."""

    def put(name: str) -> list[Recorder]:
        module, runs = ModuleType(name), []  # type: ignore[var-annotated]
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)

        def init(**options: Any) -> Recorder:
            print("a word of the tracker's")
            runs.append(Recorder(**options))
            return runs[-1]

        module.init = init  # type: ignore[attr-defined]
        module.finish = lambda: runs[-1].finish()  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
        return runs

    return put


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_other_trackers_get_whole_runs(
    name: str,
    model_folder: Path,
    data: Path,
    tmp_path: Path,
    standin: Callable[[str], list[Recorder]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, out = standin(name), tmp_path / "heads"
    train = command(model_folder, data, out, "--report-to", f"{name},tensorboard", "--report-to", name)
    with monkeypatch.context() as patched:
        killed(patched, at=7)
        assert invoke(*train).exit_code != 0
    result = invoke(*train)
    assert result.exit_code == 0
    assert ("a word of the tracker's" in result.stdout) is (name == "wandb")  # which writes to standard error itself
    losses = Likra.from_pretrained(out).losses
    first, second = runs
    assert [step for step, _ in first.logged] == list(range(1, 8))
    assert second.logged == [(step.step, step.figures) for step in losses]
    assert first.finished == second.finished == 1
    assert second.options["project"] == "likra" and second.options["group"] == "heads"
    assert second.options["name"] != first.options["name"]
    assert second.options["config"]["num_train_epochs"] == 3
    assert written(only("runs/heads/train-*", tmp_path)) == expected(losses)


def test_a_tracker_that_cannot_be_started(
    model_folder: Path,
    data: Path,
    tmp_path: Path,
    standin: Callable[[str], list[Recorder]],
    bad: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standin("wandb")

    def refuse(**options: Any) -> None:
        raise RuntimeError("No API key configured.\nAnd more.")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    said = bad(*command(model_folder, data, tmp_path / "heads", "--report-to", "wandb"))
    assert said == (
        "--report-to wandb: cannot be started (No API key configured); WANDB_MODE=offline keeps runs on this machine."
    )
    assert not (tmp_path / "heads").exists()


def test_what_cannot_be_logged_to_is_refused_first(
    tmp_path: Path, bad: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    train = ["train", "world-tiny", "--data", "no-such-file", "--out", tmp_path / "heads", "--report-to"]
    assert bad(*train, "clearml") == "--report-to must be one of tensorboard, wandb, trackio, got 'clearml'."
    for name in tracking.TRACKERS:
        assert bad(*train, name) == f"--report-to {name}: {name} is not installed; pip install {name}"
    monkeypatch.undo()
    runs = [*train[:-2], tmp_path / "runs", "--report-to"]
    assert "where the heads are to be; choose another --out." in bad(*runs, "tensorboard")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=r"cannot be written, because .*file is a file"):
        Tracking(("tensorboard",), "heads", file)
