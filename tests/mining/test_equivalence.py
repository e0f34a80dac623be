"""Equal and equivalent answers: worked examples, and what must never matter."""

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
        ("C++ & C#", ("c++", "&", "c#")),
        ("x>0", ("x", ">", "0")),
        ("10²", ("10", "^", "2")),
        ("काला", ("काला",)),
        ("5 mW, pH", ("5", "mW", "pH")),
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
    ("one", "other"),
    [
        ("Plan B!", "plan b"),
        ("**Cello**", "cello"),
        ("x > 0", "x>0"),
        ("5 °C", "5°C"),
        ("½", "1/2"),
        ("x²", "x^2"),
        ("H₂O", "H2O"),
        ("❤\ufe0f", "❤"),
        ("of course, surely cello", "surely cello, of course"),
        ("cafe\u0301", "café\u00a0"),
    ],
)
def test_another_way_of_writing_is_no_other_answer(one: str, other: str) -> None:
    assert SAME.equal(one, other) and SAME.equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("काला", "कीला"),
        ("लाल", "लाला"),
        ("ก่า", "กา"),
        ("كَتَبَ", "كُتِبَ"),
        ("C++", "C"),
        ("C#", "C++"),
        ("A+", "A-"),
        ("x > 0", "x < 0"),
        ("x>0", "x<0"),
        ("x ≤ 3", "x ≥ 3"),
        ("x - 5", "x + 5"),
        ("$10", "10%"),
        ("n!", "n"),
        ("mW", "MW"),
        ("5 mW", "5 MW"),
        ("-5", "5"),
        ("1/2", "12"),
        ("10²", "102"),
        ("f(x)", "f[x]"),
        ("[0, 1]", "[0, 1)"),
        ("a.b", "ab"),
        ("3, 2, 1", "1, 2, 3"),
        ("dog bites man", "man bites dog"),
        ("from harp to cello", "from cello to harp"),
        ("it is poisonous", "it is not poisonous"),
        ("👍", "👎"),
    ],
)
def test_signs_marks_and_the_order_of_words_tell_answers_apart(one: str, other: str) -> None:
    assert not SAME.equal(one, other) and not SAME.equivalent(one, other)
    assert not SAME.equal(other, one) and not SAME.equivalent(other, one)


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


@given(texts, texts)
def test_case_and_punctuation_never_matter(one: str, other: str) -> None:
    expected = SAME.equal(one, other), SAME.equivalent(one, other)
    for changed in (one.upper(), f"“{one}”!", f" {one} ."):
        assert (SAME.equal(changed, other), SAME.equivalent(changed, other)) == expected


@given(texts, st.sampled_from(["and", "or"]), texts)
def test_what_is_listed_may_be_listed_in_any_order(one: str, joined: str, other: str) -> None:
    if not any(character.isdigit() for character in one + other):  # numbers may be a sequence
        assert SAME.equal(f"{one} {joined} {other}", f"{other} {joined} {one}")
