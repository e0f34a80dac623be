"""Heads of one source judged on another, with and without the question: against Likra itself on the same questions."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from likra import InputError, Likra, Question, TrainingConfig
from likra.cli.app import app
from likra.data import load
from likra.lab.report.page import write_report
from likra.lab.run import run_studies
from likra.lab.runner import heads
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import estimate_of, pick
from likra.lab.runner.task import Task
from likra.lab.study import STUDIES
from likra.utils.runtime import QUIET
from tests.conftest import write_questions

SEEDS, SIZE = (0, 1), 16
CONFIG = TrainingConfig(learning_rate=1e-3)
WORLD = Task("world-tiny", "world", limit=30)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A source that is trained on other questions than `world`; six of its test questions are learned there."""
    folder = tmp_path_factory.mktemp("source") / "other"
    folder.mkdir()
    learned = {question.id: question for seed in SEEDS for question in WORLD.drawn(SIZE, seed)}
    free = [question for question in load("world").questions["train"] if question.id not in learned]
    write_questions(folder / "train.jsonl", free[:20])
    # Another spelling is the same question all the same.
    seen = [dataclasses.replace(q, id=f"other {q.id}", text=q.text.upper()) for q in list(learned.values())[:6]]
    write_questions(folder / "test.jsonl", [*seen, *free[20:50]])
    return str(folder)


def planned(other: str) -> Plan:
    plan = Plan((WORLD,), sizes=(0, 8, SIZE), seeds=SEEDS, config=CONFIG, stacked=True)
    return STUDIES["controls"].configure(plan, to=[other])  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def done(other: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    out = tmp_path_factory.mktemp("study")
    rows, ran = run_studies([("controls", planned(other))], out, shown=False)
    assert ran == 3  # heads with their question, without, and on the other source; all seeds in one stack
    return rows, out


def without_question(questions: list[Question]) -> list[Question]:
    return [dataclasses.replace(question, text="") for question in questions]


def value(rows: pd.DataFrame, **labels: object) -> float:
    found = estimate_of(rows, **labels)
    assert found is not None, labels
    return found.value


def test_cells_are_those_of_likra(done: tuple[pd.DataFrame, Path], other: str) -> None:
    rows, _ = done
    there = dataclasses.replace(WORLD, data=other)
    judged = {"world": WORLD.test(), other: there.test()}
    learned = {q.text.upper() for seed in SEEDS for q in WORLD.drawn(SIZE, seed)}
    unseen = [question for question in judged[other] if question.text.upper() not in learned]
    assert len(judged[other]) > len(unseen) > 0
    assert value(rows, quantity="left_out", data="world", part=other) == len(judged[other]) - len(unseen)
    for trained, on, questions in (
        (WORLD, other, unseen),
        (WORLD, "world", judged["world"]),
        (there, "world", judged["world"]),
        (there, other, judged[other]),
    ):
        for test, asked in (("own", questions), ("blind", without_question(questions))):
            found = []
            for seed in SEEDS:
                config = dataclasses.replace(CONFIG, seed=seed)
                likra = Likra.from_base("world-tiny", training_config=config)
                likra.fit(trained.drawn(SIZE, seed), runtime=QUIET)
                found.append(likra.evaluate(asked, runtime=QUIET).methods)
            labels = {"quantity": "transfer", "data": trained.data, "part": on, "test": test}
            for method in ("base", "sft", "base_likra", "likra"):
                mean = sum(of_seed[method].value for of_seed in found) / len(found)
                assert value(rows, method=method, **labels) == pytest.approx(mean), (trained.data, on, test, method)
            assert set(pick(rows, **labels)["count"]) == {len(questions)}


def test_heads_trained_blind_are_those_of_likra(done: tuple[pd.DataFrame, Path]) -> None:
    rows, _ = done
    found = []
    for seed in SEEDS:
        likra = Likra.from_base("world-tiny", training_config=dataclasses.replace(CONFIG, seed=seed))
        likra.fit(without_question(WORLD.drawn(SIZE, seed)), runtime=QUIET)
        found.append(likra.evaluate(WORLD.test(), runtime=QUIET).methods["likra"].value)
    labels = {"quantity": "accuracy", "part": "blind", "test": "own", "method": "likra", "size": SIZE}
    assert value(rows, **labels) == pytest.approx(sum(found) / len(found))


def test_rows_agree_with_each_other(done: tuple[pd.DataFrame, Path]) -> None:
    rows, _ = done
    last = {"size": SIZE, "method": "likra", "data": "world"}
    own, blind = (value(rows, quantity="accuracy", part="usual", test=test, **last) for test in ("own", "blind"))
    assert value(rows, quantity="transfer", part="world", test="own", **last) == own
    assert value(rows, quantity="reading_gain", part="usual", **last) == pytest.approx(own - blind)
    base = value(rows, quantity="accuracy", part="usual", test="own", **{**last, "method": "base"})
    assert value(rows, quantity="transfer_gain", part="world", test="blind", **last) == pytest.approx(blind - base)


def test_the_matrix_is_drawn_and_said(done: tuple[pd.DataFrame, Path], other: str, tmp_path: Path) -> None:
    rows, _ = done
    names = [drawn.name for drawn in STUDIES["controls"].figures(rows)]
    assert names == ["controls-world-tiny-world", "transfer-world-tiny"]
    said = STUDIES["controls"].section(rows)
    assert "nan" not in " ".join(said.sentences)
    assert any("test questions that its heads learned are left out" in sentence for sentence in said.sentences)
    assert len(said.tables[-1].rows) == 4
    write_report(rows, {}, tmp_path)


@contextlib.contextmanager
def killed_after(readings: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The block within which a study is killed as it reads test questions for the next time after so many."""
    left, score = iter(range(readings)), heads.score

    def until_killed(*arguments: object, **how: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return score(*arguments, **how)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(heads, "score", until_killed)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize("readings", [1, 4, 9])
def test_a_study_that_was_cut_off_gives_the_same_file(
    readings: int, done: tuple[pd.DataFrame, Path], other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = done
    with killed_after(readings, monkeypatch):
        run_studies([("controls", planned(other))], tmp_path, shown=False)
    run_studies([("controls", planned(other))], tmp_path, shown=False)
    assert (tmp_path / "results.parquet").read_bytes() == (whole / "results.parquet").read_bytes()


def test_nothing_to_judge_on_is_refused(tmp_path: Path) -> None:
    plan = Plan((WORLD,), sizes=(0, SIZE), seeds=(0,), config=CONFIG)
    (tmp_path / "same").mkdir()
    write_questions(tmp_path / "same" / "train.jsonl", WORLD.source.questions["test"][:SIZE])
    write_questions(tmp_path / "same" / "test.jsonl", WORLD.drawn(SIZE, 0)[:5])
    same = STUDIES["controls"].configure(plan, to=[str(tmp_path / "same")])  # type: ignore[call-arg]
    with pytest.raises(InputError, match="each of its 5 test questions is one that heads learn from world"):
        run_studies([("controls", same)], tmp_path / "out", shown=False)


def test_without_a_question_there_is_no_control(tmp_path: Path) -> None:
    pairs = [f'{{"sentence_good": "The cat {n} sleeps.", "sentence_bad": "The cat {n} sleep."}}' for n in range(60)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs))
    arguments = ["study", "controls", "world-tiny", "--data", str(tmp_path / "pairs.jsonl"), "--sizes", "0,8"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert "has no question apart from what is scored" in str(result.exception)
