"""Intervals over seeds and questions, and paired tests, against scipy and against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from likra.scoring.bootstrap import Resampled, estimate, over_seeds, paired_p_value
from likra.scoring.estimate import Estimate


def test_one_seed_is_scipys_percentile_bootstrap() -> None:
    credit_Q = np.random.default_rng(1).binomial(1, 0.7, size=150).astype(float)
    ours = estimate(Resampled(1, 150, resamples=4000).means(credit_Q[None]))
    theirs = stats.bootstrap((credit_Q,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert ours.value == credit_Q.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_seeds_widen_the_interval_and_cover_the_truth() -> None:
    """Questions and seeds both vary: the interval covers the mean of all of them about as often as it says, or more."""
    rng = np.random.default_rng(2)
    covered, widths = 0, []
    for _ in range(150):
        logits_SQ = rng.normal(0, 1, size=(8, 1)) + rng.normal(0, 1, size=(1, 60))
        credit_SQ = (logits_SQ + rng.logistic(size=(8, 60)) > 0).astype(float)
        both = estimate(Resampled(8, 60, resamples=400).means(credit_SQ))
        covered += both.low <= 0.5 <= both.high
        alone = estimate(Resampled(1, 60, resamples=400).means(credit_SQ.mean(axis=0, keepdims=True)))
        widths.append((both.high - both.low) / (alone.high - alone.low))
    assert covered / 150 > 0.88
    assert np.mean(widths) > 1.5  # questions alone would miss what seeds differ by


def test_the_draws_are_shared_so_differences_are_paired() -> None:
    credit_SQ = np.random.default_rng(3).binomial(1, 0.6, size=(3, 80)).astype(float)
    drawn = Resampled(3, 80)
    same = estimate(drawn.means(credit_SQ) - drawn.means(credit_SQ))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    shifted = estimate(drawn.means(credit_SQ + 1) - drawn.means(credit_SQ))
    assert (shifted.value, shifted.low, shifted.high) == pytest.approx((1, 1, 1))


@given(st.lists(st.booleans(), min_size=5, max_size=30), st.integers(1, 3))
def test_questions_without_a_value_are_left_out(inside: list[bool], seeds: int) -> None:
    if not any(inside):
        return
    credit_SQ = np.random.default_rng(4).random((seeds, len(inside)))
    masked_SQ = np.where(np.array(inside), credit_SQ, np.nan)
    drawn = Resampled(seeds, len(inside), resamples=50).means(masked_SQ)
    assert drawn[0] == pytest.approx(credit_SQ[:, inside].mean())
    some = drawn[1:][~np.isnan(drawn[1:])]
    assert (some >= credit_SQ.min() - 1e-12).all() and (some <= credit_SQ.max() + 1e-12).all()


def test_an_interval_may_be_unbounded() -> None:
    found = estimate(np.array([5.0, *[4.0] * 90, *[np.inf] * 10]))
    assert (found.value, found.low, found.high) == (5, 4, np.inf)
    assert math.isnan(estimate(np.array([1.0, np.nan])).low)


def test_students_interval_over_seeds() -> None:
    values = [0.3, 0.5, 0.45, 0.7]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert over_seeds(values) == Estimate(pytest.approx(np.mean(values)), pytest.approx(low), pytest.approx(high))
    assert math.isnan(over_seeds([1.0]).low)


def test_the_paired_test_is_scipys_permutation_test() -> None:
    rng = np.random.default_rng(5)
    one = rng.binomial(1, 0.7, size=(1, 60)).astype(float)
    other = rng.binomial(1, 0.5, size=(1, 60)).astype(float)
    theirs = stats.permutation_test(
        (one[0], other[0]),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=6,
    ).pvalue
    assert paired_p_value(one, other) == pytest.approx(theirs, abs=0.01)
    assert paired_p_value(one, one) == 1.0
    assert paired_p_value(np.ones((2, 40)), np.zeros((2, 40))) < 1e-3
    with pytest.raises(ValueError, match="same questions"):
        paired_p_value(one, one[:, 1:])


def test_equal_methods_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(7)
    p_values = [paired_p_value(*rng.binomial(1, 0.6, size=(2, 3, 40)).astype(float), seed=i) for i in range(60)]
    assert np.mean(np.array(p_values) < 0.05) <= 0.15
