"""inspect_ai's own `eval`, offline with its mock model, against `Likra.score`."""

import dataclasses
import math
import tomllib
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("inspect_ai", reason="needs inspect_ai: pip install -c constraints.txt '.[inspect]'")

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import choice

from likra import InputError, Likra, TrainingConfig
from likra.data import Question, load
from likra.integrations.inspect import likra_scorer, likra_solver
from likra.scoring.calibration import PLATT, Calibration
from likra.scoring.calibration_error import CalibrationRecord
from likra.utils.runtime import QUIET


@pytest.fixture(scope="module")
def likra() -> Likra:
    config = TrainingConfig(learning_rate=1e-3)
    return Likra.from_base("world-tiny", training_config=config).fit("world", limit=16, runtime=QUIET)


@pytest.fixture(scope="module")
def heads(likra: Likra, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "heads"
    likra.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def world() -> list[Question]:
    return load("world").questions["test"][:12]


def run(task: Task, outputs: Sequence[str], folder: Path) -> EvalLog:
    """The log of a run; the mock model writes the outputs in the order of the samples."""
    answers = [ModelOutput.from_content("mockllm/model", text) for text in outputs]
    for one in answers:
        one.usage = ModelUsage()  # else tokens are counted, with a tokenizer that is downloaded
    model = get_model("mockllm/model", custom_outputs=answers)
    [log] = eval(task, model=model, display="none", log_dir=str(folder), max_samples=1, max_connections=1)
    assert log.status == "success", log.error
    return log


def samples_of(log: EvalLog) -> list[EvalSample]:
    """In the order of the questions, whose places are their ids."""
    return sorted(log.samples or [], key=lambda sample: int(sample.id))


def metrics(log: EvalLog) -> dict[str, float]:
    assert log.results
    return {name: metric.value for name, metric in log.results.scores[0].metrics.items()}


def test_a_solver_answers_by_the_ratio(likra: Likra, heads: Path, world: list[Question], tmp_path: Path) -> None:
    samples = [
        Sample(id=n, input=q.text, choices=[*q.choices], target=chr(ord("A") + int(q.answer or 0)))
        for n, q in enumerate(world)
    ]
    log = run(Task(dataset=samples, solver=likra_solver(str(heads), weight=0.5), scorer=choice()), [], tmp_path)
    right = []
    for question, sample in zip(world, samples_of(log), strict=True):
        plain = likra.likelihoods([question])
        scores = plain.head("positive")[0] - 0.5 * plain.head("negative")[0]
        assert [one["score"] for one in sample.store["likra"]] == pytest.approx(
            scores[: len(question.choices)], abs=1e-4
        )
        assert sample.output.completion == question.choices[int(np.nanargmax(scores))]
        right.append(float(np.nanargmax(scores) == question.answer))
        assert sample.scores and (sample.scores["choice"].value == "C") is bool(right[-1])
    assert 0 < sum(right) < len(right)
    found = metrics(log)
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["stderr"] == pytest.approx(np.std(right, ddof=1) / math.sqrt(len(right)))


def test_a_scorer_gives_what_score_gives(likra: Likra, world: list[Question], tmp_path: Path) -> None:
    written = [q.choices[n % len(q.choices)] for n, q in enumerate(world)]
    written[3] = "  "  # no answer
    written[5] = "surely cello " * 2000  # overruns the context
    samples = [Sample(id=n, input=q.text, target="") for n, q in enumerate(world)]
    log = run(Task(dataset=samples, scorer=likra_scorer(likra)), written, tmp_path)
    values = []
    for place, (question, text, sample) in enumerate(zip(world, written, samples_of(log), strict=True)):
        assert sample.scores
        found = sample.scores["likra_scorer"]
        if place in (3, 5):
            assert math.isnan(found.as_float())
            assert found.reason == ("no_response" if place == 3 else "scoring_failed")
            continue
        [one] = likra.score(question.text, [text])
        assert found.as_float() == one.score and found.answer == text
        assert found.metadata == {
            key: value for key, value in dataclasses.asdict(one).items() if key not in ("text", "withheld")
        }
        values.append(one.score)
    assert metrics(log)["mean"] == pytest.approx(np.mean(values))


def test_a_threshold_needs_a_probability_and_makes_an_accuracy(
    likra: Likra, heads: Path, world: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="threshold: these heads give no probability"):
        likra_scorer(str(heads), threshold=0.5)
    fitted = Calibration(PLATT, 1.0, "raw", temperature=2.0, style=likra.style, bias=0.25)
    monkeypatch.setattr(likra, "lone_calibration", CalibrationRecord(fitted, None, None, 9, 0.2, 0.1))
    written = [q.choices[n % len(q.choices)] for n, q in enumerate(world)]
    written[3] = ""
    samples = [Sample(id=n, input=q.text, target="") for n, q in enumerate(world)]
    chances = [likra.score(q.text, [text])[0] for q, text in zip(world, written, strict=True) if text]
    threshold = float(np.median([one.probability or math.nan for one in chances]))
    log = run(Task(dataset=samples, scorer=likra_scorer(likra, threshold=threshold)), written, tmp_path)
    expected = ["C" if (one.probability or 0) >= threshold else "I" for one in chances]
    expected.insert(3, "N")
    assert [sample.scores["likra_scorer"].value for sample in samples_of(log) if sample.scores] == expected
    assert metrics(log)["mean"] == pytest.approx(expected.count("C") / len(world))
    # P(right) = 1 / (1 + exp(-(score / temperature + bias))), by hand.
    for one in chances:
        assert one.probability == pytest.approx(1 / (1 + math.exp(-(one.score / 2.0 + 0.25))), abs=1e-6)


def test_inspect_finds_them_by_the_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [(name, value)] = project["entry-points"]["inspect_ai"].items()
    module = EntryPoint(name, value, "inspect_ai").load()
    assert (name, module.likra_solver) == ("likra", likra_solver)
