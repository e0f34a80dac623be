"""Records that are kept with heads: what is written is read again; whoever asks, and nobody else, gets them."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from likra import Example, InputError, Likra, Question
from likra.cli.app import app
from likra.data import Source, load
from likra.data.conversation import Conversation
from likra.data.records import Records
from likra.hub.model_card import push
from likra.hub.records_file import read_records, write_records
from likra.models.base import Base
from likra.training.dataset import TrainingSet
from likra.utils import hub_client
from likra.utils.runtime import QUIET

TURNS = (("system", "Be brief."), ("user", "Wes\u200bhalb?"))
QUESTIONS = (
    Question("1", "Which  gas?\n", ("oxygen", "argon", "argon"), 1, group="gases"),
    Question("2 a", "Why?", ("So.", "No."), 0, before=TURNS),
    Question("3", "A ticket.\n\nWhich team?", ("web", "bills"), 1, state="A ticket."),
)
THUMBS = (
    Example("Which gas?", " oxygen", True),
    Example(Conversation(TURNS), "Darum.", False),
    Example("Question: Which gas?\nAnswer:", " argon", False, question="Which gas?"),
)


@pytest.mark.parametrize(
    "records",
    [
        Records((QUESTIONS,)),
        Records((QUESTIONS, THUMBS, QUESTIONS[:1]), (*THUMBS[:1], *QUESTIONS[1:])),
        Records((THUMBS,), QUESTIONS),
    ],
)
def test_what_is_written_is_read(records: Records, tmp_path: Path) -> None:
    write_records(records, tmp_path)
    found = read_records(tmp_path)
    assert found == records
    both = [[*some.rounds, some.held_out] for some in (found, records) if some]
    for one, other in zip(*both, strict=True):  # fields that do not count as parts of a value
        assert [(item.asked, getattr(item, "question", None)) for item in one] == [
            (item.asked, getattr(item, "question", None)) for item in other
        ]


def test_plain_questions_are_a_source_too(questions: list[Question], tmp_path: Path) -> None:
    write_records(Records((tuple(questions[:8]),), tuple(questions[8:])), tmp_path)
    source = load(tmp_path / "records.jsonl")
    assert source.questions == {"train": questions[:8], "test": questions[8:]}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2"),
        ("[]", "line 2"),
        ('{"id": "1", "question": "Which?", "choices": ["a"], "answer": 1, "split": "train"}', "answer 1"),
        ('{"id": "1", "question": "Which?", "choices": ["a"], "answer": 0, "split": "dev"}', "split 'dev'"),
        ('{"id": "1", "question": "Which?", "choices": ["a"], "answer": 0, "split": "train", "round": 2}', "round 2"),
        ('{"prompt": 3, "completion": "a", "label": true, "split": "train"}', "line 2"),
        ('{"id": "1", "split": "train"}', "choices"),
    ],
)
def test_a_damaged_file(line: str, why: str, tmp_path: Path) -> None:
    write_records(Records((QUESTIONS[:1],)), tmp_path)
    with (tmp_path / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write(line)
    with pytest.raises(InputError, match=f"records.jsonl, line 2: is damaged .*{why}|records.jsonl, {why}: is damaged"):
        read_records(tmp_path)
    assert read_records(tmp_path / "elsewhere") is None


def test_what_is_kept_of_a_source(base: Base, questions: list[Question]) -> None:
    source = Source("quiz", "likra", "qa", {"train": questions[:8], "test": questions[8:]})
    heads = ("positive", "negative")
    assert TrainingSet.of(base, heads, source, style="qa").records is None
    found = TrainingSet.of(base, heads, source, style="qa", limit=5, seed=3, keep_data=True).records
    assert found and len(found.rounds) == 1 and found.held_out == tuple(questions[8:])
    assert len({*found.rounds[0]}) == 5 and {*found.rounds[0]} <= {*questions[:8]}
    thumbs = [Example(f"Prompt {n}", " yes", n % 2 == 0) for n in range(6)]
    lone = Source("thumbs", "unpaired", "verbatim", examples={"train": thumbs[:5], "validation": thumbs[5:]})
    found = TrainingSet.of(base, ("negative",), lone, style="qa", keep_data=True).records
    assert found == Records(((thumbs[1], thumbs[3]),), (thumbs[5],))


@pytest.fixture
def kept(base: Base, questions: list[Question], tmp_path: Path) -> Path:
    likra = Likra.from_base(base).fit(questions, keep_data=True, runtime=QUIET)
    likra.save_pretrained(tmp_path / "heads")
    likra.trained.remove()
    return tmp_path / "heads"


def test_the_records_are_sent_only_where_that_is_said(
    kept: Path, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "records.jsonl` holds the 12 records" in str(ModelCard.load(kept / "README.md"))
    assert read_records(kept) == Records((tuple(questions),))
    sent: list[tuple[list[str], str]] = []

    def publish(folder: Path, repository: str, files: list[str], patterns: Any, **how: Any) -> str:
        assert "records.jsonl" in patterns  # what an earlier push left there goes
        sent.append((files, (folder / "README.md").read_text(encoding="utf-8")))
        return "address"

    monkeypatch.setattr(hub_client, "publish", publish)
    push(kept, "me/heads")
    push(kept, "me/heads", with_data=True)
    for (files, card), there in zip(sent, (False, True), strict=True):
        assert ("records.jsonl" in files) == there == ("records.jsonl" in card)
    said = [CliRunner().invoke(app, ["push", str(kept), "me/heads", *more]) for more in ([], ["--with-data"])]
    assert "records.jsonl) are not sent; --with-data sends them" in said[0].stderr
    assert "records.jsonl) are sent too" in said[1].stderr
    assert [files for files, _ in sent[2:]] == [files for files, _ in sent[:2]]
    (kept / "records.jsonl").unlink()
    lacking = CliRunner().invoke(app, ["push", str(kept), "me/heads", "--with-data"])
    assert "keeps no records to send" in str(lacking.exception)


def test_records_go_with_the_heads(kept: Path, base: Base, questions: list[Question], tmp_path: Path) -> None:
    likra = Likra.from_pretrained(kept, model=base)
    assert likra.records == Records((tuple(questions),))
    likra.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "records.jsonl").read_bytes() == (kept / "records.jsonl").read_bytes()
    likra.fit(questions[:4], runtime=QUIET).save_pretrained(tmp_path / "anew")
    assert likra.records is None and not (tmp_path / "anew" / "records.jsonl").exists()
    manifest = json.loads((kept / "likra.json").read_text())
    assert "records.jsonl" not in manifest["files"]  # heads without them are whole
    likra.trained.remove()
