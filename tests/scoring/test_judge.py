"""The arithmetic of judgement against scipy, formulas worked by hand, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binomtest

from likra.data import Question
from likra.errors import InputError
from likra.scoring.accuracy import accuracy, credit, wilson
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import BASE, Likelihoods
from likra.scoring.paired import mcnemar
from likra.scoring.scores import method_scores, normalise, ratio

NAN = math.nan


def table(**heads: list[list[float]]) -> Likelihoods:
    """A table of two questions, of three and of two choices; the right answers are 1 and 0."""
    questions = [Question("a", "?", ("é", "bb", "cccc"), 1), Question("b", "?", ("dd", "e"), 0)]
    return Likelihoods(
        tuple(heads),
        questions,
        np.array(list(heads.values())),
        np.array([[1, 2, 4], [2, 1, 0]]),
        np.zeros((2, 3), dtype=np.int64),
    )


@given(right=st.integers(0, 200), wrong=st.integers(0, 200))
def test_wilson_is_scipys(right: int, wrong: int) -> None:
    if right + wrong == 0:
        with pytest.raises(ValueError):
            wilson(0.0, 0)
        return
    interval = binomtest(right, right + wrong).proportion_ci(0.95, method="wilson")
    low, high = wilson(right / (right + wrong), right + wrong)
    assert low == pytest.approx(interval.low, abs=1e-12)
    assert high == pytest.approx(interval.high, abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300))
def test_mcnemar_is_the_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array([float(pair[side]) for pair in pairs]) for side in (0, 1))
    result = mcnemar(first, second)
    only_first, only_second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    assert (result.first_only, result.second_only) == (only_first, only_second)
    count = only_first + only_second
    assert result.p_value == pytest.approx(binomtest(only_first, count).pvalue if count else 1.0)


def test_mcnemar_of_many_questions_does_not_overflow() -> None:
    first = np.array([1.0] * 3000 + [0.0] * 2000)
    assert mcnemar(first, 1 - first).p_value == pytest.approx(binomtest(3000, 5000).pvalue)


def test_ties_share_the_credit() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, NAN], [3.0, 3.0, 3.0], [0.0, 1.0, NAN]])
    assert credit(scores, np.array([0, 0, 2, 0])).tolist() == pytest.approx([1 / 2, 1, 1 / 3, 0])


@given(
    arrays.arrays(np.float64, (6, 4), elements=st.sampled_from([-2.0, -1.0, 0.0])),
    st.permutations(range(4)),
)
def test_accuracy_does_not_depend_on_the_order_of_the_choices(scores: np.ndarray, order: list[int]) -> None:
    answers = np.arange(6) % 4
    moved = np.array([order.index(answer) for answer in answers])
    assert credit(scores, answers).tolist() == credit(scores[:, order], moved).tolist()


@given(st.integers(2, 6))
def test_equal_scores_are_chance_wherever_the_answer_stands(choices: int) -> None:
    for answer in range(choices):
        assert credit(np.zeros((1, choices)), np.array([answer]))[0] == pytest.approx(1 / choices)


def test_unknown_answers_have_no_accuracy() -> None:
    with pytest.raises(InputError, match="1 questions have no known answer"):
        credit(np.zeros((2, 2)), np.array([0, -1]))


def test_the_methods_by_hand() -> None:
    likelihoods = table(
        base=[[-1.0, -2.0, -3.0], [-2.0, -1.0, NAN]],
        positive=[[-1.0, -1.5, -3.0], [-1.0, -2.0, NAN]],
        negative=[[-1.0, -4.0, -3.5], [-3.0, -2.0, NAN]],
    )
    scores = method_scores(likelihoods, positive="positive", negative="negative", weight=0.5)
    assert list(scores) == ["base", "sft", "base_likra", "likra"]
    np.testing.assert_allclose(scores["likra"], [[-0.5, 0.5, -1.25], [0.5, -1.0, NAN]])
    np.testing.assert_allclose(scores["base_likra"], [[-0.5, 0.0, -1.25], [-0.5, 0.0, NAN]])
    result = Evaluation(likelihoods, weight=0.5)
    shares = {method: value.value for method, value in result.methods.items()}
    assert shares == {"base": 0.0, "sft": 0.5, "base_likra": 0.5, "likra": 1.0}
    assert result.compare("likra", "base").first_only == 2
    as_json = result.as_json()
    assert as_json["questions"] == 2 and as_json["weight"] == 0.5 and as_json["normalization"] == "raw"
    low, high = wilson(1.0, 2)
    assert as_json["methods"]["likra"] == {"accuracy": 1.0, "low": low, "high": high}


def test_roles_without_a_head_lack_its_methods() -> None:
    likelihoods = table(base=[[-1.0, -2.0, -3.0], [-2.0, -1.0, NAN]], negative=[[-1.0, -4.0, -3.5], [-3.0, -2.0, NAN]])
    assert list(method_scores(likelihoods, positive=None, negative="negative")) == ["base", "base_likra"]
    assert list(method_scores(likelihoods, positive=None, negative=None)) == ["base"]
    with pytest.raises(InputError, match="has no head 'positive'; it has base, negative"):
        method_scores(likelihoods, positive="positive", negative="negative")


def test_normalization_by_hand() -> None:
    likelihoods = table(base=[[-4.0, -4.0, -4.0], [-4.0, -4.0, NAN]])
    scores = likelihoods.head(BASE)
    np.testing.assert_allclose(normalise(scores, likelihoods, "raw"), scores)
    np.testing.assert_allclose(normalise(scores, likelihoods, "token"), [[-4, -2, -1], [-2, -4, NAN]])
    np.testing.assert_allclose(normalise(scores, likelihoods, "character"), [[-4, -2, -1], [-2, -4, NAN]])
    np.testing.assert_allclose(normalise(scores, likelihoods, "byte"), [[-2, -2, -1], [-2, -4, NAN]])  # é is 2 bytes
    with pytest.raises(InputError, match="normalization must be one of raw, token, character, byte, got 'word'"):
        normalise(scores, likelihoods, "word")


@given(
    arrays.arrays(np.float64, (3, 4), elements=st.floats(-100, 0)),
    arrays.arrays(np.float64, (3, 4), elements=st.floats(-100, 0)),
)
def test_the_ratio_at_weight_zero_is_the_positive_head_and_flips_sign(one: np.ndarray, two: np.ndarray) -> None:
    np.testing.assert_array_equal(ratio(one, two, 0.0), one)
    np.testing.assert_array_equal(ratio(one, two), -ratio(two, one))
    assert (ratio(one, one) == 0).all()


def test_accuracy_counts_questions() -> None:
    result = accuracy(np.array([1.0, 0.5, 0.0, 1.0]))
    assert (result.value, result.count) == (0.625, 4)
    assert result.low < 0.625 < result.high
