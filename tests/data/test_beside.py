"""Fields beside a question or an answer: what may change their meaning is refused, what does not is let be."""

import json
from pathlib import Path
from typing import Any

import pytest

from likra.data import load
from likra.data.canonical import canonical
from likra.errors import InputError


def write(path: Path, record: dict[str, Any], count: int = 12) -> str:
    rows = [{key: f"{value} {n}" if key in ("prompt", "question") else value for key, value in record.items()}
            for n in range(count)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "verdict",
    [
        {"score": 0}, {"reward": -1.0}, {"rating": 4}, {"grade": "B"}, {"vote": -1}, {"feedback": "thumbs_down"},
        {"thumbs_up": False}, {"accepted": False}, {"valid": False}, {"passed": False}, {"is_good": False},
        {"correctness": 0}, {"verdict": "wrong"}, {"quality": "bad"}, {"hallucination": True}, {"toxic": True},
        {"success": 0}, {"positive": False}, {"human_score": 2.5}, {"outcome": "incorrect"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "record", [{"prompt": "Who has a dog?", "completion": " Tom."}, {"question": "Who has a dog?", "answer": "Tom"}]
)
def test_what_tells_right_from_wrong_is_never_dropped(
    verdict: dict[str, Any], record: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"field '{next(iter(verdict))}'.* tells right from wrong"):
        load(write(tmp_path / "d.jsonl", record | verdict))


@pytest.mark.parametrize(
    "about",
    [
        {"source": "a book"}, {"category": "pets"}, {"difficulty": 3}, {"year": 2020}, {"page": 7}, {"title": "Dogs"},
        {"explanation": "Tom has one."}, {"created_at": 1.5}, {"num_tokens": 5}, {"url": "https://example.org"},
        {"label": None}, {"score": ""}, {"context": " "}, {"image_id": "x7"}, {"text_length": 9},
    ],
    ids=str,
)  # fmt: skip
def test_what_says_where_a_record_is_from_is_let_be(about: dict[str, Any], tmp_path: Path) -> None:
    source = load(write(tmp_path / "d.jsonl", {"question": "Who has a dog?", "answer": "Tom"} | about))
    assert source.form == "right answers only"


@pytest.mark.parametrize("field", ["ansA", "(A)", "variants", "reply_one", "possibility"])
def test_a_letter_that_may_name_another_field_is_no_answer(field: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="looks like choices"):
        load(write(tmp_path / "d.jsonl", {"question": "Which?", field: "a dog", "answer": "B"}))


@pytest.mark.parametrize(
    "field",
    ["text", "dialogue", "body", "lecture", "scenario", "evidence", "abstract", "table", "code", "conversation",
     "history", "input", "instruction", "messages", "transcript", "excerpt", "content", "source_text", "context_text",
     "passage_text", "long_context", "description", "figures", "audio", "video", "paragraphs"],
)  # fmt: skip
def test_what_a_question_is_about_is_never_dropped(field: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"field '{field}' belongs to what is asked"):
        load(write(tmp_path / "d.jsonl", {"question": "Which?", "choices": ["a", "b"], "answer": 0, field: "A dog."}))


@pytest.mark.parametrize(
    "copy", ["Paris\u200e", "Par\u00adis", "Paris\u180e", "Paris\u3164", "Paris\x00", "\u200fParis", "Paris\ufe00",
             "\u2066Paris\u2069", "\ufeffParis", "Paris\u2028", "Paris\u200d"],
)  # fmt: skip
def test_what_is_not_seen_makes_no_other_answer(copy: str) -> None:
    assert canonical(copy) == "Paris"


@pytest.mark.parametrize(("one", "other"), [("10²", "102"), ("A", "a"), ("a b", "ab"), ("क्‍ष", "क्ष"), ("❤️", "💔")])
def test_what_is_seen_does(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


def test_contradictions_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"question": "Who?", "choices": ["Tom", "Ann"], "answer": answer} for answer in (0, 1)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    load(str(tmp_path / "d.jsonl"))
    assert "1 of 2 records contradict another one" in caplog.text and "an id that" not in caplog.text


@pytest.mark.parametrize("answer", ["B", " B", "b ", " b"])
def test_a_letter_may_have_spaces_around_it(answer: str, tmp_path: Path) -> None:
    rows = [
        {"question": f"Which {n}?", "choices": ["Tom", "Ann"], "answer": answer, "split": "train"} for n in range(3)
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [question.answer for question in load(str(tmp_path / "d.jsonl")).questions["train"]] == [1, 1, 1]


def test_numbers_are_no_choices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choice 0 is the number 0; write it as text"):
        load(write(tmp_path / "d.jsonl", {"question": "Which?", "choices": [0, 1], "answer": 0}))
