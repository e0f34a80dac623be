"""The adapters of all seeds in one stack and one pass, against adapters that are trained alone."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likra import InputError, Likra, Question, TrainingConfig
from likra.lab.run import check
from likra.lab.runner.heads import run, stack_of
from likra.lab.runner.options import options_jobs
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import Task, seed_folder, table_path
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.scoring.likelihoods import Likelihoods
from likra.utils.embedded import embedded_models
from likra.utils.runtime import QUIET
from tests.conftest import tiny_base


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(lora=lora_config(r=4), learning_rate=1e-3, per_device_train_batch_size=2, **changes)


def small_task(base: Base, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """Eight training questions and four test questions, on a base in memory."""
    monkeypatch.setattr(Task, "base", lambda self: base)
    for split, some in (("train", questions[:8]), ("test", questions[8:])):
        records = [{"id": q.id, "question": q.text, "choices": list(q.choices), "answer": q.answer} for q in some]
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, records)))
    return Task("tiny", str(tmp_path / "data"))


@pytest.fixture
def task(tokenizer: Any, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    return small_task(tiny_base(tokenizer), questions, tmp_path, monkeypatch)


@pytest.mark.parametrize("style", [None, "options"])
def test_one_pass_gives_every_size(style: str | None, task: Task, tokenizer: Any, tmp_path: Path) -> None:
    task = dataclasses.replace(task, style=style)
    plan = Plan((task,), sizes=(0, 4, 8), seeds=(0, 5), config=config(), stacked=True)
    [job] = set(plan.pair(task).values())
    seen: list[tuple[int, int, str]] = []
    run(json.loads(job.settings), tmp_path, lambda done, total, note="": seen.append((done, total, note)))
    assert seen[-1] == (4, 4, "") and (2, 4, "(scoring at 4 questions)") in seen
    tables = {size: Likelihoods.load(table_path(seed_folder(tmp_path, [0, 5], 5), "own", size)) for size in plan.sizes}
    np.testing.assert_array_equal(tables[0].head("incorrect"), tables[0].head("base"))
    # The largest size is the result of training alone: same draw, same order, same first weights.
    alone = Likra.from_base(tiny_base(tokenizer), style=style or "qa", training_config=config(seed=5))
    table = alone.fit(task.drawn(8, 5), runtime=QUIET).likelihoods(task.test())
    for side, name in (("positive", "positive"), ("negative", "incorrect")):
        np.testing.assert_allclose(tables[8].head(name), table.head(side), atol=1e-3)
        early, late = (np.nan_to_num(values) for values in (tables[4].head(name), table.head(side)))
        assert not np.allclose(early, late, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (0, 3, 8)}, "--sizes 3: every size but the last must be a multiple of 2"),
        ({"sizes": (16,)}, "--sizes 16: there are only 8 training questions"),
        ({"sizes": (-2,)}, "0 or more"),
        ({"config": config(lr_scheduler_type="cosine")}, "needs a constant learning rate"),
    ],
)
def test_a_pass_that_cannot_give_all_sizes_is_refused(change: dict[str, Any], message: str, task: Task) -> None:
    options: dict[str, Any] = {"sizes": (0, 4), "seeds": (0,), "config": config(), **change}
    with pytest.raises(InputError, match=message):
        check("curve", Plan((task,), **options))


def test_a_template_names_its_jobs_and_no_template_none_of_them(task: Task) -> None:
    plan = Plan((task,), sizes=(0, 4), seeds=(0,), config=config())
    own, listing = plan.pair(task)[0], plan.pair(dataclasses.replace(task, style="options"))[0]
    assert "style" not in own["task"] and listing["task"]["style"] == "options" and own.key != listing.key
    assert Task.of(json.loads(listing.settings)).source.style == "options"


@pytest.mark.parametrize(
    ("records", "listed"),
    [
        ([{"question": f"Which {n}?", "choices": ["a", "b"], "answer": n % 2} for n in range(9)], True),
        ([{"prompt": f"Which {n}?", "chosen": " a", "rejected": " b"} for n in range(9)], False),
        ([{"question": f"Which {n}?", "choices": [f"{m}!" for m in range(27)], "answer": n} for n in range(9)], False),
        ([{"sentence": f"The _ is {n}.", "option1": "a", "option2": "b", "answer": "1"} for n in range(9)], False),
    ],
)
def test_options_are_listed_where_there_are_some(records: list[Any], listed: bool, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, records)))
    model = str(embedded_models()["world-tiny"])  # as a folder: by its name it is not asked for letters
    plan = Plan((task := Task(model, str(tmp_path / "data.jsonl")),), config=config())
    assert bool(options_jobs(plan, task)) == listed
    assert not options_jobs(plan, dataclasses.replace(task, style="options"))


@pytest.mark.parametrize("style", [None, "options"])
def test_the_shallow_control_learns_texts_however_heads_are_asked(style: str | None, task: Task) -> None:
    asked = dataclasses.replace(task, style=style)
    right, wrong = (asked.answers(head, (0, 4, 8), 4, 0, stacked=False) for head in ("positive", "incorrect"))
    for question, good, bad in zip(task.drawn(4, 0), right, wrong, strict=True):
        assert good == question.choices[question.answer or 0]
        assert bad in question.choices and bad != good


def test_in_a_stack_it_learns_what_the_heads_have_learned_by_then(task: Task) -> None:
    plan = Plan((task,), sizes=(0, 4, 8), seeds=(0, 1), config=config(), stacked=True)
    [job] = {job.key: job for job in plan.pair(task).values()}.values()
    learned, stack = stack_of(json.loads(job.settings), Path())
    stack.remove()
    for seed in plan.seeds:
        found = task.answers("incorrect", plan.sizes, 4, seed, stacked=True)
        completions = [pair.completion for some in learned[f"seed{seed}-incorrect"][:4] for pair in some]
        assert [task.base().tokenizer.decode(ids).strip() for ids in completions] == found
