"""What is asked decides the side of the 90/10 split, and ids tell records apart, whatever the data's form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likra.data import Prompter, load, negatives
from likra.data.overlap import sketch
from likra.likra import Likra
from likra.models.base import Base
from likra.training.dataset import drawn as drawn_from
from likra.training.provenance import left_over
from likra.utils.embedded import embedded_questions

#: A record of every form with questions of its own, for what is asked (None: nothing is) and what tells records apart.
FORMS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "likra": lambda asked, own: {"question": asked, "choices": [f"a{own}", f"b{own}"], "answer": 0},
    "likra letter": lambda asked, own: {"question": asked, "choices": [f"a {own}", f"b {own}"], "answer": "B"},
    "options": lambda asked, own: {"question": asked, "options": {"A": f"a {own}", "B": f"b {own}"}, "answer": "A"},
    "official ARC": lambda asked, own: {
        "question": {"stem": asked, "choices": [{"text": own, "label": "A"}, {"text": "x", "label": "B"}]},
        "answerKey": "B",
    },
    "hub ARC": lambda asked, own: {
        "question": asked,
        "choices": {"text": [own, "x"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "HellaSwag": lambda asked, own: {
        "activity_label": "Work",
        "ctx_a": asked,
        "ctx_b": "",
        "endings": [own, "x"],
        "label": 0,
    },
    "WinoGrande": lambda asked, own: {"sentence": f"{asked} _", "option1": own, "option2": "x", "answer": "1"},
    "TruthfulQA": lambda asked, own: {"question": asked, "mc1_targets": {own: 1, "x": 0}},
    "preference pairs": lambda asked, own: {"prompt": asked, "chosen": f"good {own}", "rejected": f"bad {own}"},
    "right answers only": lambda asked, own: {"question": asked, "answer": f"right {own}"},
    "right completions only": lambda asked, own: {"prompt": asked, "completion": f"right {own}"},
    "SciQ": lambda asked, own: {
        "question": asked,
        "correct_answer": own,
        **{f"distractor{number}": f"w{number}" for number in (1, 2, 3)},
    },
    "MedMCQA": lambda asked, own: {"question": asked, "opa": own, "opb": "x", "opc": "y", "opd": "z", "cop": 0},
    "OpenBookQA": lambda asked, own: {
        "question_stem": asked,
        "choices": {"text": [own, "x"], "label": ["A", "B"]},
        "answerKey": "A",
    },
    "lettered columns": lambda asked, own: {"question": asked, "A": own, "B": "xx", "answer": "B"},
}
WORDINGS = (
    lambda text: text,
    lambda text: f"{text} ",
    lambda text: f"\u00a0{text}\n",
    lambda text: text.replace(" ", "\u2009"),
    lambda text: text.replace("\u00e9", "e\u0301"),
    lambda text: text.replace(" ", "  "),
    str.upper,
)


def write(path: Path, records: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@settings(deadline=None, max_examples=60)
@given(
    form=st.sampled_from(sorted(FORMS)),
    asked=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, len(WORDINGS) - 1), st.sampled_from(["own", "none", "same"])),
        min_size=2,
        max_size=60,
    ),
)
def test_no_two_records_of_one_question_stand_on_both_sides(
    form: str, asked: list[tuple[int, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    records = []
    for place, (number, wording, identity) in enumerate(asked):
        record = FORMS[form](WORDINGS[wording](f"what does caf\u00e9 {number} sell"), f"thing {place}")
        if identity != "none":
            record["id"] = f"id {place}" if identity == "own" else "same"
        records += [record, {**record, **FORMS[form](f"what does caf\u00e9 {number} sell", f"other {place}")}]
    source = load(write(tmp_path_factory.mktemp("d") / "d.jsonl", records))
    sides: dict[str, set[str]] = {}
    for split, questions in source.questions.items():
        for question in questions:
            [key] = [word for word in question.text.split() if word.isdecimal()]
            sides.setdefault(key, set()).add(split)
    assert all(len(found) == 1 for found in sides.values())
    every = [question for questions in source.questions.values() for question in questions]
    assert len(every) == len(records) and len({question.id for question in every}) == len(records)


def test_records_without_a_split_follow_those_that_ask_the_same(tmp_path: Path) -> None:
    records = [
        {"prompt": f"{n}?", "chosen": f"a{k}", "rejected": "b", **({"split": "test"} if not k else {})}
        for n in range(40)
        for k in range(3)
    ]
    source = load(write(tmp_path / "d.jsonl", records))
    assert {split: len(questions) for split, questions in source.questions.items()} == {"test": 120}


def test_a_split_of_the_users_own_is_kept_but_what_it_leaks_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"choices": ["ice", "fire"], "answer": 0}
    write(tmp_path / "train.jsonl", [{"question": f"Which is {n}?", **own} for n in range(6)])
    write(tmp_path / "test.jsonl", [{"question": f"which is {n}? ", **own} for n in range(4, 9)])
    source = load(str(tmp_path))
    assert {split: len(questions) for split, questions in source.questions.items()} == {"train": 6, "test": 5}
    assert "2 of the 5 test questions are asked in its train split too" in caplog.text


@pytest.mark.parametrize(
    "identity",
    [
        lambda n: {"id": "  "},
        lambda n: {"id": "\u00a0"},
        lambda n: {"id": None},
        lambda n: {"id": "nan"},
        lambda n: {"id": 0},
        lambda n: {"idx": 7},
        lambda n: {"id": n // 2},
        lambda n: {"id": n if n > 3 else "first"},
        lambda n: {"id": float("nan")},
        lambda n: {"id": True},
        lambda n: {"id": [n]},
    ],
)
def test_ids_that_identify_nothing_alias_nothing(identity: Callable[[int], dict[str, Any]], tmp_path: Path) -> None:
    records = [
        {"question": f"What is {n} plus 1?", "choices": [str(n + k) for k in (1, 2, 3)], "answer": 0, **identity(n)}
        for n in range(60)
    ]
    source = load(write(tmp_path / "d.jsonl", records))
    every = source.split("all")
    assert len({question.id for question in every}) == 60 and set(source.questions) == {"train", "test"}
    # The draw of a negative is seeded by the id: 60 fair draws of two are not all alike.
    places = {question.choices.index(e.completion.strip()) for question in every for e in negatives([question], QA)}
    assert places == {1, 2}


QA = Prompter("qa")


def test_ids_that_are_shared_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = {"choices": ["ice", "fire"], "answer": 0}
    load(write(tmp_path / "d.jsonl", [{"id": max(n, 2), "question": f"Which is {n}?", **own} for n in range(9)]))
    assert "3 of 9 records have an id that another record has too ('2')" in caplog.text


def test_whole_numbers_are_ids_however_they_are_written(tmp_path: Path) -> None:
    own = {"choices": ["ice", "fire"], "answer": 0}
    records = [{"id": number, "question": f"Which is {number}?", **own} for number in (3, 4.0, 0, "5")]
    assert {q.id for q in load(write(tmp_path / "d.jsonl", records)).split("all")} == {"3", "4", "0", "5"}


def test_one_question_with_two_answers_is_two_records(tmp_path: Path) -> None:
    asked = {"question": "Which is it?", "choices": ["ice", "fire"]}
    every = load(write(tmp_path / "d.jsonl", [{**asked, "answer": 0}, {**asked, "answer": 1}])).split("all")
    assert len({question.id for question in every}) == 2


def test_calibration_is_on_questions_that_training_did_not_ask(tmp_path: Path, base: Base) -> None:
    records = [
        {"prompt": f"Question {n % 8}", "chosen": f" a{n}", "rejected": " b", "id": f"r{n}", "split": "train"}
        for n in range(40)
    ]
    source = load(write(tmp_path / "d.jsonl", records))
    likra = Likra.from_base(base)
    likra.training = {"limit": 4, "asked": sketch(drawn_from(source.questions["train"], 4, likra.training_config.seed))}
    drawn = {question.text for question in drawn_from(source.questions["train"], 4, likra.training_config.seed)}
    left = {question.text for question in left_over(likra.training, source, likra.training_config.seed)}
    assert drawn and left and not drawn & left and len(drawn | left) == 8


def test_the_worlds_split_is_the_files_own() -> None:
    records = [json.loads(line) for line in embedded_questions()["world"].read_text().splitlines()]
    source = load("world")
    for split in ("train", "test"):
        assert [q.id for q in source.questions[split]] == [r["id"] for r in records if r["split"] == split]


def test_where_nothing_is_asked_the_id_decides(tmp_path: Path) -> None:
    import hashlib

    records = [
        {"sentence_good": f"It is {n}.", "sentence_bad": f"It are {n}.", "UID": "u", "pairID": str(n)}
        for n in range(200)
    ]
    source = load(write(tmp_path / "d.jsonl", records))
    for split, questions in source.questions.items():
        for question in questions:
            first = int.from_bytes(hashlib.sha256(question.id.encode()).digest()[:8], "big")
            assert split == ("test" if first < 2**64 / 10 else "train")
