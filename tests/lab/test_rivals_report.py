"""What the study of rivals says: which method to take, where curves cross, and the rates that were chosen."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from likra.cli.app import app
from likra.lab.run import run_studies
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import Sheet, load_table, one, pick
from likra.lab.runner.task import Task
from likra.lab.study import STUDIES, with_options
from likra.scoring.estimate import Estimate

TASK = Task("world-tiny", "world", limit=40)


def rows(at: dict[int, dict[str, float]], p: dict[int, dict[str, float]]) -> pd.DataFrame:
    """Size -> accuracies of methods; size -> p-values against the best."""
    sheet = Sheet("rivals", TASK)

    def near(value: float) -> Estimate:
        return Estimate(value, value - 0.02, value + 0.02)

    for place, (size, accuracy) in enumerate(at.items()):
        best = max(accuracy, key=lambda method: accuracy[method])
        for method, value in accuracy.items():
            sheet.add("difference", near(accuracy["likra"] - value), method=f"likra-{method}", size=size, p=0.5)
            own = p[size].get(method, 1.0)
            sheet.add("behind_best", near(accuracy[best] - value), method=method, part=best, size=size, p=own)
            free = method in ("base", "pmi")
            if not free or place == 0:
                labels: dict[str, Any] = {"method": method, "size": 0 if free else size}
                sheet.add("accuracy", near(value), **labels)
                sheet.add("training_gflops", 1.0, **labels)
                sheet.add("judging_gflops", 1.0, **labels)
    return sheet.table()


def test_the_first_sentence_says_which_method_to_take() -> None:
    found = rows(
        {
            8: {"base": 0.25, "pmi": 0.45, "likra": 0.44, "listwise": 0.40},
            16: {"base": 0.25, "pmi": 0.45, "likra": 0.50, "listwise": 0.60},
        },
        {8: {"base": 0.001, "likra": 0.7, "listwise": 0.05}, 16: {"base": 0.001, "pmi": 0.001, "likra": 0.02}},
    )
    first, crossing = STUDIES["rivals"].say(found).sentences
    assert first == (
        "after 8 training questions, take PMI, 45.0 (43.0 to 47.0) percent (not significantly worse: Likra); "
        "after 16 training questions, take Listwise softmax, 60.0 (58.0 to 62.0) percent; "
        "Likra is not among the best: it is 10.0 (8.0 to 12.0) points behind, p = 0.02."
    )
    assert crossing == (
        "generative and discriminative: Likra minus Listwise softmax is +4.0 (+2.0 to +6.0) at 8, "
        "-10.0 (-12.0 to -8.0) at 16 training questions; they cross between 8 and 16; the interval excludes 0 at 8, 16."
    )
    section = STUDIES["rivals"].section(found)
    assert section.sentences[0].startswith("world-tiny, world: after 8 training questions, take PMI")


def test_curves_that_do_not_cross() -> None:
    accuracy = {8: {"likra": 0.5, "joint": 0.5}, 16: {"likra": 0.6, "joint": 0.5}}
    _, said = STUDIES["rivals"].say(rows(accuracy, {8: {}, 16: {}})).sentences
    assert said.endswith("they do not cross; the interval excludes 0 at 16.")


def test_rates_are_tried_by_the_command_and_stand_in_the_report(tmp_path: Path) -> None:
    arguments = ["study", "rivals", "world-tiny", "--data", "world", "--limit", "40", "--sizes", "0,8", "--seeds", "2"]
    more = ["--only", "pmi,contrast,probe,joint", "--try-lr", "1e-3,1e-4"]
    result = CliRunner().invoke(app, [*arguments, *more, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "rivals: world-tiny, world: after 8 training questions, take" in result.output
    table = load_table(tmp_path / "results.parquet")
    accuracy = pick(table, quantity="accuracy", seed=-1)
    untrained = {"base", "pmi", "contrast-1", "contrast-2", "contrast-3"}
    assert set(pick(accuracy, size=8)["method"]) == {"sft", "sft_base", "base_likra", "likra", "probe", "joint"}
    assert set(pick(accuracy, size=0)["method"]) == {*pick(accuracy, size=8)["method"], *untrained}
    assert accuracy.groupby(["method", "size"]).size().eq(1).all()
    difference = pick(table, quantity="difference")
    assert set(pick(difference, size=8)["method"]) == {f"likra-{m}" for m in set(accuracy["method"])}
    chosen = pick(table, quantity="learning_rate", size=8).set_index("method")["value"]
    assert set(chosen.index) == {"sft", "sft_base", "base_likra", "likra", "joint"}
    for method, job in (("likra", "rivals"), ("joint", "joint")):
        [path] = (tmp_path / "cells").glob(f"{job}-*/seed1/learning_rate.json")
        assert chosen[method] == json.loads(path.read_text())["chosen"]
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert "learning rate chosen from 0.0001, 0.001 by two-fold cross-validation" in facts["rivals: world-tiny, world"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Ratio trained jointly" in page and "learning rate" in page
    again = CliRunner().invoke(app, [*arguments, *more, "--out", str(tmp_path)])
    assert "0 jobs were run" in again.output


def test_costs_of_rivals_by_hand(tmp_path: Path) -> None:
    """Costs as multiples of Likra's; those of other words by the tokens that are read."""
    plan = Plan((TASK,), sizes=(0, 8), seeds=(0,))
    plan = with_options(plan, only=["pmi", "contrast", "probe", "verifier", "listwise", "joint"])
    table, _ = run_studies([("rivals", plan)], tmp_path, shown=False)
    training = pick(table, quantity="training_gflops", size=8).set_index("method")["value"]
    judging = pick(table, quantity="judging_gflops").drop_duplicates("method").set_index("method")["value"]
    assert training["listwise"] == pytest.approx(training["likra"])
    assert training["joint"] == pytest.approx(2 * training["likra"])
    assert training["probe"] == pytest.approx(training["likra"] / 2)
    assert training["verifier"] > training["likra"]
    assert judging["joint"] == judging["likra"] == 2 * judging["base"]
    assert judging["listwise"] == judging["probe"] == judging["base"]
    assert judging["base"] < judging["pmi"] < 2 * judging["base"]  # it reads the answers again, and no question
    assert 2 * judging["base"] < judging["contrast-1"] < 3 * judging["base"]
    assert judging["verifier"] > judging["base"]
    # Without a choice the rate is the plan's, and all of it is on the rows.
    rates = pick(table, quantity="learning_rate", size=8)["value"]
    assert set(rates) == {plan.config.learning_rate}
    assert one(table, quantity="behind_best", method=one(table, quantity="behind_best", size=8)["part"], size=8)[
        "value"
    ] == pytest.approx(0)


def test_pmi_stands_in_the_curve_and_the_models(tmp_path: Path) -> None:
    """The same number as among the rivals, from one job for all three."""
    plan = Plan((TASK,), sizes=(0, 8), seeds=(0, 1))
    rivals = dataclasses.replace(with_options(plan, only=["pmi"]), sizes=(8,), seeds=(0,))
    table, _ = run_studies([("curve", plan), ("models", plan), ("rivals", rivals)], tmp_path, shown=False)
    assert len(list((tmp_path / "cells").glob("pmi-*"))) == 1
    found = {
        study: pick(table, study=study, quantity="accuracy", method="pmi", seed=-1)["value"].tolist()
        for study in ("curve", "models", "rivals")
    }
    assert len(set(found["curve"])) == 1 and len(found["curve"]) == 2
    assert found["curve"][0] == found["models"][0] == found["rivals"][0]
    for study in ("curve", "models"):
        tables = STUDIES[study].section(pick(table, study=study)).tables
        [accuracies] = [t for t in tables if "accuracy in percent" in t.caption and "controls" not in t.caption]
        assert "PMI" in accuracies.header
        lead = one(table, study=study, quantity="difference", method="likra-pmi", size=8)
        likra = one(table, study=study, quantity="accuracy", method="likra", size=8)
        assert lead["value"] == pytest.approx(likra["value"] - found[study][0]) and np.isfinite(lead["p"])
