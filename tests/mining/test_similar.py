"""Answers of similar questions."""

from likra.data import Question
from likra.mining.similar import Similar

TEXTS = [
    ("Which animal does Ada keep?", "goat"),
    ("Which animal does Ada keep?", "owl"),  # the same question again
    ("Which animal does Bea keep?", "heron"),
    ("Which animal lives in the sea?", "salmon"),
    ("What is two and two?", "four"),
    ("Wo?", "hier"),
]
QUESTIONS = [Question(str(n), text, ("wrong", answer), 1) for n, (text, answer) in enumerate(TEXTS)]


def test_the_most_similar_come_first_and_never_the_question_itself() -> None:
    found = Similar(QUESTIONS, 5, seed=0).propose({place: range(5) for place in range(6)})
    assert found[0] == found[1] == ["heron", "salmon"]
    assert set(found[2][:2]) == {"goat", "owl"} and found[2][2:] == ["salmon"]
    assert found[5] == []  # no word in common with any


def test_a_range_of_neighbours() -> None:
    similar = Similar(QUESTIONS, 2, seed=0)
    whole = similar.propose({2: range(5)})[2]
    assert len(whole) == 2  # as many as were asked for when it was made
    assert similar.propose({2: range(1, 2)})[2] == whole[1:2]


def test_equally_similar_questions_are_drawn_by_the_seed() -> None:
    questions = [Question(str(n), f"Which animal does person{n} keep?", (f"animal{n}",), 0) for n in range(40)]
    wanted = {place: range(3) for place in range(40)}
    found = Similar(questions, 3, seed=0).propose(wanted)
    assert found == Similar(questions, 3, seed=0).propose(wanted) != Similar(questions, 3, seed=1).propose(wanted)
    assert len({answer for answers in found.values() for answer in answers}) > 30  # not the same few for all
    assert all(f"animal{place}" not in answers for place, answers in found.items())


def test_questions_without_words() -> None:
    questions = [Question(str(n), "", (f"animal{n}",), 0) for n in range(3)]
    assert Similar(questions, 3, seed=0).propose({0: range(3)}) == {0: []}
