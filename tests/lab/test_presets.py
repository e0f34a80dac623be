"""The presets' data paths on small files in the hub's layouts, and what a dry run prints."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from likra.cli.app import app
from likra.data import load
from likra.errors import InputError
from likra.lab.presets import CONTROLS, PRESETS, preset
from likra.lab.run import together
from likra.lab.runner.task import POSITIVE
from likra.lab.study import STUDIES
from likra.utils.embedded import embedded_models


def arc(folder: Path, name: str, counts: dict[str, int]) -> None:
    """As allenai/ai2_arc has it on the hub."""
    (folder / name).mkdir(parents=True)
    for split, count in counts.items():
        records = [
            {
                "id": f"{name}_{split}_{n}",
                "question": f"Which of {name} is number {n} of {split}?",
                "choices": {"text": [f"number {n}", "another", f"none {n}", "all"], "label": ["A", "B", "C", "D"]},
                "answerKey": "ABCD"[n % 4],
            }
            for n in range(count)
        ]
        parquet.write_table(pa.Table.from_pylist(records), folder / name / f"{split}-00000-of-00001.parquet")


def hellaswag(folder: Path, counts: dict[str, int]) -> None:
    """As Rowan/hellaswag has it on the hub."""
    folder.mkdir(parents=True)
    for split, count in counts.items():
        records = [
            {
                "ind": n,
                "activity_label": "Making tea",
                "ctx_a": f"Someone number {n} of {split} fills a kettle.",
                "ctx_b": "then they",
                "ctx": "",
                "endings": [f"boil it {n}.", "sing.", f"sit on it {n}.", "fly."],
                "source_id": "",
                "split": split,
                "split_type": "",
                "label": "" if split == "test" else str(n % 4),
            }
            for n in range(count)
        ]
        parquet.write_table(pa.Table.from_pylist(records), folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def local(tmp_path: Path) -> dict[str, str]:
    """Local copies of the paper's benchmarks: ARC-Challenge, ARC-Easy, HellaSwag."""
    arc(tmp_path, "ARC-Challenge", {"train": 9, "validation": 3, "test": 8})
    arc(tmp_path, "ARC-Easy", {"train": 20, "validation": 5, "test": 7})
    hellaswag(tmp_path / "hellaswag", {"train": 40, "validation": 10, "test": 6})
    return {"arc-paper": f"arc-paper:{tmp_path}", "hellaswag": str(tmp_path / "hellaswag")}


def test_the_papers_split(local: dict[str, str]) -> None:
    source = load(local["arc-paper"])
    # All of ARC but the test split of ARC-Challenge.
    assert {split: len(found) for split, found in source.questions.items()} == {"train": 9 + 3 + 20 + 5 + 7, "test": 8}
    assert all(q.id.startswith("ARC-Challenge_test") for q in source.questions["test"])


def test_the_papers_split_of_the_real_files(shared: Path) -> None:
    source = load(f"arc-paper:{shared / 'data'}")
    assert {split: len(found) for split, found in source.questions.items()} == {"train": 6615, "test": 1172}


def test_every_task_of_the_paper_reads_its_data(local: dict[str, str], tmp_path: Path) -> None:
    names = {"arc-paper": "qa", "hellaswag": "plain"}
    seen = set()
    for _, plan in preset("paper", local).plans:
        for task in plan.tasks:
            name = next(name for name, path in local.items() if path == task.data)
            seen.add(name)
            task = dataclasses.replace(task, shots=3)  # the files are small
            questions = task.drawn(12, seed=0)
            assert task.source.style == names[name]
            [right], [wrong] = (task.examples(head, questions, 0, tmp_path)[0] for head in (POSITIVE, "incorrect"))
            assert right.prompt == wrong.prompt and right.completion != wrong.completion
            assert right.right and not wrong.right
            # `unrelated` answers come from the other benchmark.
            [unrelated] = task.examples("unrelated", questions, 0, tmp_path)[0]
            others = {q.choices[q.answer] for q in load(task.unrelated).questions["train"] if q.answer is not None}
            assert unrelated.completion.strip() in others
            test = task.test()
            assert len(test) == {"arc-paper": 8, "hellaswag": 10}[name]
            shown = task.test_prompter.pairs(test[0])[0][0]
            assert shown.count("\n\n") == 3
    assert seen == set(names)


def test_a_preset_names_what_can_be_replaced() -> None:
    with pytest.raises(InputError, match="no such model or source; it has"):
        preset("paper", {"arc-challenge": "somewhere"})
    with pytest.raises(InputError, match="must be one of world, blimp, real, paper"):
        preset("papers")


def test_another_model_in_the_place_of_the_only_one() -> None:
    found = preset("blimp", {"blimp": "somewhere"}, "folder/model")
    assert {(task.model, task.data) for _, plan in found.plans for task in plan.tasks} == {
        ("folder/model", "somewhere")
    }
    with pytest.raises(InputError, match="about several models"):
        preset("paper", model="folder/model")


def test_world_runs_every_study_and_shares_jobs() -> None:
    plans = together(preset("world").plans)
    assert list(dict.fromkeys(name for name, _ in plans)) == STUDIES.names()
    jobs: dict[str, set[str]] = {}
    for name, plan in plans:
        found = STUDIES[name].jobs(dataclasses.replace(plan, dry=True))
        jobs.setdefault(name, set()).update(job.key for job in found)
    pmi = {key for key in jobs["curve"] if key.startswith("pmi")}
    assert len(pmi) == 1 and pmi <= jobs["models"] & jobs["rivals"]
    for same in ("weights", "paraphrase"):
        assert jobs[same] == jobs["likelihoods"]
    assert jobs["curve"] - pmi == jobs["likelihoods"]
    assert len(jobs["distractors"] - jobs["negatives"]) == 0
    assert len(jobs["curve"] & jobs["negatives"]) == 3
    assert jobs["likelihoods"] <= jobs["coverage"]
    there = [name for name in CONTROLS if name in embedded_models()]
    assert len(jobs["coverage"] - jobs["likelihoods"]) == 3 * len(there)
    assert bool(preset("world").missing) == (len(there) < len(CONTROLS))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_dry_run_does_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["reproduce", "--preset", name, "--dry-run"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for word in ("jobs", "shared", "models", "sources"):
        assert word in result.output
    assert not list(tmp_path.iterdir())


def test_a_dry_run_names_its_models_and_sources(local: dict[str, str]) -> None:
    replaced = [f"--with={name}={path}" for name, path in local.items()]
    result = CliRunner().invoke(app, ["reproduce", "--preset", "paper", "--dry-run", *replaced], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    assert f"sources: {', '.join(local.values())}" in result.output
    assert "models: mistralai/Mistral-7B-v0.1, mistralai/Mistral-7B-Instruct-v0.3" in result.output
