"""What is known of heads' training: the answers that the shallow control learns from, and what may judge them."""

import dataclasses
from collections.abc import Sequence

import pytest

from likra.data import Example, Question, Source
from likra.data.canonical import canonical
from likra.data.overlap import shared, sketch
from likra.errors import InputError
from likra.models.base import Base
from likra.training.dataset import Data, TrainingSet, drawn_examples
from likra.training.provenance import answers, held_out, split_to_judge, trained_by

OWN = "the answers to the questions that trained these heads"


def texts(base: Base, found: TrainingSet, adapter: str) -> list[str]:
    return sorted(base.tokenizer.decode(pair.completion).strip() for pair in found.pairs[adapter])


def fitted(base: Base, data: Data, adapters: Sequence[str] = ("positive", "negative"), **how: object) -> TrainingSet:
    return TrainingSet.of(base, adapters, data, style="qa", **how)  # type: ignore[arg-type]


@pytest.fixture
def source(questions: list[Question]) -> Source:
    return Source("quiz", "likra", "qa", {"train": questions[:8], "test": questions[8:]})


@pytest.mark.parametrize("kind", ["incorrect", "all", "irrelevant"])
@pytest.mark.parametrize("limit", [None, 5])
def test_they_are_what_the_heads_learned(kind: str, limit: int | None, base: Base, source: Source) -> None:
    trained = fitted(base, source, negatives=kind, limit=limit, seed=3)
    found = answers(trained.facts, source, source.questions["test"], 3)
    assert found.origin == OWN
    assert sorted(map(canonical, found.right)) == texts(base, trained, "positive")
    assert sorted(map(canonical, found.wrong)) == texts(base, trained, "negative")
    alone = fitted(base, source, ["positive"], limit=limit, seed=3)
    assert answers(alone.facts, source, source.questions["test"], 3).right == found.right
    # Under another name, and where the questions judged are those trained on, as they are by the heads.
    other = dataclasses.replace(source, name="other")
    assert answers(trained.facts, other, source.questions["train"], 3) == found


def test_what_is_not_known_to_be_the_same_is_the_training_split(base: Base, source: Source) -> None:
    judged, train = source.questions["test"], source.questions["train"]
    limited = fitted(base, source, limit=5).facts
    unpaired = [Example(q.text, f" {text}", right) for q in train for text, right in (("x", True), ("y", False))]
    thumbs = fitted(base, Source("thumbs", "kto", "qa", examples={"train": unpaired})).facts
    for facts, seed in (
        (limited, 1),
        (fitted(base, source, negatives="unrelated", unrelated=["four"]).facts, 0),
        (fitted(base, judged).facts, 0),
        ({**thumbs, "examples": {"positive": 8, "negative": 9}}, 0),
        ({"trained_elsewhere": {"positive": "somewhere"}}, 0),
        ({}, 0),
    ):
        found = answers(facts, source, judged, seed)
        assert "training split of quiz, which is not known to have trained" in found.origin
        assert sorted(found.right) == sorted(q.choices[q.answer or 0] for q in train)
        wrong = [text for q in train for place, text in enumerate(q.choices) if place != q.answer]
        assert sorted(found.wrong) == sorted(wrong)


def test_copies_count_once_and_questions_that_are_judged_teach_nothing() -> None:
    train = [
        Question("1", "Which gas?", ("yes", "no", "no ", "yes\u00a0"), 0),
        Question("2", "which  GAS?", ("judged", "too"), 0),
        Question("3", "Which metal?", ("iron",), 0),
    ]
    source = Source("quiz", "likra", "qa", {"train": train, "test": [Question("4", "Which town?", ("a", "b"), 0)]})
    found = answers({}, source, source.questions["test"], 0)
    assert [canonical(text) for text in found.right] == ["yes", "judged", "iron"]
    assert [canonical(text) for text in found.wrong] == ["no", "too"]
    assert answers({}, source, [train[0]], 0).right == ()  # what is left has no wrong answers
    for data, judged, message in (
        (source, train, "quiz has no training answers apart from the questions judged"),
        (dataclasses.replace(source, questions={"test": train}), train, "quiz has no training answers apart from"),
        (train, train, "a list of questions has no training answers"),
    ):
        nothing = answers({}, data, judged, 0)
        assert not nothing.right and not nothing.wrong and message in nothing.origin


def test_the_same_questions_with_right_answers_only_are_not_the_same(base: Base, source: Source) -> None:
    alone = [dataclasses.replace(q, choices=(q.choices[q.answer or 0],), answer=0) for q in source.questions["train"]]
    facts = fitted(base, source, limit=None).facts
    found = answers(facts, dataclasses.replace(source, questions={**source.questions, "train": alone}), [], 0)
    assert not found.right and "no training answers" in found.origin


def test_data_is_judged_whole_unless_it_names_splits_or_trained_the_heads() -> None:
    own = [Question(str(n), f"Which gas, number {n}?", ("oxygen", "argon"), 0) for n in range(100)]
    parts = {"train": own[:90], "test": own[90:]}
    hashed = Source("mine", "likra", "qa", parts, hashed=True)
    learned = {"asked": sketch(own[:90])}
    assert split_to_judge(learned, hashed)[0] == "test"
    assert split_to_judge({"asked": sketch(own[:10])}, hashed)[0] == "test"  # trained with a limit
    assert split_to_judge({"asked": sketch(own[80:90])}, hashed, "train") == ("train", "train")
    split, said = split_to_judge({}, hashed)
    assert split == "all" and "names no splits" in said
    assert split_to_judge({}, Source("mine", "likra", "qa", parts))[0] == "test"
    # A part of what trained them, and all of it with more beside; but not a few that come back by chance.
    others = [Question(str(n), f"Which metal, number {n}?", ("iron", "tin"), 0) for n in range(300)]
    for some, expected in (
        (own[:30], "test"),
        (own + others, "test"),
        (own[:20] + others, "all"),
        (own[:4] + others[:26], "all"),
        (own[:12] + others[:18], "all"),
        (own[:18] + others[:12], "test"),
    ):
        source = Source("other", "likra", "qa", {"train": some[:-3], "test": some[-3:]}, hashed=True)
        assert split_to_judge(learned, source)[0] == expected
    assert not trained_by({"data": "other"}, hashed) and trained_by({"data": "mine"}, hashed)  # heads of long ago


def test_a_sketch_of_many_knows_how_much_of_a_source_it_has() -> None:
    many = [Question(str(n), f"Which gas, number {n}?", ("oxygen", "argon"), 0) for n in range(3000)]
    of_learned, of_source = shared(sketch(many[:2000]), many[1000:])
    assert of_learned == pytest.approx(0.5, abs=0.1) and of_source == pytest.approx(0.5, abs=0.15)


def learned_elsewhere() -> list[Example]:
    return [Example(f"Which metal, number {n}?", " iron", n % 2 == 0) for n in range(40)]


def test_a_calibration_takes_all_of_other_data_and_of_its_own_what_was_left_over() -> None:
    examples = [Example(f"Which gas, number {n}?", " oxygen", n % 2 == 0) for n in range(40)]
    source = Source(
        "thumbs",
        "unpaired preference",
        "verbatim",
        examples={"train": examples[:36], "test": examples[36:]},
        hashed=True,
    )
    found, split, place = held_out({}, source, None, 0)
    assert found.items(split) == [*examples] and place == "all"
    # Another source, of which the heads know a part: that is left out.
    found, split, place = held_out({"asked": sketch([*examples[:9], *learned_elsewhere()])}, source, None, 0)
    assert found.items(split) == examples[9:] and place == "all"
    drawn = drawn_examples(examples[:36], ["positive", "negative"], 5, 3)
    assert [one.right for one in drawn] == [True] * 5 + [False] * 5
    facts = {"asked": sketch(drawn), "limit": 5, "examples": {"positive": 5, "negative": 5}}
    found, split, place = held_out(facts, source, None, 3)
    assert "left over" in place and len(found.items(split)) == 26
    assert {one.asked for one in found.items(split)}.isdisjoint({one.asked for one in drawn})
    with pytest.raises(InputError, match="give new records"):
        held_out(
            {"asked": sketch(examples[:36]), "limit": None, "examples": {"positive": 1, "negative": 1}}, source, None, 3
        )
    assert held_out(facts, source, "test", 3)[0].items("test") == examples[36:]
