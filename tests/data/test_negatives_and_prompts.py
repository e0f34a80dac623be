"""Kinds of negatives and few-shot layout."""

from collections import Counter

import pytest

from likra.data import Prompter, Question, negatives, positives
from likra.data.negatives import with_random_distractors
from likra.data.sources import right_answers
from likra.errors import InputError

QUESTIONS = [Question(f"q{n}", f"What is {n}?", (f"right {n}", f"wrong {n}a", f"wrong {n}b"), 0) for n in range(60)]
PLAIN = Prompter("qa")


def test_positives_are_the_right_answers() -> None:
    examples = positives(QUESTIONS, PLAIN)
    assert [e.completion for e in examples] == [f" right {n}" for n in range(60)]
    assert all(e.right for e in examples)
    assert examples[3].prompt == "Question: What is 3?\nAnswer:"


def test_incorrect_draws_one_of_the_questions_own_wrong_choices() -> None:
    examples = negatives(QUESTIONS, PLAIN, "incorrect", seed=1)
    sides = Counter(e.completion[-1] for e in examples)
    assert len(examples) == 60 and all(e.completion.startswith(f" wrong {n}") for n, e in enumerate(examples))
    assert sides["a"] > 15 and sides["b"] > 15  # both are drawn
    assert not any(e.right for e in examples)
    assert examples == negatives(QUESTIONS, PLAIN, "incorrect", seed=1)
    assert examples != negatives(QUESTIONS, PLAIN, "incorrect", seed=2)
    # What is drawn for one question does not depend on the others.
    assert examples[30:] == negatives(QUESTIONS[30:], PLAIN, "incorrect", seed=1)


def test_a_choice_that_repeats_the_right_answer_is_never_a_negative() -> None:
    twice = [Question(f"t{n}", "?", ("yes", "yes", "no"), 0) for n in range(30)]
    assert {e.completion for kind in ("incorrect", "all") for e in negatives(twice, PLAIN, kind)} == {" no"}
    with pytest.raises(InputError, match="has no wrong choice"):
        negatives([Question("t", "?", ("yes", "yes"), 0)], PLAIN)


def test_all_takes_every_wrong_choice() -> None:
    examples = negatives(QUESTIONS[:2], PLAIN, "all")
    assert [e.completion for e in examples] == [" wrong 0a", " wrong 0b", " wrong 1a", " wrong 1b"]


def test_irrelevant_takes_answers_of_other_questions() -> None:
    pool = right_answers(QUESTIONS)
    examples = negatives(QUESTIONS, PLAIN, "irrelevant", seed=0, pool=pool)
    assert examples[30:] == negatives(QUESTIONS[30:], PLAIN, "irrelevant", seed=0, pool=pool)
    assert all(e.completion != f" right {n}" and e.completion.startswith(" right ") for n, e in enumerate(examples))
    assert not any(e.right for e in examples)
    same = [Question(f"s{n}", "?", ("yes", "no"), 0) for n in range(5)]
    with pytest.raises(InputError, match="there is no other one to draw"):
        negatives(same, PLAIN, "irrelevant", pool=right_answers(same))


def test_unrelated_takes_answers_from_elsewhere() -> None:
    examples = negatives(QUESTIONS, PLAIN, "unrelated", pool=["one", "two"])
    assert {e.completion for e in examples} == {" one", " two"}
    with pytest.raises(InputError, match="give those of another source"):
        negatives(QUESTIONS, PLAIN, "unrelated")


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(InputError, match="'wrong' is not a kind of negatives; the kinds are incorrect, all"):
        negatives(QUESTIONS, PLAIN, "wrong")
    with pytest.raises(InputError, match="has no known answer"):
        negatives([Question("q", "?", ("a", "b"))], PLAIN)
    with pytest.raises(InputError, match="not defined for fill-in-the-blank"):
        negatives(QUESTIONS, Prompter("cloze"), "irrelevant", pool=["x"])
    with pytest.raises(InputError, match="would be right sentences where no question is asked"):
        negatives(QUESTIONS, Prompter("empty"), "irrelevant", pool=["x"])
    with pytest.raises(InputError, match=r"style must be one of qa, .*, got 'odd'"):
        Prompter("odd").pairs(QUESTIONS[0])


def test_fixed_shots_are_the_first_ones_and_never_the_question_itself() -> None:
    prompter = Prompter("qa", 2, QUESTIONS)
    shot = "Question: What is {0}?\nAnswer: right {0}\n\n"
    [(context, completion), *_] = prompter.pairs(QUESTIONS[9])
    assert context == shot.format(0) + shot.format(1) + "Question: What is 9?\nAnswer:"
    assert completion == " right 9"
    assert prompter.pairs(QUESTIONS[1])[0][0].startswith(shot.format(0) + shot.format(2))


def test_sampled_shots_differ_between_questions_but_not_between_runs() -> None:
    contexts = [Prompter("qa", 2, QUESTIONS, sampled=True).pairs(q)[0][0] for q in QUESTIONS]
    again = [Prompter("qa", 2, QUESTIONS, sampled=True).pairs(q)[0][0] for q in QUESTIONS]
    assert contexts == again
    assert len({context.split("\n")[0] for context in contexts}) > 10
    for question, context in zip(QUESTIONS, contexts, strict=True):
        assert context.count(question.text) == 1 and context.count("Question:") == 3


@pytest.mark.parametrize("sampled", [False, True])
def test_a_question_is_never_an_example_of_itself_under_another_id(sampled: bool) -> None:
    pool = [Question(f"q{n}", f"Which is  {'one' if n < 9 else n}?", (f"a{n}", f"b{n}"), 0) for n in range(14)]
    for text in ("Which is one?", " which is\u00a0one?\n", "Which is one?"):
        [(context, _), *_] = Prompter("qa", 4, pool, sampled).pairs(Question("judged", text, ("a", "b"), 0))
        assert context.count("Question:") == 5 and context.lower().count("one") == 1
    # The same id in another split is another question.
    [(context, _), *_] = Prompter("qa", 1, pool[9:]).pairs(Question("q9", "Which is new?", ("a", "b"), 0))
    assert context.startswith("Question: Which is  9?")


def test_too_many_shots_are_refused() -> None:
    with pytest.raises(InputError, match=r"shots must be fewer than the answered training questions .* \(3\), got 3"):
        Prompter("qa", 3, QUESTIONS[:3])
    repeated = [Question(f"q{n}", "What is it?", ("a", "b"), 0) for n in range(9)]
    for sampled in (False, True):
        with pytest.raises(InputError, match="question 'q0' would ask the same as it"):
            Prompter("qa", 3, repeated, sampled).pairs(repeated[0])
    with pytest.raises(InputError, match="shots must be 0 or more, got -1"):
        Prompter("qa", -1)


def test_random_distractors_are_answers_of_others_and_leave_the_right_one_in_its_place() -> None:
    questions = [Question(f"q{n}", f"Which is {n}?", (f"a{n}", f"b{n}", f"c{n}"), n % 3) for n in range(20)]
    pool = right_answers(questions)
    found = with_random_distractors(questions, pool, seed=1)
    assert found == with_random_distractors(questions, pool, seed=1) != with_random_distractors(questions, pool, seed=2)
    for before, after in zip(questions, found, strict=True):
        assert (after.id, after.text, after.answer) == (before.id, before.text, before.answer)
        assert after.choices[after.answer] == before.choices[before.answer]  # type: ignore[index]
        others = [choice for place, choice in enumerate(after.choices) if place != after.answer]
        assert len(set(after.choices)) == 3 and set(others) <= set(pool)
    with pytest.raises(InputError, match="too few different answers"):
        with_random_distractors(questions, pool[:1])
