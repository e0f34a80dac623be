"""Mining: what is kept, what is dropped and why, and how likely it is."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from likra.data import Prompter, Question
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.mining import MiningConfig, kind_likelihoods, mine
from likra.models.base import Base

QA = Prompter("qa")
MODULE = importlib.import_module("likra.mining.mine")  # the package's own `mine` is the function

QUESTIONS = [
    Question("ada", "Which animal does Ada keep?", ("dog", "goat"), 1, "one"),
    Question("again", "Which animal does Ada keep?", ("parrot",), 0),  # another right answer to the same question
    Question("bea", "Which animal does Bea keep?", ("heron",), 0),
    Question("cay", "Which food does Cay like?", ("bread", "cheese"), 0),
]
SAID = {
    "ada": ["", "the GOAT!", "a goat, I think", "parrot", "owl", "Owl.", "ox", "ass"],
    "again": ["goat", "ewe", "ewe lamb", "cow", "calf"],
    "bea": ["heron"] * 9,
    "cay": ["soup", "rice", "fish"],
}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, range]]:
    """A model that says what `SAID` has; returns what it is asked for."""
    asked: list[dict[int, range]] = []

    class Said:
        def __init__(self, base: Any, questions: list[Question], *_: Any, **__: Any) -> None:
            self.questions = questions

        def propose(self, wanted: dict[int, range], progress: Callable[[int], None]) -> dict[int, list[str]]:
            asked.append(wanted)
            progress(sum(map(len, wanted.values())))
            return {p: [SAID[self.questions[p].id][n] for n in numbers] for p, numbers in wanted.items()}

    monkeypatch.setattr(MODULE, "Sampler", Said)
    return asked


def wrong(mined: Any) -> dict[str, list[str]]:
    return {
        q.id: [c for c, origin in zip(q.choices, origins, strict=True) if origin != "right"]
        for q, origins in zip(mined.questions, mined.origins, strict=True)
    }


def test_what_is_kept_and_what_is_dropped(base: Base, said: list[dict[int, range]]) -> None:
    moves: list[tuple[int, int]] = []
    mined = mine(base, QUESTIONS, QA, MiningConfig(tries=8), progress=lambda *move: moves.append(move))
    assert wrong(mined) == {
        "ada": ["owl", "ox", "ass"],
        "again": ["ewe", "ewe lamb", "cow"],
        "cay": ["soup", "rice", "fish"],
    }
    assert mined.without == 1  # bea, of whom only the truth was said
    kind = mined.kinds["sampled"]
    assert kind.dropped == {
        "empty": 1,
        "equal to a right answer": 2 + 1 + 8,  # of any question with the same text
        "equivalent to a right answer": 1,
        "repeated": 1,
    }
    assert (kind.found, kind.kept) == (8 + 4 + 8 + 3, 9)
    # Only as many are asked for as are lacking.
    assert said[0] == dict.fromkeys(range(4), range(3)) and said[1] == {0: range(3, 6), 1: range(3, 4), 2: range(3, 6)}
    assert moves == sorted(moves) and moves[-1] == (23, 23)


def test_the_mined_questions(base: Base, said: list[dict[int, range]]) -> None:
    mined = mine(base, QUESTIONS, QA, MiningConfig(tries=8))
    ada = mined.questions[0]
    assert (ada.id, ada.text, ada.group) == ("ada", QUESTIONS[0].text, "one")
    for question, origins in zip(mined.questions, mined.origins, strict=True):
        assert question.answer is not None and origins.index("right") == question.answer and origins.count("right") == 1
        [given] = [q for q in QUESTIONS if q.id == question.id]
        assert question.choices[question.answer] == given.choices[given.answer or 0]
    assert "dog" not in ada.choices  # wrong choices of the source are ignored
    assert mined == mine(base, QUESTIONS, QA, MiningConfig(tries=8))


def test_the_right_answers_place_tells_nothing(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Question(f"q{n}", f"Which is number {n}?", (f"right{n}",), 0) for n in range(400)]

    class Odd:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def propose(self, wanted: dict[int, range], progress: Any) -> dict[int, list[str]]:
            return {p: [f"odd{p}x{n}" for n in numbers] for p, numbers in wanted.items()}

    monkeypatch.setattr(MODULE, "Sampler", Odd)
    places = [q.answer for q in mine(base, many, QA).questions]
    counts = np.bincount(np.array(places), minlength=4)
    assert ((counts > 60) & (counts < 140)).all()  # 100 each, give or take four and a half standard deviations
    other = [q.answer for q in mine(base, many, QA, MiningConfig(seed=1)).questions]
    assert places != other


def test_similar_answers_come_from_the_same_questions(base: Base, said: list[dict[int, range]]) -> None:
    mined = mine(base, QUESTIONS, QA, MiningConfig(kinds=("sampled", "similar"), per_question=2, tries=8))
    assert wrong(mined)["bea"] == wrong(mine(base, QUESTIONS, QA, MiningConfig(("similar",), 2)))["bea"]
    assert set(wrong(mined)["bea"]) == {"goat", "parrot"}
    assert wrong(mined)["ada"][:2] == ["owl", "ox"] and "heron" in wrong(mined)["ada"][2:]
    assert mined.kinds["similar"].found == sum(mined.kinds["similar"].dropped.values()) + mined.kinds["similar"].kept
    answers = {q.choices[q.answer] for q in QUESTIONS if q.answer is not None}
    for question, origins in zip(mined.questions, mined.origins, strict=True):
        assert all(c in answers for c, o in zip(question.choices, origins, strict=True) if o == "similar")


def test_rarity_is_judged_by_the_answers_given(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [Question("ada", "Which animal?", ("surely goat",), 0), Question("bea", "Which city?", ("Oslo",), 0)]

    class Surely:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def propose(self, wanted: dict[int, range], progress: Any) -> dict[int, list[str]]:
            return {place: ["surely owl" for _ in numbers] for place, numbers in wanted.items()}

    monkeypatch.setattr(MODULE, "Sampler", Surely)
    alone = mine(base, questions, QA, MiningConfig(per_question=1))
    assert wrong(alone) == {"bea": ["surely owl"]}  # of two answers one has "surely": as rare as any word
    among = mine(base, questions, QA, MiningConfig(per_question=1), answers=["surely ox", "surely cow", "surely goat"])
    assert wrong(among) == {"ada": ["surely owl"], "bea": ["surely owl"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("odd",)}, "kinds must be among sampled, similar, got 'odd'"),
        ({"kinds": ()}, "kinds must be one or more of"),
        ({"kinds": ("similar", "similar")}, "kinds must be one or more of"),
        ({"per_question": 0}, "per_question must be 1 or more, got 0"),
        ({"tries": 2}, r"tries must be at least the answers wanted per question \(3\), got 2"),
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"temperature": float("nan")}, "temperature .* got nan"),
        ({"max_tokens": 0}, "max_tokens must be 1 or more, got 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MiningConfig(**options)


def test_what_cannot_be_mined(base: Base, said: list[dict[int, range]]) -> None:
    for style in ("empty", "cloze"):
        with pytest.raises(InputError, match=f"data worded as '{style}'"):
            mine(base, QUESTIONS, Prompter(style))
    with pytest.raises(InputError, match="no questions to mine"):
        mine(base, [], QA)
    with pytest.raises(InputError, match="'x' has no known answer"):
        mine(base, [Question("x", "Which?", ("a", "b"))], QA)
    with pytest.raises(InputError, match="no wrong answer was found: sampled: 9 equal to a right answer; allow more"):
        mine(base, [QUESTIONS[2]], QA)


def test_likelihoods_of_each_kind(base: Base, said: list[dict[int, range]]) -> None:
    """Held to means over questions, worked out one by one."""
    mined = mine(base, QUESTIONS, QA, MiningConfig(kinds=("sampled", "similar"), per_question=2, tries=8))
    rows = {row.kind: row for row in kind_likelihoods(base, mined, QA)}
    assert list(rows) == ["right", "sampled", "similar"]
    for kind, row in rows.items():
        answers, tokens, count = [], [], 0
        for question, origins in zip(mined.questions, mined.origins, strict=True):
            table = score(base, None, [question], QA)
            some = [place for place, origin in enumerate(origins) if origin == kind]
            count += len(some)
            if some:
                answers.append(np.mean([table.logprob_HQC[0, 0, p] for p in some]))
                tokens.append(np.mean([table.logprob_HQC[0, 0, p] / table.tokens_QC[0, p] for p in some]))
        assert (row.answers, row.questions) == (count, len(answers))
        for interval, values in ((row.per_answer, answers), (row.per_token, tokens)):
            spread = 1.959964 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
            expected = (np.mean(values), np.mean(values) - spread, np.mean(values) + spread)
            assert (interval.value, interval.low, interval.high) == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert rows["right"].questions == len(mined.questions) == 4 and rows["sampled"].questions == 3
