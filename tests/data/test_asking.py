"""Questions whose answers are not known: of every form, from every kind of file, read as a stream."""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from likra.data import Question, load
from likra.data.asking import Asked
from likra.data.sources import Columns
from likra.errors import InputError
from tests.data.test_sources import (
    BLIMP,
    HELLASWAG,
    HUB_ARC,
    HUB_TRUTHFULQA,
    MC_TASK,
    OFFICIAL_ARC,
    OWN,
    PREFERENCE,
    WINOGRANDE,
)

OPENBOOKQA = {"question_stem": "Which?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
MEDMCQA = {"question": "Which?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 4}
SCIQ = {"question": "Which?", "correct_answer": "a", "distractor1": "b", "distractor2": "c", "distractor3": "d"}
LETTERED = {"question": "Which?", "A": "ice", "B": "fire", "answer": "B"}
LABELLED = {"question": "Which?", "choices": ["ice", "fire"], "labels": ["x", "y"], "answer": "y"}
DECISIONS = {
    "state": {"ticket": "I was charged twice."},
    "questions": {
        "billing": {"type": "noul", "instructions": "Is it about billing?"},
        "team": {"type": "choice", "instructions": "Which team?", "criteria": {"web": None, "bills": "Charges"}},
    },
    "answers": {"billing": True, "team": "bills"},
}
TURNS = [{"role": "user", "content": "Which gas?"}]
ANSWER = [{"role": "assistant", "content": "Oxygen."}]
PAIRS = {"prompt": TURNS, "chosen": ANSWER, "rejected": [{"role": "assistant", "content": "Argon."}]}
#: Record -> the fields of its answer.
ANSWERED: list[tuple[dict[str, Any], tuple[str, ...], str]] = [
    (OFFICIAL_ARC, ("answerKey",), "qa"),
    (HUB_ARC, ("answerKey",), "qa"),
    (OPENBOOKQA, ("answerKey",), "qa"),
    (HELLASWAG, ("label",), "plain"),
    (WINOGRANDE, ("answer",), "cloze"),
    (OWN, ("answer",), "qa"),
    ({"question": "Which?", "options": {"A": "ice", "B": "fire"}, "answer": "A"}, ("answer",), "qa"),
    (LABELLED, ("answer",), "qa"),
    (LETTERED, ("answer",), "qa"),
    (MEDMCQA, ("cop",), "qa"),
    (DECISIONS, ("answers",), "qa"),
    # What is right is told by where it stands.
    (MC_TASK, (), "truthfulqa"),
    (HUB_TRUTHFULQA, (), "truthfulqa"),
    (BLIMP, (), "empty"),
    (PREFERENCE, (), "verbatim"),
    (SCIQ, (), "qa"),
    (PAIRS, (), "chat"),
    ({"messages": TURNS + ANSWER}, (), "chat"),
]


def asked(*records: dict[str, Any], style: str = "qa", **how: Any) -> list[Question]:
    return [question for questions in Asked(list(records), style, **how) for question in questions]


@pytest.mark.parametrize(("record", "fields", "style"), ANSWERED, ids=lambda value: str(value)[:40])
def test_a_question_is_what_it_is_with_its_answer(record: dict[str, Any], fields: tuple[str, ...], style: str) -> None:
    known = [question for split in load([record]).questions.values() for question in split]
    expected = [(q.id, q.text, q.choices, q.before) for q in known]
    without = {name: value for name, value in record.items() if name not in fields}
    for one in (record, without, {**record, **dict.fromkeys(fields)}):
        found = asked(one, style=style)
        assert [(q.id, q.text, q.choices, q.before) for q in found] == expected
        assert {q.answer for q in found} == {None}


def test_a_completion_is_a_question_with_one_choice() -> None:
    record = {"prompt": "Which gas?", "completion": " oxygen"}
    for more in ({}, {"label": True}, {"label": None}, {"rating": 3}):
        [question] = asked({**record, **more}, style="verbatim")
        assert (question.text, question.choices) == ("Which gas?", (" oxygen",))
    turns = {"prompt": [{"role": "system", "content": "Be brief."}, *TURNS], "completion": ANSWER}
    for record in (turns, {**turns, "label": False}):
        [question] = asked(record, style="chat")
        assert question.before == (("system", "Be brief."),)
        assert (question.text, question.choices) == ("Which gas?", ("Oxygen.",))


LEARNED = Columns("ticket", "team", ("billing", "sales"))


def test_texts_of_a_table_that_was_learned(tmp_path: Path) -> None:
    expected = [("I paid, twice.", LEARNED.labels), ("Prices?", LEARNED.labels)]
    for name, header, rows in (
        ("alone.csv", ["ticket"], [["I paid, twice."], ["Prices?"]]),
        ("beside.csv", ["nr", "ticket"], [["1", "I paid, twice."], ["2", "Prices?"]]),
        ("both.csv", ["ticket", "team"], [["I paid, twice.", "no such label"], ["Prices?", ""]]),
        ("other.csv", ["message"], [["I paid, twice."], ["Prices?"]]),
    ):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        text = "message" if name == "other.csv" else None
        found = [q for questions in Asked(tmp_path / name, "qa", LEARNED, text) for q in questions]
        assert [(q.text, q.choices) for q in found] == expected
    assert [q.choices for q in asked(OWN, learned=LEARNED)] == [("ice", "fire")]  # another form
    with pytest.raises(InputError, match=r"record 1: has no field 'ticket'; its fields are message\."):
        asked({"ticket": "Prices?"}, {"message": "Prices?"}, learned=LEARNED)
    with pytest.raises(InputError, match=r"lacks the field of texts .* \('ticket'\).*has the fields message; .*--text"):
        asked({"message": "Prices?"}, learned=LEARNED)
    with pytest.raises(InputError, match="learned no table"):
        asked({"message": "Prices?"}, text="message")


@pytest.mark.parametrize(
    ("record", "style", "said"),
    [
        ({"question": "Which?"}, "qa", "of no known form. .* To be of the form likra it lacks choices"),
        ({**OWN, "choices": ["ice"]}, "qa", "field 'choices' has only one choice"),
        ({**OWN, "choices": ["ice", ""]}, "qa", "field 'choices': choice 1 is empty"),
        ({**OWN, "context": "It burns."}, "qa", "field 'context' belongs to what is asked"),
        ({**OWN, "question": "\ud800"}, "qa", "half a character"),
        ({**OWN, "choices": list(map(str, range(30)))}, "options", "has 30 choices"),
        ({"prompt": "Which?", "completion": " ice"}, "options", "has 1 choices"),
        ({"messages": [*TURNS, *ANSWER, *TURNS, *ANSWER]}, "qa", "conversation of several turns.*'chat'"),
        (BLIMP, "qa", "asks nothing.*'empty'"),
        (WINOGRANDE, "qa", "has a blank.*'cloze'"),
        (OWN, "cloze", "exactly one blank"),
        (OWN, "empty", "leave the question empty"),
        ({"chosen": TURNS + ANSWER, "rejected": ANSWER}, "chat", "field 'rejected'"),
        (PREFERENCE, "verbatim", "is of the form preference pairs, but the records before it are likra"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_line(record: dict[str, Any], style: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    lines = [OWN, record] if "before it" in said else [record]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=said) as caught:
        list(Asked(path, style))
    assert str(caught.value).startswith(f"{path}, line {len(lines)}: ")


def test_a_stream_is_not_read_ahead(tmp_path: Path) -> None:
    """What stands far behind a record is not looked at before the record is given."""
    line = json.dumps({"question": "Which is warm, of many?", "choices": ["ice", "fire"]})
    (tmp_path / "d.jsonl").write_text(f"{line}\n" * 10_000 + "{ no JSON")
    row = '"Which is warm, of many?","[""ice"", ""fire""]"'
    (tmp_path / "d.csv").write_text("question,choices\n" + f"{row}\n" * 10_000 + '"one value"\n')
    frame = pd.DataFrame({"question": ["Which?"] * 10_000 + [None], "choices": [["ice", "fire"]] * 10_001})
    frame.to_parquet(tmp_path / "d.parquet")
    for name in ("d.jsonl", "d.csv", "d.parquet"):
        stream: Iterator[list[Question]] = iter(Asked(tmp_path / name, "qa"))
        assert len(list(islice(stream, 9_000))) == 9_000
        with pytest.raises(InputError, match=r"(line|row) 1000[0-2]: "):
            list(stream)


def test_a_byte_that_is_no_text_is_named_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    good = json.dumps({"question": "Which \u00e9?", "choices": ["ice", "fire"]}, ensure_ascii=False).encode() + b"\n"
    for before in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(before + good * 5_000 + b"\xff\n")
        with pytest.raises(InputError, match=rf"not UTF-8 text \(byte {len(before) + 5_000 * len(good)}\)"):
            list(Asked(path, "qa"))
