"""Reading gains, their interval, and the controls of an evaluation: formulas worked by hand, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multinomial

from likra.data import Prompter, Question
from likra.errors import InputError
from likra.scoring.accuracy import accuracy
from likra.scoring.controls import Answers, Controls
from likra.scoring.evaluation import Evaluation
from likra.scoring.judge import Judge
from likra.scoring.likelihoods import Likelihoods
from likra.scoring.paired import paired_difference

CREDIT = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0])


@given(
    first_only=st.integers(0, 60), second_only=st.integers(0, 60), both=st.integers(0, 60), neither=st.integers(0, 60)
)
def test_the_interval_is_bonett_and_prices(first_only: int, second_only: int, both: int, neither: int) -> None:
    """Their equation, in counts: p1 = (n12 + 1) / (n + 2), p2 = (n21 + 1) / (n + 2)."""
    count = first_only + second_only + both + neither
    if not count:
        return
    first_Q = np.array([1.0] * first_only + [0.0] * second_only + [1.0] * both + [0.0] * neither)
    second_Q = np.array([0.0] * first_only + [1.0] * second_only + [1.0] * both + [0.0] * neither)
    p1, p2 = (first_only + 1) / (count + 2), (second_only + 1) / (count + 2)
    half = 1.959964 * math.sqrt((p1 + p2 - (p1 - p2) ** 2) / (count + 2))
    found = paired_difference(first_Q, second_Q)
    assert found.value == pytest.approx((first_only - second_only) / count) and found.count == count
    assert found.low == pytest.approx(max(-1, p1 - p2 - half), abs=1e-6)
    assert found.high == pytest.approx(min(1, p1 - p2 + half), abs=1e-6)


@given(st.lists(st.tuples(CREDIT, CREDIT), min_size=1, max_size=50))
def test_the_interval_holds_its_value_and_turns_with_the_methods(pairs: list[tuple[float, float]]) -> None:
    first_Q, second_Q = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    found, turned = paired_difference(first_Q, second_Q), paired_difference(second_Q, first_Q)
    assert -1 <= found.low <= found.value <= found.high <= 1 and found.low < found.high
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("count", [8, 20, 60])
@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.3, 0.05), (0.02, 0.0), (0.5, 0.2)])
def test_the_interval_covers_the_truth(count: int, shares: tuple[float, float]) -> None:
    """The exact probability, over all outcomes, that it holds the difference of two methods."""
    first, second = shares
    covered = 0.0
    for better in range(count + 1):
        for worse in range(count + 1 - better):
            first_Q, second_Q = np.zeros(count), np.zeros(count)
            first_Q[:better], second_Q[better : better + worse] = 1, 1
            found = paired_difference(first_Q, second_Q)
            if found.low <= first - second <= found.high:
                outcome = [better, worse, count - better - worse]
                covered += multinomial.pmf(outcome, count, [first, second, 1 - first - second])
    assert covered > 0.93


def test_both_must_have_answered_the_same_questions() -> None:
    with pytest.raises(ValueError, match="the same questions"):
        paired_difference(np.ones(2), np.ones(3))


#: Two questions that are asked, and then blind and shuffled; the right answers are 1 and 0. Copies count once.
QUESTIONS = [Question("a", "Which gas?", ("no", "yes", "no "), 1), Question("b", "Which metal?", ("dd", "e"), 0)]


def table(base: list[list[float]], negative: list[list[float]]) -> Likelihoods:
    return Likelihoods(
        ("base", "negative"), QUESTIONS, np.array([base, negative]), np.ones((2, 3), int), np.zeros((2, 3), int)
    )


NAN = math.nan
OWN = table([[-2, -1, -2], [-1, -2, NAN]], [[-1, -1, -1], [-2, -1, NAN]])  # both right, by both methods
BLIND = table([[-1, -2, -1], [-1, -1, NAN]], [[-1, -1, -1], [-2, -1, NAN]])  # wrong and a tie, then wrong and right
SHUFFLED = table([[-1, -2, -1], [-2, -1, NAN]], [[-9, -1, -9], [-2, -1, NAN]])


def test_the_controls_of_an_evaluation_by_hand() -> None:
    controls = Controls({"blind": BLIND, "shuffled": SHUFFLED}, Answers(["yes", "dd"], ["no", "e"], "here"))
    result = Evaluation(OWN, None, "negative", controls=controls)
    assert result.chance == 1 / 2  # copies are one answer
    assert {method: value.value for method, value in result.methods.items()} == {"base": 1.0, "base_likra": 1.0}
    found = result.as_json()
    half, none = (accuracy(np.array(credit)).as_accuracy() for credit in ([0.0, 1.0], [0.0, 0.0]))
    assert found["controls"] == {
        "blind": {"base": accuracy(np.array([0.0, 0.5])).as_accuracy(), "base_likra": half},
        "shuffled": {"base": none, "base_likra": accuracy(np.array([0.0, 0.5])).as_accuracy()},
        "shallow": accuracy(np.ones(2)).as_accuracy(),
    }
    gain = paired_difference(np.ones(2), np.array([0.0, 0.5]))
    assert gain.value == 0.75
    assert found["reading_gain"]["base"] == {"value": 0.75, "low": gain.low, "high": gain.high}
    assert found["reading_gain"]["base_likra"]["value"] == 0.5
    # Weight and normalization are those of the evaluation.
    weightless = Evaluation(OWN, None, "negative", weight=0.0, controls=controls).controlled["blind"]
    assert weightless.methods["base_likra"] == weightless.methods["base"]


def test_without_controls_nothing_is_added() -> None:
    plain = Evaluation(OWN, None, "negative")
    assert plain.controlled == {} and plain.reading_gain == {} and plain.shallow is None
    assert not {"controls", "reading_gain"} & plain.as_json().keys()
    nothing = Evaluation(OWN, None, "negative", controls=Controls({"blind": BLIND}, Answers((), (), "none")))
    assert nothing.shallow is None and list(nothing.as_json()["controls"]) == ["blind"]


def test_nothing_is_read_where_there_can_be_no_controls() -> None:
    judge, read = Judge(("negative",), 1.0, "empty", None), pytest.fail
    for questions, style in ((QUESTIONS, "empty"), (QUESTIONS, "cloze"), (QUESTIONS[:1], "qa"), ([], "qa")):
        with pytest.raises(InputError):
            judge.evaluate(questions, Prompter(style), read, answers=Answers((), (), "none"))  # type: ignore[arg-type]
