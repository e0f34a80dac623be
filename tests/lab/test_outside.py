"""A study and a rival of another package: registered by a decorator, run by the command, and shown in the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from likra.cli.app import app
from likra.errors import InputError
from likra.lab.report import canvas
from likra.lab.report.text import Section, accuracies
from likra.lab.rival import RIVALS, Method, Rival, rival
from likra.lab.run import run_studies
from likra.lab.runner.jobs import Note
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, estimate_of, load_table, pick
from likra.lab.runner.task import Task
from likra.lab.study import STUDIES, Study, study, with_options
from likra.scoring.likelihoods import BASE, Floats, Likelihoods
from likra.scoring.scores import METHOD_TITLES

COMMAND = ["world-tiny", "--data", "world", "--limit", "20", "--sizes", "0,8", "--seeds", "1"]


@pytest.fixture
def toy() -> Iterator[None]:
    """A study of SFT alone, with an option of its own."""

    @study("toy")
    class Toy(Study):
        about = "SFT alone."
        title = "A toy"

        def configure(
            self, plan: Plan, *, penalty: Annotated[float, typer.Option(help="Subtracted from the accuracy.")] = 0.0
        ) -> Plan:
            return with_options(plan, penalty=penalty)

        def measure(self, outcome: Outcome, sheet: Sheet) -> None:
            for size in outcome.plan.sizes:
                mean_R = outcome.means("sft", size) - outcome.plan.options.get("penalty")
                sheet.add("accuracy", mean_R, method="sft", size=size)

        def draw(self, rows: pd.DataFrame) -> list[canvas.Drawn]:
            figure, axes = canvas.blank()
            canvas.method_line(axes, canvas.size_axis(axes, canvas.sizes_of(rows)), canvas.by_size(rows), "sft")
            canvas.accuracy_axis(axes, rows)
            return [canvas.drawn("toy", "A toy", figure, rows)]

        def say(self, rows: pd.DataFrame) -> Section:
            return Section([f"{len(rows)} sizes were measured."], [accuracies(rows, METHOD_TITLES)])

    yield
    STUDIES.forget("toy")


@pytest.fixture
def longest() -> Iterator[None]:
    """A rival that needs no training: it picks the longest answer."""

    @rival("longest")
    class Longest(Rival):
        methods = (Method("longest", "The longest answer", normalised=False),)
        job = "pair"

        def run(self, settings: dict[str, Any], folder: Path, note: Note) -> None:
            """Nothing is to be done."""

        def scores(self, folder: Path, size: int, pair: Likelihoods) -> dict[str, Floats]:
            lengths = [[len(choice) for choice in question.choices] for question in pair.questions]
            return {"longest": np.where(np.isnan(pair.head(BASE)), np.nan, np.array(lengths, dtype=float))}

    yield
    RIVALS.forget("longest")


@pytest.mark.usefixtures("toy")
def test_a_study_from_outside(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["study", "toy", "--help"], env={"COLUMNS": "200"})
    assert "SFT alone." in shown.output and "--penalty" in shown.output and "--kinds" not in shown.output
    for name, more in (("curve", []), ("toy", ["--penalty", "0.125"])):
        result = CliRunner().invoke(app, ["study", name, *COMMAND, *more, "--out", str(tmp_path)])
        assert result.exit_code == 0, result.output
    assert "toy: world-tiny, world: 2 sizes were measured." in result.output
    assert "0 jobs were run" in result.output  # the curve's jobs serve
    table = load_table(tmp_path / "results.parquet")
    for size in (0, 8):
        labels = {"quantity": "accuracy", "method": "sft", "size": size}
        theirs, ours = (estimate_of(table, study=name, **labels) for name in ("curve", "toy"))
        assert theirs and ours and ours.value == pytest.approx(theirs.value - 0.125)
    assert table["study"].tolist() == sorted(table["study"])  # other packages' studies come last
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="toy">A toy</h2>' in page and (tmp_path / "figures" / "toy-world-tiny-world.svg").is_file()


@pytest.mark.usefixtures("longest")
def test_a_rival_from_outside(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    plan = Plan((Task("world-tiny", "world", limit=20),), sizes=(0, 8), seeds=(0,))
    table, _ = run_studies([("rivals", plan)], tmp_path, shown=False)
    [found] = pick(table, quantity="accuracy", method="longest", size=0, seed=-1)["value"]
    picks = [
        np.flatnonzero(lengths == lengths.max())
        for question in plan.tasks[0].test()
        for lengths in [np.array([len(choice) for choice in question.choices])]
    ]
    credits = [
        (question.answer in best) / len(best) for question, best in zip(plan.tasks[0].test(), picks, strict=True)
    ]
    assert found == pytest.approx(np.mean(credits))
    said = STUDIES["rivals"].section(table)
    assert any("The longest answer" in row for row in said.tables[0].rows)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="nothing: is not a study; known are curve, models"):
        STUDIES["nothing"]
    with pytest.raises(InputError, match="nothing: is not a rival; known are pmi, contrast"):
        RIVALS["nothing"]
