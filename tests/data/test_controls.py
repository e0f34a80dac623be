"""Controls ask nothing, or another item's question, and change nothing else of a prompt."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likra.data import TEMPLATES, Prompter, Question
from likra.data.controls import CONTROLS, control, has_controls
from likra.data.question import what_is_asked
from likra.errors import InputError

POOL = [Question(f"p{number}", f"Which metal is number {number}?", ("iron", "tin"), 0) for number in range(6)]


def texts_of(prompter: Prompter, questions: list[Question]) -> list[str]:
    """What is asked in the place of each question (`verbatim` words the bare text)."""
    return [prompter.pairs(question)[0][0] for question in questions]


@given(
    texts=st.lists(st.sampled_from(["Which gas?", " which  gas?", "Which metal?", "Which city?", ""]), max_size=30),
    same_ids=st.booleans(),
)
def test_shuffled_never_asks_what_the_question_asks(texts: list[str], same_ids: bool) -> None:
    questions = [
        Question("same" if same_ids else str(number), text, ("a", f"b{number}"), 0) for number, text in enumerate(texts)
    ]
    if len({what_is_asked(text) for text in texts}) < 2:
        with pytest.raises(InputError, match="shuffled needs questions that ask different things"):
            control("shuffled", questions, Prompter("verbatim"))
        return
    others = texts_of(control("shuffled", questions, Prompter("verbatim")), questions)
    for other, question in zip(others, questions, strict=True):
        assert other in texts and what_is_asked(other) != what_is_asked(question.text)


@given(count=st.integers(2, 40))
def test_questions_that_all_differ_are_each_used_once_and_drawn_alike_each_time(count: int) -> None:
    questions = [Question(str(number), f"Question {number}?", ("a", "b"), 0) for number in range(count)]
    others = texts_of(control("shuffled", questions, Prompter("verbatim")), questions)
    assert sorted(others) == sorted(question.text for question in questions)
    assert others == texts_of(control("shuffled", questions, Prompter("verbatim")), questions)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("name", CONTROLS)
def test_few_shot_examples_stay_as_they_are(name: str, sampled: bool) -> None:
    """The examples of a question are its own, also where it is asked in the pool and so is no example of itself."""
    judged = [dataclasses.replace(POOL[1], id="q1"), Question("q2", "Which gas?", ("oxygen", "argon"), 0)]
    plain = Prompter("qa", 3, POOL, sampled)
    asked = control(name, judged, plain)
    for question, other in zip(judged, judged[::-1], strict=True):
        for (own, answer), (context, completion) in zip(plain.pairs(question), asked.pairs(question), strict=True):
            examples, _, last = own.rpartition("\n\n")
            assert last == f"Question: {question.text}\nAnswer:" and question.text not in examples
            text = "" if name == "blind" else other.text
            assert (context, completion) == (f"{examples}\n\nQuestion: {text}\nAnswer:", answer)


def test_templates_without_a_question_apart_have_no_controls() -> None:
    assert [style for style in TEMPLATES if not has_controls(style)] == ["cloze", "empty"]
    questions = [Question("1", "The _ is red.", ("car", "cup"), 0), Question("2", "The _ is tall.", ("cat", "man"), 0)]
    for name in CONTROLS:
        with pytest.raises(InputError, match="'cloze' has no question apart from what is scored"):
            control(name, questions, Prompter("cloze"))
    with pytest.raises(InputError, match="control must be one of blind, shuffled, got 'deaf'"):
        control("deaf", questions, Prompter("qa"))
