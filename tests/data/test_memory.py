"""Records in memory give the source that the same records in a file give, and errors name the record."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from likra import Likra, TrainingConfig, load
from likra.data.sources import Source
from likra.errors import InputError
from likra.models.lora_config import lora_config
from likra.utils.runtime import QUIET
from tests.conftest import tiny_base

QUIZ = [
    {"question": f"Which number is {n}?", "choices": [f"number {n}", "none", "all"], "answer": f"number {n}"}
    for n in range(12)
]
THUMBS = [{"prompt": f"Name {n}.", "completion": f" number {n}", "label": n % 2 == 0} for n in range(6)]
TALKS = [
    {
        "prompt": [{"role": "user", "content": f"Name {n}."}],
        "chosen": [{"role": "assistant", "content": f"number {n}"}],
        "rejected": [{"role": "assistant", "content": "none"}],
    }
    for n in range(6)
]
DECISIONS = [
    {
        "state": f"Ticket {n}.",
        "questions": {"paid": {"type": "noul", "instructions": "Is it paid?"}},
        "answers": {"paid": n % 2 == 0},
    }
    for n in range(6)
]

MAKERS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "list": list,
    "tuple": tuple,
    "DataFrame": pd.DataFrame,
    "Dataset": datasets.Dataset.from_list,
    "IterableDataset": lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset(),
    "DatasetDict": lambda rows: datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}),
}


def comparable(source: Source) -> tuple[Any, ...]:
    return source.form, source.style, source.questions, source.examples, source.skipped


@pytest.mark.parametrize("rows", [QUIZ, THUMBS, TALKS, DECISIONS], ids=["quiz", "thumbs", "talks", "decisions"])
@pytest.mark.parametrize("kind", MAKERS)
def test_records_in_memory_are_those_of_a_file(kind: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = load(MAKERS[kind](rows))
    assert comparable(found) == comparable(load(str(path))) == comparable(load(path))
    assert found.name == "the data"
    item = next(found.all_items)
    assert item.where.endswith("record 0")


@pytest.mark.parametrize("kind", MAKERS)
def test_tables_in_memory(kind: str) -> None:
    rows = [{"t": f"Text {n}", "y": ["up", "down"][n % 2]} for n in range(12)]
    source = load(MAKERS[kind](rows), text="t", label="y")
    assert source.columns is not None and source.columns.labels == ("down", "up")
    assert len(source.split("all")) == 12


def test_values_of_numpy_and_missing_ones() -> None:
    frame = pd.DataFrame(
        {
            "question": ["Q0?", "Q1?", "Q2?"],
            "choices": [np.array(["a", "b"]), ["a", "b"], ["a", "b"]],
            "answer": pd.Series([1, None, 0], dtype="float64"),
            "split": ["train"] * 3,
        }
    )
    source = load(frame)
    assert [(one.choices, one.answer) for one in source.questions["train"]] == [(("a", "b"), 1), (("a", "b"), 0)]
    assert source.skipped == {"the right answer is not given": 1}
    labels = pd.DataFrame({"prompt": ["p", "p"], "completion": [" a", " b"], "label": [True, False]})
    assert [one.right for one in load(labels).examples["train"]] == [True, False]


def test_splits_of_a_dataset_dict() -> None:
    parts = {"train": QUIZ[:8], "test": QUIZ[8:], "unsupervised": [{"text": "running"}]}
    source = load(datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()}))
    assert {split: len(some) for split, some in source.questions.items()} == {"train": 8, "test": 4}
    odd = datasets.DatasetDict({name: datasets.Dataset.from_list(QUIZ) for name in ("one", "two")})
    with pytest.raises(InputError, match="the data: its splits are one, two; none is train, validation or test"):
        load(odd)


@pytest.mark.parametrize("kind", ["list", "DataFrame", "Dataset", "IterableDataset"])
def test_errors_name_the_record_and_the_field(kind: str) -> None:
    rows = [row | {"answer": "number 4"} if n == 3 else row for n, row in enumerate(QUIZ)]
    with pytest.raises(InputError, match=r"^record 3: field 'answer' is 'number 4', which is not a choice"):
        load(MAKERS[kind](rows))


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(InputError, match=r"^record 2: is str, not a dict with fields"):
        load([*QUIZ[:2], "three"])
    with pytest.raises(InputError, match=r"^int is not a source; give a name, a file, a list of dicts"):
        load(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^the data: holds no records"):
        load(pd.DataFrame({"question": []}))
    with pytest.raises(InputError, match="two columns of the DataFrame have one name"):
        load(pd.DataFrame([["a", "b"]], columns=["question", "question"]))
    with pytest.raises(InputError, match=r"^record 0: field 'split' is 'odd'"):
        load([QUIZ[0] | {"split": "odd"}])


def test_a_likra_takes_them(tokenizer: Any) -> None:
    config = TrainingConfig(lora=lora_config(r=2), per_device_train_batch_size=4)
    rows = [row | {"split": "test" if n > 8 else "train"} for n, row in enumerate(QUIZ)]
    found = [
        Likra.from_base(tiny_base(tokenizer), training_config=config)
        .fit(make(rows), runtime=QUIET)
        .evaluate(make(rows), runtime=QUIET)
        for make in (MAKERS["list"], MAKERS["DataFrame"])
    ]
    assert found[0].count == 3
    assert found[0].likelihoods.logprob_HQC.tolist() == found[1].likelihoods.logprob_HQC.tolist()


def test_neither_library_is_imported_for_a_list() -> None:
    code = (
        "import sys; from likra.data import load; load([{'question': 'Q?', 'choices': ['a', 'b'], 'answer': 0}]); "
        "assert not {'pandas', 'datasets', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
