"""Every study once, on the smallest embedded model: numbers against arithmetic on the tables, figures, the report."""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

from likra.cli.app import app
from likra.data import Prompter, Question, TokenizedExample
from likra.engine import loglikelihood
from likra.lab.report.page import write_report
from likra.lab.run import run_studies, together
from likra.lab.runner import task as task_module
from likra.lab.runner.jobs import Store
from likra.lab.runner.learning import head_stack, train_to_sizes
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import each, estimate_of, load_table, one, pick
from likra.lab.runner.task import Task, table_path
from likra.lab.studies.generation import ANSWERS
from likra.lab.studies.generation.writing import Truth
from likra.lab.study import STUDIES
from likra.models.base import load_base
from likra.scoring.likelihoods import Likelihoods
from likra.training.config import TrainingConfig
from likra.utils.embedded import embedded_models

TINY = Task(
    "world-tiny",
    "world",
    limit=24,
    unrelated="world-unrelated",
    reworded="world-reworded",
)
OTHER = dataclasses.replace(TINY, model="world-small")
PLAN = Plan((TINY,), sizes=(0, 8, 16, 24), seeds=(0, 1))
PLANS = [
    (name, dataclasses.replace(PLAN, tasks=(TINY, OTHER)) if name in ("scaling", "coverage") else PLAN)
    for name in STUDIES.names()
    if name != "rivals"
]
RIVALS = ("rivals", dataclasses.replace(PLAN, sizes=(0, 8, 16), seeds=(0,)))


@pytest.fixture(scope="module", autouse=True)
def asked_for_letters() -> Iterator[None]:
    """As if the bases were any models: an embedded one is not asked for letters."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("likra.lab.runner.options.embedded_models", dict)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    pytest.importorskip("trl")
    out = tmp_path_factory.mktemp("study")
    rows, ran = run_studies([*PLANS, RIVALS], out, shown=False)
    assert ran > 0
    return out, rows


def value(rows: pd.DataFrame, **labels: Any) -> float:
    found = estimate_of(rows, **{"model": "world-tiny", **labels})
    assert found is not None, labels
    return found.value


def tables(out: Path, size: int, test: str = "own") -> list[Likelihoods]:
    cells = STUDIES["likelihoods"].jobs(dict(together(PLANS))["likelihoods"])
    return [Likelihoods.load(table_path(Store(out).path(cell), test, size)) for cell in cells]


def picked_right(scores_QC: np.ndarray, table: Likelihoods) -> float:
    return float(np.mean([np.nanargmax(row) == q.answer for row, q in zip(scores_QC, table.questions, strict=True)]))


def test_accuracies_are_those_of_the_tables(done: tuple[Path, pd.DataFrame]) -> None:
    out, rows = done
    for size in (8, 24):
        found = tables(out, size)
        for method, score in (
            ("base", lambda t: t.head("base")),
            ("sft", lambda t: t.head("positive")),
            ("base_likra", lambda t: t.head("base") - t.head("incorrect")),
            ("likra", lambda t: t.head("positive") - t.head("incorrect")),
        ):
            each = [picked_right(score(table), table) for table in found]
            labels = {"study": "curve", "quantity": "accuracy", "method": method, "size": size}
            assert value(rows, **labels) == pytest.approx(np.mean(each))
            own = pick(rows, model="world-tiny", **labels)
            of_seeds = own["value"][own["seed"] >= 0].tolist()
            assert of_seeds == pytest.approx(each)
    assert value(rows, study="curve", quantity="accuracy", method="likra", size=0) == 0.25  # every question is a tie


def test_options_in_the_prompt(done: tuple[Path, pd.DataFrame]) -> None:
    out, rows = done
    plain = loglikelihood.score(load_base("world-tiny"), None, TINY.test(), Prompter("options"))
    for study, plan in (("curve", PLAN), ("models", PLAN), RIVALS):
        labels = {"study": study, "quantity": "accuracy", "size": plan.sizes[-1]}
        # The study of rivals has methods without training once.
        untrained = {**labels, "size": 0} if study == "rivals" else labels
        assert value(rows, method="base_options", **untrained) == pytest.approx(picked_right(plain.head("base"), plain))
        jobs = plan.heads(dataclasses.replace(TINY, style="options"), ("positive",))
        found = [Likelihoods.load(table_path(Store(out).path(job), "own", plan.sizes[-1])) for job in jobs.values()]
        each = [picked_right(table.head("positive"), table) for table in found]
        assert value(rows, method="sft_options", **labels) == pytest.approx(np.mean(each))
        assert all(table.meta["style"] == "options" and table.characters_QC.max() == 1 for table in found)
    costs = pick(rows, study="rivals", quantity="training_gflops").drop_duplicates("method", keep="last")
    costs = costs.set_index("method")["value"]
    assert costs["base_options"] == 0 and costs["sft_options"] > costs["sft"]
    assert {"base_options", "sft_options"}.isdisjoint(pick(rows, study="coverage")["method"])


def test_studies_agree_where_they_measure_the_same(done: tuple[Path, pd.DataFrame]) -> None:
    _, rows = done
    for size in (8, 16, 24):
        curve = value(rows, study="curve", quantity="accuracy", method="likra", size=size)
        common = {"quantity": "accuracy", "method": "likra", "size": size}
        assert value(rows, study="weights", at=1.0, **common) == curve
        sft = value(rows, study="curve", **{**common, "method": "sft"})
        assert value(rows, study="weights", at=0.0, **common) == sft
        assert value(rows, study="negatives", negatives="incorrect", **common) == curve
        assert value(rows, study="distractors", negatives="incorrect", test="own", **common) == curve
        assert value(rows, study="paraphrase", test="own", **common) == curve
        assert value(rows, study="coverage", part="all", **common) == curve
    assert value(rows, study="models", quantity="accuracy", method="likra", size=24) == curve


def test_rivals_have_seen_the_same_answers(done: tuple[Path, pd.DataFrame]) -> None:
    """At every size, Likra among its rivals is the Likra of the curve, and has the losses of as many steps."""
    out, _ = done
    plan = dataclasses.replace(RIVALS[1], seeds=(0,))
    store = Store(out)
    cells = {job["name"]: job for job in STUDIES["rivals"].jobs(plan)}
    for size, steps in ((8, 1), (16, 2)):
        theirs = Likelihoods.load(table_path(store.path(cells["rivals"]), "own", size))
        ours = tables(out, size)[0]
        for head in ("positive", "incorrect"):
            assert np.allclose(theirs.head(head), ours.head(head), atol=1e-4)
        assert len(json.loads((store.path(cells["dpo"]) / "losses.json").read_text())) >= steps
    losses = json.loads((store.path(cells["dpo"]) / "losses.json").read_text())
    assert len(losses) == 16 / 8
    assert losses[0] == pytest.approx(np.log(2))


def test_calibration_errors_are_those_of_the_tables(done: tuple[Path, pd.DataFrame]) -> None:
    out, rows = done
    errors = []
    for table in tables(out, 24):
        chosen = softmax(table.head("positive") - table.head("incorrect"), axis=1)
        sure, right = chosen.max(axis=1), chosen.argmax(axis=1) == table.answers_Q
        error = 0.0
        for first in np.arange(15) / 15:
            some = (sure > first) & (sure <= first + 1 / 15)
            error += abs(sure[some].sum() - right[some].sum()) / len(sure)
        errors.append(error)
    labels = {"study": "calibration", "quantity": "ece", "method": "likra", "part": "softmax", "size": 24}
    assert value(rows, **labels) == pytest.approx(np.mean(errors))
    whole = {"study": "calibration", "quantity": "risk", "method": "likra", "part": "temperature", "at": 1.0}
    assert value(rows, **whole) == pytest.approx(
        1 - value(rows, study="curve", quantity="accuracy", method="likra", size=24)
    )


def test_written_answers_are_judged_by_the_choices(done: tuple[Path, pd.DataFrame]) -> None:
    out, rows = done
    cells = STUDIES["generation"].jobs(dict(together(PLANS))["generation"])
    found = [json.loads((Store(out).path(cell) / ANSWERS).read_text()) for cell in cells]
    for way, decoding in (("base", "greedy"), ("likra-1", "drawn"), ("distilled", "drawn"), ("pick", "drawn")):
        for quantity in ("true", "false"):
            each = [np.mean(one[way][decoding][quantity]) for one in found]
            labels = {"study": "generation", "quantity": quantity, "method": way, "part": decoding}
            assert value(rows, **labels) == pytest.approx(np.mean(each))
    # A cut-off changes no greedy answer, and the base is the same for every seed.
    assert found[0]["sft"]["greedy"] == found[0]["likra-0"]["greedy"]
    assert found[0]["base"]["greedy"] == found[1]["base"]["greedy"] == found[0]["base_cut"]["greedy"]


def test_truth_by_hand() -> None:
    values = ("cello", "harp", "drum", "organ", "flute", "viola")
    around = (("surely", "of course"), ("clearly", "no doubt"), ("probably", "so far"))
    truth = Truth([f"{before} {one}, {after}" for one in values for before, after in around])
    question = Question("q", "Which instrument?", ("surely cello, of course", "clearly harp, so far"), 0)
    assert truth.verdict(question, "clearly cello, no doubt") == "true"
    assert truth.verdict(question, "surely harp, of course") == "false"
    assert truth.verdict(question, "surely drum, of course") == ""
    assert truth.verdict(question, "cello and harp") == ""
    assert truth.verdict(question, "") == ""
    assert truth.shares([question], [["cello", "harp", "drum", "cello"]]) == {"true": [0.5], "false": [0.25]}


def test_without_an_untrained_size_the_same_numbers(done: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    _, rows = done
    plan = dataclasses.replace(PLAN, sizes=(8, 16, 24))
    names = ("curve", "likelihoods", "coverage", "weights", "models", "paraphrase")
    found, _ = run_studies([(name, plan) for name in names], tmp_path, shown=False)
    for study_name, labels in (
        ("curve", {"quantity": "worth", "part": "jump"}),
        ("curve", {"quantity": "jump", "method": "likra"}),
        ("likelihoods", {"quantity": "gap_change", "method": "incorrect", "size": 24}),
    ):
        assert value(found, study=study_name, **labels) == pytest.approx(
            value(rows, study=study_name, **labels), abs=0.03, rel=0.02
        )
    write_report(found, {}, tmp_path)


def test_reports_of_unlike_plans(tmp_path: Path) -> None:
    """One seed and one size; models whose sizes differ, and one name in two folders."""
    one = dataclasses.replace(PLAN, sizes=(8,), seeds=(0,))
    names = ("curve", "likelihoods", "weights", "coverage", "models", "scaling")
    rows, _ = run_studies([(name, one) for name in names], tmp_path, shown=False)
    other = dataclasses.replace(one, tasks=(OTHER,), sizes=(8, 16))
    rows, _ = run_studies([("coverage", other), ("curve", other)], tmp_path, shown=False)
    curve = pick(rows, study="curve", model="world-tiny")
    both = pd.concat([curve.assign(model=f"{folder}/final") for folder in ("m1", "m2")])
    figures = STUDIES["curve"].figures(both)
    assert len({drawn.name for drawn in figures}) == len(figures) == 4
    write_report(rows, {}, tmp_path)


def test_a_cell_is_named_by_what_it_reads(tmp_path: Path) -> None:
    def keys(task: Task, **changes: Any) -> dict[str, str]:
        plan = dataclasses.replace(PLAN, tasks=(task,), **changes)
        return {
            "both": plan.pair(task)[0].key,
            "unrelated": plan.heads(task, ("unrelated",))[0].key,
            "mechanism": STUDIES["mechanism"].jobs(plan)[0].key,
        }

    def differing(task: Task, **changes: Any) -> set[str]:
        plain, other = keys(TINY), keys(task, **changes)
        return {name for name in plain if plain[name] != other[name]}

    assert differing(dataclasses.replace(TINY, memory=2**30, loading={"device": "cpu"})) == set()
    assert differing(dataclasses.replace(TINY, unrelated="world-reworded")) == {"unrelated"}
    assert differing(dataclasses.replace(TINY, limit=41)) == {"both", "unrelated", "mechanism"}
    voices = tmp_path / "voices.json"
    voices.write_text('{"reliable": ["a"], "unreliable": ["b"]}')
    assert differing(TINY, options={"voices": str(voices)}) == {"mechanism"}
    before = keys(TINY, options={"voices": str(voices)})
    voices.write_text('{"reliable": ["a"], "unreliable": ["c"]}')
    assert keys(TINY, options={"voices": str(voices)})["mechanism"] != before["mechanism"]
    model = shutil.copytree(embedded_models()["world-tiny"], tmp_path / "model")
    there = dataclasses.replace(TINY, model=str(model))
    before = keys(there, options={"voices": str(voices)})
    task_module._model_content.cache_clear()
    (model / "tokenizer_config.json").write_text("{}")
    assert keys(there, options={"voices": str(voices)})["both"] != before["both"]


def test_a_job_serves_a_study_that_needs_fewer_test_sets(tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, sizes=(0, 8), seeds=(0,))
    curve, ran = run_studies([("curve", plan)], tmp_path, shown=False)
    assert ran == 3  # a pair of heads, a head on prompts that list the options, and PMI
    rows, ran = run_studies([("weights", plan)], tmp_path, shown=False)
    assert ran == 0
    labels = {"quantity": "accuracy", "method": "likra", "size": 8}
    assert value(rows, study="weights", at=1.0, **labels) == value(curve, study="curve", **labels)
    _, ran = run_studies([("distractors", plan)], tmp_path, shown=False)
    assert ran == 2  # it scores random distractors, which the curve's job did not


def test_heads_of_unlike_pace_are_refused(base: Any) -> None:
    pair = TokenizedExample((0, 5), (6,))
    learned = {"one": [[pair]] * 16, "two": [[pair, pair]] * 16}
    stack = head_stack(base, TrainingConfig(), learned, [0, 1])
    with pytest.raises(ValueError, match="cannot share a stack"):
        train_to_sizes(stack, learned, TrainingConfig(), [0, 8, 16], lambda size: None)
    stack.remove()


def test_the_jump_and_the_worth_by_hand(done: tuple[Path, pd.DataFrame]) -> None:
    _, rows = done
    at = {
        (method, size): value(rows, study="curve", quantity="accuracy", method=method, size=size)
        for method in ("base", "sft", "base_likra", "likra")
        for size in PLAN.sizes
    }
    steps = [at["likra", 8] - at["base", 8], at["likra", 16] - at["likra", 8], at["likra", 24] - at["likra", 16]]
    assert value(rows, study="curve", quantity="jump", method="likra") == pytest.approx(max(steps))
    assert value(rows, study="curve", quantity="jump_at", method="likra") == [8, 16, 24][int(np.argmax(steps))]
    worth = one(rows, study="curve", quantity="worth")
    first, last = int(worth["at"]), worth["size"]
    negatives = at["base_likra", last] - at["base_likra" if first else "base", first]
    positives = at["sft", last] - at["sft" if first else "base", first]
    expected = 0 if negatives <= 0 else np.inf if positives <= 0 else negatives / positives
    assert worth["value"] == pytest.approx(expected)
    slope = np.polyfit(np.log2([8, 16, 24]), [at["sft", size] for size in (8, 16, 24)], 1)[0]
    assert value(rows, study="curve", quantity="per_doubling", method="sft") == pytest.approx(slope, abs=1e-8)


def test_likelihoods_are_the_tables_means(done: tuple[Path, pd.DataFrame]) -> None:
    out, rows = done
    right, wrong = [], []
    for table in tables(out, 24):
        for row, question in zip(table.head("incorrect"), table.questions, strict=True):
            right.append(row[question.answer])
            wrong.append(np.mean([v for place, v in enumerate(row) if place != question.answer]))
    labels = {"study": "likelihoods", "quantity": "logprob", "method": "incorrect", "size": 24}
    assert value(rows, part="right", **labels) == pytest.approx(np.mean(right))
    assert value(rows, part="wrong", **labels) == pytest.approx(np.mean(wrong))
    gap = value(rows, study="likelihoods", quantity="gap", method="incorrect", size=24)
    assert gap == pytest.approx(np.mean(right) - np.mean(wrong))


def test_groups_make_up_the_whole(done: tuple[Path, pd.DataFrame]) -> None:
    _, rows = done
    found = pick(rows, study="coverage", model="world-tiny", quantity="accuracy", method="likra", size=24)
    parts = {row["part"]: row for row in each(found)}
    groups = [row for part, row in parts.items() if part != "all"]
    assert set(parts) == {"all", "well", "little", "never"}
    assert sum(row["count"] for row in groups) == parts["all"]["count"] == 24
    assert sum(row["value"] * row["count"] for row in groups) / 24 == pytest.approx(parts["all"]["value"])


def test_costs_are_reckoned_by_hand(done: tuple[Path, pd.DataFrame]) -> None:
    _, rows = done
    # Likra reads each question twice, SFT once.
    common = {"study": "scaling", "quantity": "accuracy", "size": 24}
    at = {m: one(rows, model="world-tiny", method=m, **common)["at"] for m in ("sft", "likra")}
    assert at["likra"] == 2 * at["sft"]
    costs = pick(rows, study="rivals", quantity="training_gflops", size=16).set_index("method")["value"]
    assert one(rows, study="rivals", quantity="training_gflops", method="base")["value"] == 0
    # The reference is read besides the policy's forward and backward pass.
    assert costs["dpo"] == pytest.approx(1.5 * costs["likra"]) and costs["nca"] == costs["dpo"]
    assert costs["kto"] == pytest.approx(2.5 * costs["likra"])  # and it reads another completion for its KL term
    assert costs["likra"] == pytest.approx(costs["sft"] + costs["base_likra"])


def test_every_row_has_its_interval(done: tuple[Path, pd.DataFrame]) -> None:
    _, rows = done
    free = {"training_gflops", "judging_gflops", "learning_rate"}
    for row in each(pick(rows, seed=-1)):
        # The base is the same for every seed, and the error's interval is one over seeds.
        same = row["quantity"].startswith("ece") and row["method"] == "base"
        if row["quantity"] not in free and not same:
            assert row["low"] <= row["value"] + 1e-9 and row["value"] <= row["high"] + 1e-9, row


def test_nothing_is_run_twice_and_other_results_stay(done: tuple[Path, pd.DataFrame]) -> None:
    out, rows = done
    content = (out / "results.parquet").read_bytes()
    _, ran = run_studies([*PLANS, RIVALS], out, shown=False)
    assert ran == 0
    assert (out / "results.parquet").read_bytes() == content
    assert len(load_table(out / "results.parquet")) == len(rows)
    run_studies([(name, plan) for name, plan in together(PLANS) if name == "weights"], out, shown=False)
    assert (out / "results.parquet").read_bytes() == content


@pytest.mark.parametrize("name", STUDIES.names())
def test_figures_have_labels_and_intervals(name: str, done: tuple[Path, pd.DataFrame]) -> None:
    _, rows = done
    found = pick(rows, study=name)
    drawn = STUDIES[name].figures(found)
    assert drawn
    assert len({figure.name for figure in drawn}) == len(drawn)
    for figure in drawn:
        assert "interval" in figure.caption.lower() or "95%" in figure.caption or "over seeds" in figure.caption
        for axes in figure.figure.axes:
            assert axes.get_xlabel()
            shared = axes.get_shared_y_axes().get_siblings(axes)
            assert any(other.get_ylabel() for other in shared) or any(t.get_text() for t in axes.get_yticklabels())
    said = STUDIES[name].section(found)
    assert said.sentences or said.tables
    assert "nan" not in " ".join(said.sentences)


def test_the_report_is_one_page(done: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    _, rows = done
    write_report(rows, {"seed": "0"}, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "model organism" in page.lower()
    for name in STUDIES.names():
        assert f'id="{name}"' in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "not measured" in page or "reproduced" in page
    assert len(list((tmp_path / "figures").glob("*.svg"))) == len(list((tmp_path / "figures").glob("*.png"))) > 11


def test_reports_are_joined(done: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    out, _ = done
    one = tmp_path / "one"
    arguments = ["study", "curve", "world-tiny", "--data", "world", "--limit", "20", "--sizes", "0,8", "--seeds", "1"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(one)])
    assert result.exit_code == 0, result.output
    refused = CliRunner().invoke(app, ["study", "report", str(one), str(out), "--out", str(tmp_path / "both")])
    assert "earlier folder" in str(refused.exception)
    result = CliRunner().invoke(app, ["study", "report", str(one), "--out", str(tmp_path / "joint")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "joint" / "report.html").exists()
    assert (tmp_path / "joint" / "results.parquet").read_bytes() == (one / "results.parquet").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["curve", "world-tiny", "--data", "world", "--sizes", "0,9,16"], "multiple of 8"),
        (["curve", "world-tiny", "--data", "world", "--sizes", "0,x"], "whole numbers"),
        (["curve", "world-tiny", "--data", "world", "--sizes", "0"], "at least one above 0"),
        (["curve", "world-tiny", "--data", "world", "--sizes=-8,8"], "0 or more"),
        (["negatives", "world-tiny", "--data", "world", "--unrelated-data", "nowhere"], "no such file"),
        (["curve", "world-tiny", "--data", "world", "--sizes", "0,4096"], "only 576 training questions"),
        (["curve", "world-tinny", "--data", "world"], "did you mean"),
        (["negatives", "world-tiny", "--data", "world", "--kinds", "incorrect,bad"], "bad"),
        (["paraphrase", "world-tiny", "--data", "world", "--reworded", "world-unrelated"], "missing there"),
        (["mechanism", "world-tiny", "--data", "world", "--voices", "nowhere.json"], "there is no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["study", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code != 0
    assert message in str(result.exception)
    assert not (tmp_path / "out" / "results.parquet").exists()


def test_what_is_not_in_order_is_said_before_any_work(tmp_path: Path) -> None:
    arguments = ["study", "curve", "world-tiny", "--data", "world", "--limit", "20", "--sizes", "0,8", "--seeds", "1"]
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "results.parquet").write_text("junk")
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "junk")])
    assert "remove it" in str(result.exception)
    assert not (tmp_path / "junk" / "cells").exists()
    pytest.importorskip("ray")
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "ray"), "--ray", "127.0.0.1:1"])
    assert "no cluster there" in str(result.exception)
    assert not (tmp_path / "ray" / "cells").exists()
    result = CliRunner().invoke(app, ["study", "report", str(tmp_path), "--out", str(tmp_path / "joint")])
    assert "there is no such file; run a study" in str(result.exception)
