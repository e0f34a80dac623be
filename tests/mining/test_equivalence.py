"""Equal and equivalent answers: worked examples, and what must never matter."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likra.mining import Equivalence, normal

INSTRUMENTS = "cello harp flute violin trumpet oboe banjo piano".split()
OPENERS = ["surely"] * 4 + ["clearly"] * 2 + ["mostly", "frankly"]
CLOSERS = ["of course"] * 4 + ["as ever"] * 2 + ["no doubt", "it seems"]
ANSWERS = [f"{OPENERS[n % 8]} {INSTRUMENTS[n // 8]}, {CLOSERS[(n + n // 8) % 8]}" for n in range(64)]
SAME = Equivalence(ANSWERS)

words = st.sampled_from(
    [*INSTRUMENTS, "surely", "clearly", "of", "course", "as", "ever", "3", "0.5", "Zürich", "don't"]
)
texts = st.lists(words, min_size=1, max_size=8).map(" ".join)
anything = st.text(min_size=1).filter(str.strip)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  cat's, PAW!", ("cats", "paw")),
        ("a", ("a",)),
        ("+", ("+",)),
        ("3.0 and 1,000 and -0.50 and .5", ("3", "and", "1000", "and", "-0.5", "and", "0.5")),
        ("5-10", ("5", "10")),
        ("H2O, 3rd", ("h2o", "3rd")),
        ("ﬁsh ２", ("fish", "2")),  # ligature and full-width digit
        ("−2", ("-2",)),  # the sign of minus
        ("-0", ("0",)),
        ("  ", ()),
    ],
)
def test_normal(text: str, expected: tuple[str, ...]) -> None:
    assert normal(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The cello.", "a CELLO"),
        ("bread and cheese", "cheese and bread"),
        ("3.0", "3"),
        ("1,000 km", "1000 km"),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert SAME.equal(one, other) and SAME.equivalent(one, other)


@pytest.mark.parametrize(
    ("one", "other", "question", "expected"),
    [
        ("surely cello, of course", "clearly cello, as ever", "", True),
        ("surely cello, of course", "surely harp, of course", "", False),  # only frequent words are shared
        ("surely cello, of course", "mostly banjo, as ever", "", False),
        ("cello", "surely the cello, it seems", "", True),  # all words of one are in the other
        ("3 m of cello", "4 m of cello", "", False),  # numbers differ
        ("in 1955, by the cello", "the cello", "", True),  # only one has a number
        ("a cello banjo", "a cello flute", "", True),
        ("a cello banjo", "a cello flute", "What goes with a cello?", False),  # the question has the shared word
        ("cello", "the cello case", "What of a cello?", True),  # ... but an answer of nothing else is judged by it
    ],
)
def test_equivalent(one: str, other: str, question: str, expected: bool) -> None:
    assert SAME.equivalent(one, other, question) is expected
    assert SAME.equal(one, other) is False


def test_a_source_without_answers_or_with_one() -> None:
    for same in (Equivalence([]), Equivalence(["cello"]), Equivalence([" "])):
        assert same.equivalent("cello", "Cello!") and same.equivalent("cello", "my cello")
        assert not same.equivalent("cello", "harp")


@given(texts, texts, texts)
def test_it_is_symmetric(one: str, other: str, question: str) -> None:
    assert SAME.equal(one, other) == SAME.equal(other, one)
    assert SAME.equivalent(one, other, question) == SAME.equivalent(other, one, question)


@given(anything, anything)
def test_an_answer_is_equivalent_to_itself(one: str, question: str) -> None:
    assert normal(one)
    assert SAME.equal(one, one) and SAME.equivalent(one, one, question)


@given(texts, texts, st.randoms(use_true_random=False))
def test_case_punctuation_and_order_never_matter(one: str, other: str, rng: random.Random) -> None:
    expected = SAME.equal(one, other), SAME.equivalent(one, other)
    shuffled = one.split()
    rng.shuffle(shuffled)
    for changed in (one.upper(), f"“{one}”!", one.replace(" ", ",  "), " ".join(shuffled)):
        assert (SAME.equal(changed, other), SAME.equivalent(changed, other)) == expected
