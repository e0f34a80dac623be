"""Questions judged in several orders of their options, against counts by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likra.data import Question
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Likelihoods
from likra.scoring.orders import EvaluationInOrders, in_orders


@given(st.integers(2, 9), st.integers(0, 8), st.integers(1, 12))
def test_every_order_is_the_question_turned(size: int, answer: int, count: int) -> None:
    question = Question("q", "?", tuple(f"choice {n}" for n in range(size)), answer % size)
    found = in_orders(question, count)
    assert found[0] == question and len({other.choices for other in found}) == len(found) == min(size, count)
    assert {other.choices[other.answer or 0] for other in found} == {question.choices[answer % size]}
    doubled = question.choices * 2
    assert all(other.choices in [doubled[n : n + size] for n in range(size)] for other in found)
    assert len(in_orders(question)) == size


def test_accuracy_and_changes_by_hand() -> None:
    """One question always answered rightly; one by its letter, so in each order otherwise; one with a tie."""
    questions = [
        Question("a", "?", ("x", "y"), 0),
        Question("b", "?", ("x", "y", "z"), 2),
        Question("c", "?", ("x", "y"), 1),
    ]
    each = [in_orders(question) for question in questions]
    rows = [question for some in each for question in some]
    base = [
        [0, -1, math.nan],
        [-1, 0, math.nan],
        [0, -1, -1],
        [0, -1, -1],
        [0, -1, -1],
        [0, 0, math.nan],
        [0, 0, math.nan],
    ]
    shape = (len(rows), 3)
    table = Likelihoods(("base",), rows, np.array([base]), np.ones(shape, int), np.zeros(shape, int))
    found = EvaluationInOrders.of(Evaluation(table, None, None), [len(some) for some in each])
    assert found.credits["base"].tolist() == pytest.approx([1, 1 / 3, 0.5])
    assert found.methods["base"].value == pytest.approx((1 + 1 / 3 + 0.5) / 3)
    assert found.changed["base"].value == pytest.approx(1 / 3) and found.changed["base"].count == 3
    json = found.as_json()
    assert json["questions"] == 3 and json["orders"]["most"] == 3
    assert json["orders"]["changed"]["base"]["value"] == pytest.approx(1 / 3)


def test_an_answer_is_its_text_not_its_letter() -> None:
    rows = in_orders(Question("a", "?", ("x", "y", "x "), 1))
    base = np.array([[[0, -1, -9], [-1, -9, 0], [0, -9, -1]]], dtype=float)  # one copy of x, then the other
    table = Likelihoods(("base",), rows, base, np.ones((3, 3), int), np.zeros((3, 3), int))
    found = EvaluationInOrders.of(Evaluation(table, None, None), [3])
    assert found.changed["base"].value == 0 and found.credits["base"].tolist() == [0]
