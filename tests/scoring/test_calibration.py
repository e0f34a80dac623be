"""Calibration against scikit-learn's logistic regression, bins counted by hand, and properties."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression

from likra.errors import InputError
from likra.hub.calibration_file import read_calibration, write_calibration
from likra.scoring import (
    Calibration,
    calibrate,
    chance_error,
    confidence,
    cross_fitted,
    expected_calibration_error,
    fit,
    risk_coverage,
    risks,
    softmax,
)
from likra.scoring.bootstrap import Resampled
from likra.scoring.coverage import curve
from likra.utils.locations import CALIBRATION

NAN = math.nan
unit = st.floats(0, 1)


def drawn(temperature: float, questions: int = 4000, choices: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose softmax at `temperature` is the true probability of each choice."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(questions, choices)) * 8
    truth = softmax(scores / temperature)
    answers = np.array([rng.choice(choices, p=p) for p in truth])
    return scores, answers


@pytest.mark.parametrize("temperature", [2.0, 4.0, 20.0])
def test_the_temperature_that_made_the_answers_is_found(temperature: float) -> None:
    found = fit(*drawn(temperature))
    assert found.temperature == pytest.approx(temperature, rel=0.1)


def test_with_two_choices_the_temperature_is_that_of_logistic_regression() -> None:
    scores, answers = drawn(5.0, questions=300, choices=2)
    difference = (scores[:, 1] - scores[:, 0])[:, None]
    # Platt's targets: each answer as it is, and with a weight of 1 / (N + 2) the other way round.
    doubt = 1 / (300 + 2)
    slope = (
        LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10)
        .fit(
            np.concatenate([difference, difference]),
            np.concatenate([answers, 1 - answers]),
            np.repeat([1 - doubt, doubt], 300),
        )
        .coef_[0, 0]
    )
    assert fit(scores, answers).temperature == pytest.approx(1 / slope, rel=1e-3)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_lowers_the_error_on_questions_it_was_not_fitted_to(method: str) -> None:
    scores, answers = drawn(10.0)
    right = (scores.argmax(1) == answers).astype(float)
    errors = [
        expected_calibration_error(confidence(p, scores), right)
        for p in (softmax(scores), cross_fitted(scores, answers, method))
    ]
    assert errors[0] > 0.15 and errors[1] < 0.04


def test_isotonic_mends_what_no_temperature_can() -> None:
    # Confidence says nothing: 70% are right, however far the best choice is ahead.
    rng = np.random.default_rng(1)
    scores = np.stack([rng.uniform(0.1, 9, 4000), np.zeros(4000)], axis=1)
    answers = (rng.random(4000) > 0.7).astype(int)
    right = 1.0 - answers
    error = {
        method: expected_calibration_error(confidence(cross_fitted(scores, answers, method), scores), right)
        for method in ("temperature", "isotonic")
    }
    assert error["isotonic"] < 0.03 < 0.06 < error["temperature"]


@given(
    arrays.arrays(float, (5, 3), elements=st.floats(-50, 50)),
    st.sampled_from(["temperature", "isotonic"]),
    st.permutations([0, 1, 2]),
)
def test_probabilities_add_up_and_follow_their_choices(scores: np.ndarray, method: str, order: list[int]) -> None:
    answers = np.array([0, 1, 2, 0, 1])
    found = fit(scores, answers, method)
    probabilities = found.probabilities(scores)
    assert np.allclose(probabilities.sum(1), 1) and (probabilities >= 0).all()
    assert np.allclose(found.probabilities(scores[:, order]), probabilities[:, order], atol=1e-9)


def test_missing_choices_stay_missing() -> None:
    scores = np.array([[1.0, 2.0, NAN], [0.0, 1.0, 5.0]] * 5)
    for method in ("temperature", "isotonic"):
        probabilities = fit(scores, np.array([1, 2] * 5), method).probabilities(scores)
        assert (np.isnan(probabilities) == np.isnan(scores)).all()
        assert np.allclose(np.nansum(probabilities, 1), 1)


def test_a_few_right_answers_make_none_certain() -> None:
    scores = np.array([[5.0, 0.0, NAN], [3.0, 0.0, -1.0]] * 5)
    sure = confidence(fit(scores, np.zeros(10, dtype=int)).probabilities(scores), scores)
    assert ((sure > 0.75) & (sure < 0.995)).all()
    lone = np.array([[2.0, NAN], [1.0, 0.0]])
    assert fit(lone, np.zeros(2, dtype=int)).probabilities(lone)[0, 0] == 1


def test_isotonic_claims_no_certainty_either() -> None:
    scores = np.array([[5.0, 0.0], [3.0, 0.0]] * 5)
    sure = confidence(fit(scores, np.zeros(10, dtype=int), "isotonic").probabilities(scores), scores)
    assert (sure < 0.95).all()


def test_where_no_score_says_anything_none_is_sure() -> None:
    tied = fit(np.zeros((10, 3)), np.zeros(10, dtype=int))
    assert tied.probabilities(np.array([[0.5, 0.0, 0.0]]))[0] == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_a_calibration_is_of_its_own_scores_only() -> None:
    own = Calibration("temperature", 1.0, "raw", 1.0, shots=2)
    assert own.of(1.0, "raw", 2)
    assert not own.of(1.0, "raw") and not own.of(0.5, "raw", 2) and not own.of(1.0, "token", 2)


def test_where_all_choices_look_wrong_none_is_favoured() -> None:
    hopeless = Calibration("isotonic", 1, "raw", 1.0, ((0.0, 0.0), (1.0, 0.0)))
    assert hopeless.probabilities(np.array([[3.0, 1.0, NAN]]))[0, :2].tolist() == [0.5, 0.5]


def test_the_error_by_hand() -> None:
    # Bins (0, 1/2] and (1/2, 1]: |(.2 + .5) - 1| and |(.6 + .9 + 1) - 2|, over five answers.
    sure, right = np.array([0.2, 0.5, 0.6, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert expected_calibration_error(sure, right, bins=2) == pytest.approx((0.3 + 0.5) / 5)
    assert expected_calibration_error(np.array([0.0]), np.array([0.0])) == 0


def test_the_error_by_chance_falls_with_the_number_of_answers() -> None:
    # One bin: |mean of n coins - p| is sqrt(2 p (1 - p) / (pi n)) on average.
    for count in (100, 1600):
        expected = math.sqrt(2 * 0.7 * 0.3 / (math.pi * count))
        assert chance_error(np.full(count, 0.7), draws=2000) == pytest.approx(expected, rel=0.1)
    assert chance_error(np.ones(5)) == 0


def test_risk_and_coverage_by_hand() -> None:
    sure, right = np.array([0.9, 0.5, 0.7, 0.5]), np.array([1.0, 1.0, 0.0, 0.0])
    coverage, risk = risk_coverage(sure, right)
    assert coverage.tolist() == [0.25, 0.5, 1.0]  # the two that are equally sure come together
    assert risk.tolist() == [0.0, 0.5, 0.5]
    drawn = Resampled(1, 4, resamples=300)
    found = risks(sure[None], right[None], [0.25, 0.3, 0.6, 1.0], drawn)
    assert found[0].tolist() == [0.0, 0.5, 0.5, 0.5]
    # At full coverage it is the mean of the wrong answers, resample by resample.
    assert found[:, 3] == pytest.approx(drawn.means(1 - right[None]))
    # One resample by hand: a question that is drawn twice is two questions.
    [_, (_, weights)] = [one for one, _ in zip(drawn.weights(), range(2), strict=False)]
    for row, counts in enumerate(weights.astype(int)[:20], start=1):
        again = np.repeat(np.arange(4), counts)
        coverage, risk = risk_coverage(sure[again], right[again])
        assert found[row, 2] == pytest.approx(risk[np.flatnonzero(coverage >= 0.6 - 1e-9)[0]])


@given(st.lists(st.tuples(unit, st.booleans()), min_size=1, max_size=60))
def test_at_full_coverage_the_risk_is_the_share_of_wrong_answers(answers: list[tuple[float, bool]]) -> None:
    sure, right = np.array([a for a, _ in answers]), np.array([float(b) for _, b in answers])
    coverage, risk = risk_coverage(sure, right)
    assert coverage[-1] == 1 and risk[-1] == pytest.approx(1 - right.mean())
    assert (np.diff(coverage) > 0).all()
    assert 0 <= expected_calibration_error(sure, right) <= 1


@given(st.lists(st.tuples(unit, st.booleans()), min_size=1, max_size=60), st.integers(2, 70))
def test_a_curve_says_what_is_given_and_what_of_it_is_wrong(answers: list[tuple[float, bool]], most: int) -> None:
    sure, right = np.array([a for a, _ in answers]), np.array([float(b) for _, b in answers])
    points = curve(sure, right, keep=[sure[0], 2.0], most=most)
    thresholds = [threshold for threshold, _, _ in points]
    assert thresholds == sorted(set(thresholds), reverse=True) and {max(sure), min(sure), sure[0]} <= set(thresholds)
    assert len(points) <= most + 1 and (len(set(sure)) > most or len(points) == len(set(sure)))
    for threshold, coverage, risk in points:
        given_right = right[sure >= threshold]
        assert coverage == pytest.approx(len(given_right) / len(sure)) and risk == pytest.approx(1 - given_right.mean())


def test_a_long_curve_is_kept_in_equal_steps_of_coverage() -> None:
    sure = np.random.default_rng(0).random(3000)
    points = curve(sure, np.ones(3000))
    assert len(points) == 200
    assert np.diff([coverage for _, coverage, _ in points]).max() <= 1 / 199 + 1 / 3000 + 1e-9


def test_the_curve_of_a_calibration_is_kept_and_is_that_of_probabilities_out_of_fold(tmp_path: Path) -> None:
    scores, answers = drawn(3.0, questions=60)
    kept = calibrate(scores, answers, "temperature", weight=1.0, normalization="raw")
    sure = cross_fitted(scores, answers, "temperature").max(axis=1)
    right = scores.argmax(axis=1) == answers
    for threshold, coverage, risk in kept.risk_coverage:
        assert coverage == pytest.approx((sure >= threshold).mean())
        assert risk == pytest.approx(1 - right[sure >= threshold].mean())
    assert len(kept.risk_coverage) == len(set(sure))
    # Older files have none; what is no share is refused.
    write_calibration(kept, tmp_path)
    path = tmp_path / CALIBRATION
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in fields.items() if name != "risk_coverage"}))
    older = read_calibration(tmp_path)
    assert older and older.risk_coverage == () and older.calibration == kept.calibration
    for damage in ([[0.9, 0.5, 1.5]], [[0.9, 0.5]], [[math.nan, 0.5, 0.5]], 7):
        path.write_text(json.dumps(fields | {"risk_coverage": damage}))
        with pytest.raises(InputError, match="is damaged"):
            read_calibration(tmp_path)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    scores, answers = drawn(3.0, questions=100)
    for method in ("temperature", "isotonic"):
        kept = calibrate(scores, answers, method, weight=0.5, normalization="token", data="quiz", split="test")
        write_calibration(kept, tmp_path)
        assert read_calibration(tmp_path) == kept
    assert read_calibration(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    "damage", [{"temperature": 0}, {"temperature": "hot"}, {"method": "magic"}, {"steps": [[1]]}, {"extra": 1}]
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    write_calibration(calibrate(*drawn(3.0, 50), "temperature", weight=1, normalization="raw"), tmp_path)
    kept = json.loads((tmp_path / CALIBRATION).read_text())
    kept["calibration"] |= damage
    (tmp_path / CALIBRATION).write_text(json.dumps(kept))
    with pytest.raises(InputError, match="calibrate again"):
        read_calibration(tmp_path)


def test_what_cannot_be_calibrated_is_refused() -> None:
    scores = np.zeros((3, 2))
    with pytest.raises(InputError, match="right answer"):
        fit(scores, np.array([0, -1, 1]))
    with pytest.raises(InputError, match="at least 5"):
        cross_fitted(scores, np.array([0, 1, 1]), "temperature")
    with pytest.raises(InputError, match="must be one of"):
        fit(scores, np.array([0, 1, 1]), "magic")
