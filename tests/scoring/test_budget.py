"""Thresholds and promises against scipy's exact tests, counts by hand, and draws whose error is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from likra.errors import InputError
from likra.hub.calibration_file import read_calibration, write_calibration
from likra.scoring import calibrate, clopper_pearson
from likra.scoring.budget import Automated, Automation, choose
from likra.scoring.promise import check

BUDGET = 0.05


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Decisions whose confidence is the probability that they are right."""
    confidence = rng.beta(6, 0.8, size=count)
    return confidence, (rng.random(count) < confidence).astype(float)


#: A hundred thousand confidences, and the share of wrong ones among those from each on.
_MANY = np.sort(np.random.default_rng(1).beta(6, 0.8, size=100_000))
_ERROR = 1 - np.cumsum(_MANY[::-1])[::-1] / np.arange(len(_MANY), 0, -1)


def true_error(threshold: float) -> float:
    """The share of wrong ones among such decisions."""
    return float(_ERROR[np.searchsorted(_MANY, threshold)])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 60), st.integers(1, 60))
def test_the_exact_interval_is_scipys(wrong: int, more: int) -> None:
    count = wrong + more
    found = binomtest(wrong, count).proportion_ci(method="exact")
    assert clopper_pearson(wrong / count, count) == pytest.approx((found.low, found.high), abs=1e-9)
    assert clopper_pearson(1.0, count)[1] == 1


def test_a_threshold_by_hand() -> None:
    # 30 right, one wrong, 9 right: (1 + 1) / (40 + 1) is within 5%, (1 + 1) / (31 + 1) is not.
    credit = np.array([1.0] * 30 + [0.0] + [1.0] * 9)
    confidence = np.linspace(0.99, 0.6, 40)
    whole = choose(confidence, credit, BUDGET).average
    assert whole and whole.threshold == confidence[-1] and whole.error.value == pytest.approx(1 / 40)
    part = choose(confidence[:31], credit[:31], BUDGET).average
    assert part and part.threshold == confidence[29] and (part.error.value, part.error.count) == (0, 30)
    assert (part.share.low, part.share.high) == pytest.approx(
        tuple(binomtest(30, 31).proportion_ci(method="exact")), abs=1e-9
    )
    few = choose(confidence[:18], credit[:18], BUDGET)
    assert few.average is None and "19 decisions without an error" in few.sentences[0]


def test_certainty_takes_59_faultless_decisions_at_5_percent() -> None:
    for count in (58, 59):
        found = choose(np.linspace(1, 0.5, count), np.ones(count), BUDGET)
        assert (found.sure is not None) == (count == 59)
        assert found.average is not None
    assert "95% certainty within the budget" in found.sentences[1]
    # The next wrong one ends the sequence: later passes do not count.
    late = choose(np.linspace(1, 0.5, 300), np.array([1.0] * 60 + [0.0] + [1.0] * 239), BUDGET)
    assert late.sure and late.sure.error.count == 60
    assert late.average and late.average.error.count == 300


def test_equally_sure_decisions_are_automated_together() -> None:
    confidence, credit = np.repeat([0.9, 0.8], [19, 21]), np.ones(40)
    credit[-3:] = 0
    found = choose(confidence, credit, BUDGET).average
    assert found and found.threshold == 0.9 and found.error.count == 19
    credit[18] = 0
    assert choose(confidence, credit, BUDGET).average is None


def test_the_error_is_within_the_budget_on_average_and_certainty_is_certainty() -> None:
    rng = np.random.default_rng(0)
    means, shares, excess = [], [], 0
    draws = 300
    for _ in range(draws):
        found = choose(*drawn(rng, 150), BUDGET)
        means.append(true_error(found.average.threshold) if found.average else 0.0)
        shares.append(found.average.share.value if found.average else 0.0)
        excess += found.sure is not None and true_error(found.sure.threshold) > BUDGET
    assert np.mean(means) <= BUDGET
    assert np.mean(shares) > 0.4  # the best threshold automates 0.65
    assert excess / draws <= 0.05


def test_decisions_that_depend_on_each_other_count_less() -> None:
    rng = np.random.default_rng(2)
    confidence, credit = np.repeat(rng.uniform(0.5, 1, 30), 4), np.ones(120)
    alone, together = choose(confidence, credit, BUDGET), choose(confidence, credit, BUDGET, np.repeat(range(30), 4))
    assert alone.sure and not together.sure
    assert together.average and together.average.independent == 30
    assert together.average.error.high == pytest.approx(binomtest(0, 30).proportion_ci(method="exact").high)
    # Every decision once more tells nothing new.
    twice = choose(np.tile(confidence[::4], 2), np.ones(60), BUDGET, [*range(30), *range(30)])
    assert twice.average and twice.average.independent == 30


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.integers(0, 40), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_check_is_the_exact_binomial_test(right: int, wrong: int, budget: float) -> None:
    count = right + wrong
    confidence = np.full(count + 5, 0.9)
    confidence[-5:] = 0.1  # not automated, whatever they are
    found = check(0.8, confidence, np.repeat([1.0, 0.0], [right, wrong + 5]), budget)
    assert found.p_value == pytest.approx(binomtest(wrong, count, budget, alternative="greater").pvalue)
    assert found.holds == (found.p_value > 0.05)
    assert found.automated.error.value == pytest.approx(wrong / count)


def test_the_power_of_a_check_is_that_of_its_test() -> None:
    rng = np.random.default_rng(0)
    found = check(0.8, np.full(100, 0.9), np.ones(100), BUDGET)
    caught = [not check(0.8, np.full(100, 0.9), 1.0 - (rng.random(100) < 0.1), BUDGET).holds for _ in range(300)]
    assert np.mean(caught) == pytest.approx(found.power, abs=0.09)


def test_too_few_decisions_to_tell_are_no_broken_promise() -> None:
    for count in (0, 1, 20):
        found = check(0.8, np.repeat([0.9, 0.1], [count, 5]), np.ones(count + 5), BUDGET)
        assert found.holds and not found.enough and "Too few to tell" in found.sentence
    assert json.loads(json.dumps(check(0.8, np.array([0.1]), np.ones(1), BUDGET).as_json()))["error"] is None
    assert check(0.8, np.full(100, 0.9), np.ones(100), BUDGET).enough


@pytest.mark.parametrize("budget", [0, 1, 5, -0.1, math.nan])
def test_a_budget_is_a_share(budget: float) -> None:
    with pytest.raises(InputError, match="error_budget must be a share above 0 and below 1"):
        choose(np.array([0.9]), np.array([1.0]), budget)


def test_confidences_are_probabilities() -> None:
    for wrong in (math.nan, 1.5):
        with pytest.raises(InputError, match="must be probabilities"):
            choose(np.array([0.9, wrong]), np.ones(2), BUDGET)
    with pytest.raises(InputError, match="no decisions"):
        choose(np.array([]), np.array([]), BUDGET)


def test_what_is_automated_is_kept_with_the_calibration(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 4)) + 12 * np.eye(4)[np.arange(300) % 4]
    record = calibrate(scores, np.arange(300) % 4, "plain", weight=1.0, normalization="raw", error_budget=BUDGET)
    assert record.automation and record.automation.average and record.automation.sure
    for at in (record.automation.average, record.automation.sure):  # which are among the points of the curve
        assert (at.threshold, at.share.value, pytest.approx(at.error.value)) in record.risk_coverage
    write_calibration(record, tmp_path)
    assert read_calibration(tmp_path) == record
    path = tmp_path / "calibration.json"
    fields = json.loads(path.read_text())
    fields["automation"]["average"]["threshold"] = 7
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match="is damaged"):
        read_calibration(tmp_path)
    # Without a budget, and in older files, there is none.
    plain = calibrate(scores, np.arange(300) % 4, "plain", weight=1.0, normalization="raw")
    write_calibration(plain, tmp_path)
    assert read_calibration(tmp_path) == plain and plain.automation is None
    fields = json.loads(path.read_text())
    del fields["automation"]
    path.write_text(json.dumps(fields))
    assert read_calibration(tmp_path) == plain


def test_scores_as_they_are_where_a_fit_is_no_better() -> None:
    rng = np.random.default_rng(0)
    answers = np.arange(300) % 4
    sure = rng.normal(size=(300, 4)) + 12 * np.eye(4)[answers]
    how = {"weight": 1.0, "normalization": "raw"}
    assert not calibrate(sure, answers, "temperature", **how).helps
    taken = calibrate(sure, answers, "temperature", **how, error_budget=BUDGET)
    assert taken.helps and taken.calibration.is_plain and taken.automation and taken.automation.average
    # Scores that claim too much are fitted.
    unsure = 20 * rng.normal(size=(300, 4)) + 12 * np.eye(4)[answers]
    assert not calibrate(unsure, answers, "temperature", **how, error_budget=BUDGET).calibration.is_plain


def test_nothing_automated_is_kept_too() -> None:
    found = choose(np.array([0.9, 0.8]), np.array([1.0, 0.0]), BUDGET)
    assert Automation.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert Automated.of(0.95, np.array([0.9]), np.array([1.0])).error.count == 0
