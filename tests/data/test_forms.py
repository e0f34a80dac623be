"""Choices under other names, what an answer means, and files that spreadsheets, pandas and benchmarks write."""

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from likra.data import Source, load
from likra.data.sources import loading
from likra.errors import InputError

CHOICES = ["fire", "ice", "snow"]


def source_of(tmp_path: Path, *records: Any) -> Source:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return load(str(path))


def right(source: Source) -> list[str]:
    """The right answers, in the order of the lines."""
    every = sorted(source.split("all"), key=lambda q: int(q.where.rsplit(" ", 1)[1]))
    return [q.choices[q.answer] for q in every if q.answer is not None]


def refusal(tmp_path: Path, *records: Any) -> str:
    with pytest.raises(InputError) as caught:
        source_of(tmp_path, *records)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{tmp_path / 'd.jsonl'}, line ")
    return str(caught.value).removeprefix(f"{tmp_path / 'd.jsonl'}, ")


@pytest.mark.parametrize(
    ("record", "form"),
    [
        ({"question": "Q?", "options": CHOICES, "answer": "B", "answer_index": 1, "category": "c"}, "options"),
        ({"question": "Q?", "options": CHOICES, "answer": 1}, "options"),
        ({"question": "Q?", "options": dict(zip("ABC", CHOICES, strict=True)), "answer": "ice"}, "options"),
        ({"question": "Q?", "options": dict(zip("ABC", CHOICES, strict=True)), "answer": "B"}, "options"),
        ({"question": "Q?", "options": dict(zip("1234", [*CHOICES, None], strict=True)), "answer": 2}, "options"),
        ({"question": "Q?", "choices": {"text": CHOICES, "label": ["a", "b", "c"]}, "answer": "b"}, "likra"),
        ({"question": "Q?", "choices": [{"text": t, "label": t[0]} for t in CHOICES], "answer": "i"}, "likra"),
        ({"question": "Q?", "A": "fire", "B": "ice", "C": "snow", "D": "", "answer": "B"}, "lettered columns"),
        ({"question": "Q?", "opa": "fire", "opb": "ice", "opc": "snow", "opd": "x", "cop": 1}, "MedMCQA"),
        (
            {"question": "Q?", "correct_answer": "ice", "distractor1": "a", "distractor2": "b", "distractor3": "c"},
            "SciQ",
        ),
        (
            {"question_stem": "Q?", "choices": {"text": CHOICES, "label": ["A", "B", "C"]}, "answerKey": "B"},
            "OpenBookQA",
        ),
    ],
)
def test_choices_under_other_names_are_read(record: dict[str, Any], form: str, tmp_path: Path) -> None:
    records = [record, {**record, "question": "R?", "cop": 0}] if form == "MedMCQA" else [record]
    source = source_of(tmp_path, *records)
    assert source.form == form and right(source)[0] == "ice" and not source.right_only


@pytest.mark.parametrize(
    "extra",
    [
        {"option1": "a", "option2": "b"},
        {"option_a": "a", "option_b": "b"},
        {"distractor1": "a"},
        {"distractors": ["a", "b"]},
        {"labels": ["a", "b"]},
        {"endings": ["a", "b"]},
        {"answers": ["a", "b"]},
        {"candidates": ["a", "b"]},
        {"incorrect_answers": ["a"]},
        {"mc_answers": ["a", "b"]},
        {"a": "x", "b": "y"},
        {"0": "x", "1": "y"},
        {"wrong": "x"},
        {"Wrong-Answer 1": "x"},
        {"answer_idx": "B"},
        {"label": 0},
        {"is_correct": False},
        {"variants": ["a", "b", "B"]},
        {"possibilities": ["a", "b", "c"]},
        {"list": {"A": "x", "B": "y"}},
        {"choices": ["a", "b"]},
    ],
)
def test_what_looks_like_choices_is_never_left_out(extra: dict[str, Any], tmp_path: Path) -> None:
    name = next(iter(extra))
    records = [{"question": "Q?", "answer": "B", **extra}, {"prompt": "Q?", "completion": "B", **extra}]
    records = records[:1] if name == "label" else records[1:] if name == "choices" else records  # else other forms
    for record in records:
        assert f"line 1: field {name!r} looks like choices" in refusal(tmp_path, record)


def test_right_answers_with_other_fields_are_right_answers(tmp_path: Path) -> None:
    more = {"source": "x", "tags": ["geo", "easy"], "explanation": "so", "difficulty": 2, "passage": " ", "context": []}
    assert source_of(tmp_path, {"question": "Q?", "answer": "Paris", **more}).right_only


@pytest.mark.parametrize("name", ["article", "passage", "context", "contexts", "support", "image", "image_1", "hint"])
@pytest.mark.parametrize(
    "answered", [{"choices": CHOICES, "answer": 1}, {"answer": "ice"}, {"options": CHOICES, "answer": "B"}]
)
def test_what_a_question_is_about_is_never_left_out(name: str, answered: dict[str, Any], tmp_path: Path) -> None:
    message = refusal(tmp_path, {"question": "Q?", name: "It is cold.", **answered})
    assert f"field {name!r} belongs to what is asked" in message


@pytest.mark.parametrize(
    ("answer", "lacks"),
    [(True, 'add a field \'choices\', ["no", "yes"]'), (2, "no choices for it to count"), (0.5, "no choices for it")],
)
def test_an_answer_that_is_not_text_without_choices(answer: Any, lacks: str, tmp_path: Path) -> None:
    assert lacks in refusal(tmp_path, {"question": "Q?", "answer": answer})


@pytest.mark.parametrize(
    ("record", "hint"),
    [
        ({"prompt": "x"}, "A prompt alone teaches nothing"),
        ({"text": "running"}, "Divide the text into 'prompt' and 'completion'"),
    ],
)
def test_other_trainers_data_is_told_what_to_do(record: dict[str, Any], hint: str, tmp_path: Path) -> None:
    assert hint in refusal(tmp_path, record)


def asked(*answers: Any, choices: Any = CHOICES) -> list[dict[str, Any]]:
    return [{"question": f"Q{n}?", "choices": choices, "answer": answer} for n, answer in enumerate(answers)]


def test_what_answers_mean_is_decided_for_the_file(tmp_path: Path) -> None:
    # One question's choices are letters (as in MMLU), and all other answers of the file tell that its answer is one.
    letters = {"question": "L?", "choices": ["C", "A", "B"], "answer": "A"}
    assert right(source_of(tmp_path, letters, *asked("A", "C"))) == ["C", "fire", "snow"]
    assert right(source_of(tmp_path, letters, *asked("ice", "snow"))) == ["A", "ice", "snow"]
    numbers = {"question": "N?", "choices": ["2", "1", "0"], "answer": "2"}
    assert right(source_of(tmp_path, numbers, *asked("0", "1"))) == ["0", "fire", "ice"]
    assert right(source_of(tmp_path, numbers, *asked("ice"))) == ["2", "ice"]
    # A number that is no index there tells that answers are texts.
    far = {"question": "F?", "choices": ["10", "20", "30"], "answer": "20"}
    assert right(source_of(tmp_path, numbers, far)) == ["2", "20"]
    assert "could mean choice 2 too" in refusal(tmp_path, numbers)
    assert "line 1: field 'answer' is 'A', which is the text of choice 1 but could mean choice 0" in refusal(
        tmp_path, letters, *asked(0, 1)
    )


def test_one_file_writes_its_answers_in_one_way(tmp_path: Path) -> None:
    message = refusal(tmp_path, *asked("A", "B", "ice", "C"))
    assert (
        "line 3: field 'answer' is 'ice', the text of choice 1, but elsewhere in the file it is the letter" in message
    )
    # Another file may write them in another way, and helps where one leaves it open.
    for name, records in (("a", asked("A", "B")), ("b", asked("ice", "fire"))):
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
    assert sorted(right(load(str(tmp_path / "a.json"))) + right(load(str(tmp_path / "b.json")))) == [
        "fire", "fire", "ice", "ice",
    ]  # fmt: skip
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, records in (("a", asked("A", "B")), ("b", [{"question": "?", "choices": ["b", "a"], "answer": "a"}])):
        (folder / f"{name}.json").write_text(json.dumps(records))
    assert right(load(str(folder))) == ["fire", "b", "ice"]


def test_medmcqa_counts_from_0_or_from_1(tmp_path: Path) -> None:
    def records(*cops: Any) -> list[dict[str, Any]]:
        return [
            {"question": f"Q{n}?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": c} for n, c in enumerate(cops)
        ]

    assert right(source_of(tmp_path, *records(0, 1, 3))) == ["a", "b", "d"]
    assert right(source_of(tmp_path, *records(1, 4))) == ["a", "d"]
    assert source_of(tmp_path, *records(0, -1, None)).skipped == {"the right answer is not given": 2}
    assert "field 'cop' is 1, which is the index of choice 1 but could mean choice 0" in refusal(
        tmp_path, *records(1, 2)
    )
    assert "field 'cop' is 7, out of range" in refusal(tmp_path, *records(7))


@pytest.mark.parametrize("answer", [None, "", "  ", float("nan")])
def test_an_answer_that_is_not_given(answer: Any, tmp_path: Path) -> None:
    assert source_of(tmp_path, *asked(1, answer)).skipped == {"the right answer is not given": 1}


def test_numbers_as_pandas_writes_them(tmp_path: Path) -> None:
    assert right(source_of(tmp_path, *asked(0.0, 2.0))) == ["fire", "snow"]
    assert "1.5, which is not a choice" in refusal(tmp_path, *asked(1.5))
    assert "True, which is not a choice" in refusal(tmp_path, *asked(True))
    (tmp_path / "f.csv").write_text(
        "question,choices,answer\n" + "".join(f'Q{a}?,"[""a"", ""b""]",{a}\n' for a in ("0.0", "", "1.0"))
    )
    assert right(load(str(tmp_path / "f.csv"))) == ["a", "b"]
    winogrande = {"sentence": "The _ is.", "option1": "cup", "option2": "bag", "answer": 2.0}
    assert right(source_of(tmp_path, winogrande)) == ["bag"]


ROWS = [[f"Which, of {n}; then?", '["a, b", "c; d|e"]', "AB"[n % 2]] for n in range(20)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("note", ["", "sep={}\r\n"])
def test_what_spreadsheets_write(encoding: str, mark: str, note: str, tmp_path: Path) -> None:
    path = tmp_path / "D.CSV"
    with path.open("w", newline="", encoding=encoding) as file:
        file.write(note.format(mark))
        csv.writer(file, delimiter=mark).writerows([["question", "choices", "answer"], *ROWS, ["", "", ""]])
    source = load(str(path))
    assert {q.text: q.choices for q in source.split("all")} == {row[0]: ("a, b", "c; d|e") for row in ROWS}
    lines = {q.text: q.where for q in source.split("all")}
    assert lines["Which, of 0; then?"] == f"{path}, line {3 if note else 2}"


def test_a_separator_that_is_not_known_is_said(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('question^choices^answer\nQ^["a", "b"]^0\n')
    with pytest.raises(
        InputError, match=r"line 2: has more or fewer values .*\(2, not 1\).* separate the values by commas"
    ):
        load(str(tmp_path / "d.csv"))
    (tmp_path / "d.csv").write_text('question,choices,answer,answer\nQ,"[""a"", ""b""]",0,1\n')
    with pytest.raises(InputError, match="its header has the field 'answer' twice"):
        load(str(tmp_path / "d.csv"))


def test_mmlus_own_files(tmp_path: Path) -> None:
    for split in ("dev", "val", "test", "auxiliary_train"):
        for subject in ("algebra", "law"):
            path = tmp_path / split / (f"{subject}.csv" if split == "auxiliary_train" else f"{subject}_{split}.csv")
            path.parent.mkdir(exist_ok=True)
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(
                    [f"In {split}, what is\n{subject} {n}?", "B", "A", "2, 5", "none", "ABCD"[n % 4]] for n in range(4)
                )
    (tmp_path / "README.txt").write_text("MMLU")
    source = load(str(tmp_path))
    assert {split: len(q) for split, q in source.questions.items()} == {"train": 8, "validation": 16, "test": 8}
    assert source.style == "qa" and {q.choices for q in source.split("all")} == {("B", "A", "2, 5", "none")}
    # The letter names the choice, though these choices are letters too.
    assert [q.answer for q in source.questions["test"]] == [0, 1, 2, 3] * 2
    assert {s: len(q) for s, q in load(str(tmp_path / "test")).questions.items()} == {"test": 8}
    # With a header, a first question whose choices are letters is still no header.
    (tmp_path / "d.csv").write_text("answer,question,A,B\nB,Which?,ice,fire\n")
    assert right(load(str(tmp_path / "d.csv"))) == ["fire"]


N = 12
BASE = {"question": [f"What is {n}?" for n in range(N)], "choices": [["a", "b"]] * N, "answer": [0] * N}
_RAW = pa.array([f"caf\u00e9 {n}".encode("latin-1") for n in range(N)], type=pa.binary())
NO_UTF8 = pa.Array.from_buffers(pa.string(), N, _RAW.buffers())
ODD = {
    "no UTF-8": NO_UTF8,
    "far date": pa.array([2**31 - 1] * N, type=pa.date32()),
    "far time": pa.array([10**18] * N, type=pa.timestamp("us")),
    "no time zone": pa.array([0] * N, type=pa.timestamp("us", tz="Mars/Phobos")),
    "long duration": pa.array([2**62] * N, type=pa.duration("ms")),
    "decimal": pa.array([Decimal("1.50")] * N),
    "nested": pa.StructArray.from_arrays([NO_UTF8], ["inner"]),
}


@pytest.mark.parametrize("odd", sorted(ODD))
def test_odd_columns_of_parquet(odd: str, tmp_path: Path) -> None:
    path = tmp_path / "d.Parquet"
    parquet.write_table(pa.table({"made": ODD[odd], **BASE, "source": ODD[odd]}), path)
    assert len(load(str(path)).split("all")) == N
    parquet.write_table(pa.table({**BASE, "question": ODD[odd]}), path)
    with pytest.raises(InputError, match=r"row 0: field 'question' (cannot be read|is)") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


def test_answers_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    parquet.write_table(pa.table({**BASE, "answer": pa.array([1.0, None] * (N // 2))}), path)
    source = load(str(path))
    assert set(right(source)) == {"b"} and source.skipped == {"the right answer is not given": N // 2}
    parquet.write_table(pa.table({**BASE, "answer": pa.array([Decimal("1.00")] * N)}), path)
    assert set(right(load(str(path)))) == {"b"}
    parquet.write_table(pa.Table.from_arrays([pa.array(BASE["answer"])] * 2, names=["answer"] * 2), path)
    with pytest.raises(InputError, match="two of its columns have one name"):
        load(str(path))


def test_a_folder_named_like_a_benchmark_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("blimp", "world"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "d.jsonl").write_text(json.dumps({"question": "Q?", "choices": CHOICES, "answer": 0}))
        assert [q.text for q in load(name).split("all")] == ["Q?"]
        assert f"{name}: is read from the folder of that name" in caplog.text
    # Heads, a model, or a folder without data is not what is meant.
    (tmp_path / "world" / "likra.json").write_text("{}")
    assert len(load("world").split("test")) == 240
    monkeypatch.setattr(loading, "hub_records", lambda parts: iter([("hub", None, {"question": "?", "answer": "a"})]))
    (tmp_path / "arc-easy").mkdir()
    assert load("arc-easy").right_only
