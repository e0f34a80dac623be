"""Unpaired records: their splits, and how they are asked to be judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from likra.data import Example, load
from likra.data.overlap import digest, overlaps, sketch
from likra.data.question import Question
from likra.data.sources import restyled
from likra.data.sources.splits import hash_split
from likra.data.unpaired import LoneCandidates, in_template_of, is_unpaired
from likra.errors import InputError


def thumbs(count: int, **more: Any) -> list[dict[str, Any]]:
    """A right and a wrong completion of each prompt."""
    return [
        {"prompt": f"Which gas, number {n}?", "completion": text, "label": label, **more}
        for n in range(count)
        for text, label in ((" oxygen", True), (" argon", False))
    ]


def write(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_a_tenth_of_the_prompts_is_held_out_with_all_their_records(tmp_path: Path) -> None:
    source = load(write(tmp_path / "thumbs.jsonl", thumbs(60)))
    train, test = source.examples["train"], source.examples["test"]
    assert source.hashed and len(train) + len(test) == 120 and 2 <= len(test) <= 30
    assert {one.prompt for one in train}.isdisjoint({one.prompt for one in test})
    assert all(hash_split(one.asked) == "test" for one in test)  # as a question with this text
    assert source.items(None) == test and source.default_split == "test" and len(source.items("all")) == 120
    with pytest.raises(InputError, match="has no records in its validation split"):
        source.items("validation")


def test_splits_that_are_named_stay_and_take_their_prompts_with_them(tmp_path: Path) -> None:
    records = thumbs(30, split="train") + thumbs(2)
    source = load(write(tmp_path / "thumbs.jsonl", records))
    assert not source.hashed and [*source.examples] == ["train"] and len(source.examples["train"]) == 64
    assert "test" in load(write(tmp_path / "test.jsonl", thumbs(3))).examples


def test_records_of_one_prompt_alone_all_train_and_those_without_a_prompt_are_apart(tmp_path: Path) -> None:
    one = [{"prompt": "Write a joke.", "completion": f" joke {n}", "label": n % 2} for n in range(40)]
    assert [*load(write(tmp_path / "one.jsonl", one)).examples] == ["train"]
    none = [{**record, "prompt": ""} for record in one]
    source = load(write(tmp_path / "none.jsonl", none))
    assert {*source.examples} == {"train", "test"}
    assert len({example.asked for example in source.items("all")}) == 40


def test_a_template_does_not_change_what_is_asked(tmp_path: Path) -> None:
    source = load(write(tmp_path / "thumbs.jsonl", thumbs(12)))
    for worded in (restyled(source, "qa"), restyled(source, "chat")):
        kept = sketch(worded.examples["train"])
        assert kept == sketch(source.examples["train"]) and overlaps(kept, source.examples["train"])
    assert digest(Example("", " oxygen", True)) == digest(Question("1", "", (" oxygen",)))


def test_lone_candidates_are_read_as_they_train(tmp_path: Path) -> None:
    source = load(write(tmp_path / "thumbs.jsonl", thumbs(60)))
    found = LoneCandidates.of(source, "verbatim", split="test", limit=4)
    judged = source.examples["test"][:4]
    assert found.judged == 4 and found.labels[:4] == (True, False, True, False)
    for question, example in zip(found.questions, judged, strict=False):
        assert found.prompter.pairs(question) == [(example.prompt, example.completion)]
        assert found.alone.pairs(question) == [("", example.completion)]
    # The others are training records, to choose a threshold on.
    assert {q.text for q in found.questions[4:]} == {one.prompt for one in source.examples["train"]}
    assert len(LoneCandidates.of(source, "verbatim", split="all").questions) == 120
    worded = LoneCandidates.of(source, "qa", split="test", reference=False)
    assert worded.prompter.style == "qa" and len(worded.questions) == worded.judged == len(source.examples["test"])
    asked = Question("1", str(source.examples["test"][0].prompt), ("oxygen",))
    from likra.data import Prompter

    assert worded.prompter.pairs(worded.questions[0]) == Prompter("qa").pairs(asked)  # as `likra score` asks
    with pytest.raises(InputError, match="no solved questions to show"):
        LoneCandidates.of(source, "verbatim", split="test", shots=1)


def test_records_are_worded_as_the_heads_learned_where_that_can_be(tmp_path: Path) -> None:
    source = load(write(tmp_path / "thumbs.jsonl", thumbs(3)))
    assert in_template_of(source, "qa").style == "qa" and in_template_of(source, "verbatim") is source
    assert in_template_of(source, "options") is source and in_template_of(source, "cloze") is source
    chosen = load(source.name, style="verbatim")
    assert in_template_of(chosen, "qa") is chosen
    assert is_unpaired(source) and is_unpaired([Example("", "a", True)])
    assert not is_unpaired("world") and not is_unpaired([])
