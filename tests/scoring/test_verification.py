"""Verification of lone candidates: numbers against scikit-learn, intervals over prompts, P(right)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import average_precision_score, roc_auc_score

from likra.data.question import Question
from likra.errors import InputError
from likra.scoring import Scoring
from likra.scoring.accuracy import wilson
from likra.scoring.calibration import PLATT, Calibration, fit_lone
from likra.scoring.calibration_error import calibrate, expected_calibration_error
from likra.scoring.judge import Judge
from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE, Likelihoods
from likra.scoring.lone_calibration import calibrate_lone_on
from likra.scoring.ranking import OverPrompts, best_threshold, calibration_errors, ranking
from likra.scoring.verification import Verification


def table(scores: np.ndarray, right: np.ndarray, prompts: np.ndarray | None = None) -> Likelihoods:
    """Records whose ratio is `scores`: the positive head says it, the negative head and the base say 0."""
    texts = prompts if prompts is not None else np.arange(len(scores))
    questions = [Question(f"{n}", f"prompt {p}", (" answer",)) for n, p in enumerate(texts)]
    logprob = np.stack([0 * scores, scores, 0 * scores])[:, :, None]
    ones = np.ones((len(scores), 1), dtype=int)
    meta = {"labels": [bool(one) for one in right], "style": "qa"}
    return Likelihoods((BASE, POSITIVE, NEGATIVE), questions, logprob, ones, 0 * ones, meta)


def verification(scores: np.ndarray, right: np.ndarray, prompts: np.ndarray | None = None) -> Verification:
    own = table(scores, right, prompts)
    alone = Likelihoods(own.heads, own.questions, own.logprob_HQC - 1, own.tokens_QC, own.cut_QC, own.meta)
    return Verification(own, alone)


def drawn(count: int, slope: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and labels of which P(right) is the logistic function of `slope` times the score."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 3, count)
    return scores, (rng.random(count) < 1 / (1 + np.exp(-slope * scores))).astype(float)


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 30), st.integers(0, 1000))
def test_ranking_is_scikit_learns_with_weights_and_ties(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, right = rng.integers(0, 6, count).astype(float), np.r_[0.0, 1.0, rng.integers(0, 2, count - 2)]
    weights = np.stack([np.ones(count), rng.integers(0, 3, count)])
    weights[1, :2] += 1  # both kinds are there
    area, precision = ranking(scores, right, weights)
    for row, own in enumerate(weights):
        assert area[row] == pytest.approx(roc_auc_score(right, scores, sample_weight=own))
        assert precision[row] == pytest.approx(average_precision_score(right, scores, sample_weight=own))


def test_a_draw_of_one_kind_says_nothing() -> None:
    area, precision = ranking(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert area[0] == precision[0] == 1 and np.isnan(area[1]) and np.isnan(precision[1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=12))
def test_the_threshold_is_the_best_there_is(records: list[tuple[int, bool]]) -> None:
    scores, right = (np.array(values, dtype=float) for values in zip(*records, strict=True))
    best = max(((scores >= cut) == right).mean() for cut in np.arange(-5, 6) + 0.5)
    assert ((scores >= best_threshold(scores, right)) == right).mean() == best


def test_the_calibration_error_is_the_usual_one() -> None:
    probability, right = np.random.default_rng(0).random(200), drawn(200, 1)[1]
    [found] = calibration_errors(probability, right, np.ones((1, 200)))
    assert found == pytest.approx(expected_calibration_error(probability, right))
    estimate = OverPrompts(np.arange(200)).calibration_error(probability, right)
    assert estimate.low <= estimate.value <= estimate.high


def test_intervals_are_over_prompts() -> None:
    scores, right = drawn(60, 0.3)
    once = verification(scores, right).methods["likra"]
    # Four copies of each record, in its prompt, are no more data; as prompts of their own they would be.
    four = [np.repeat(values, 4) for values in (scores, right, np.arange(60))]
    same, apart = verification(*four), verification(*four[:2])
    for name in ("auroc", "average_precision"):
        own, other, narrow = (getattr(one, name) for one in (once, same.methods["likra"], apart.methods["likra"]))
        assert (own.value, own.low, own.high) == pytest.approx((other.value, other.low, other.high))
        assert narrow.high - narrow.low < 0.7 * (own.high - own.low)
    assert (same.count, same.prompts) == (240, 60)


def test_the_interval_of_an_auroc_holds_the_truth() -> None:
    truth = roc_auc_score(*reversed(drawn(200_000, 0.4)))
    inside = 0
    for seed in range(60):
        scores, right = drawn(80, 0.4, seed + 1)
        found = OverPrompts(np.arange(80))
        estimate = found.share(found.ranking(scores, right)[0])
        inside += estimate.low <= truth <= estimate.high
    assert inside >= 52  # of 57 expected


def test_what_is_always_right_has_a_width_too() -> None:
    right = np.tile([1.0, 0.0], 10)
    found = verification(right, right, np.repeat(np.arange(10), 2)).methods["likra"].auroc
    assert (found.value, found.low, found.high) == (1.0, *wilson(1.0, 10))


def test_a_prompt_of_one_kind_counts_and_records_of_one_kind_are_refused() -> None:
    scores, prompts = np.array([3.0, 2.0, 1.0, 0.0]), np.array([0, 0, 1, 1])
    assert verification(scores, np.array([1.0, 1.0, 0.0, 0.0]), prompts).methods["likra"].auroc.value == 1
    with pytest.raises(InputError, match="4 records that are judged are all right"):
        _ = verification(scores, np.ones(4), prompts).methods


def test_pmi_is_left_out_where_there_are_no_prompts() -> None:
    found = verification(*drawn(20, 1))
    assert list(found.methods) == ["base", "pmi", "sft", "base_likra", "likra"]
    assert "pmi" not in Verification(found.likelihoods, found.likelihoods).methods


def test_thresholds_come_from_training_records_or_the_calibration() -> None:
    judged = verification(*drawn(50, 1))
    assert judged.thresholds == {} and judged.methods["likra"].accuracy is None and not judged.threshold_of
    train = verification(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    both = Verification(judged.likelihoods, judged.alone, reference=train)
    assert both.thresholds["likra"] == both.thresholds["sft"] == 1.5 and "4 training records" in both.threshold_of
    scores, right = drawn(50, 1)
    accuracy = both.methods["likra"].accuracy
    assert accuracy is not None and accuracy.value == ((scores >= 1.5) == right).mean()
    calibrated = Verification(
        judged.likelihoods, judged.alone, calibration=Calibration(PLATT, 1.0, "raw", 2.0, bias=-0.5)
    )
    assert calibrated.thresholds == {"likra": 1.0} and "1/2" in calibrated.threshold_of
    assert calibrated.methods["likra"].brier is not None and calibrated.methods["sft"].brier is None
    # By hand: P(right) is at least 0.8 from the score 2 (log 4 + 0.5) on.
    sure = scores >= 2 * (np.log(4) + 0.5)
    share, precision = calibrated.accepted(0.8)
    assert share == sure.mean() and precision is not None and precision.value == right[sure].mean()


def test_platt_scaling_has_the_highest_likelihood() -> None:
    scores, right = drawn(300, 0.5)
    found = fit_lone(scores, right)
    target = np.where(right > 0, (right.sum() + 1) / (right.sum() + 2), 1 / ((1 - right).sum() + 2))

    def surprise(line: np.ndarray) -> float:
        logit = line[0] * scores + line[1]
        return float((np.logaddexp(0, logit) - target * logit).sum())

    slope, bias = minimize(surprise, np.array([1.0, 0.0])).x
    assert 1 / found.temperature == pytest.approx(slope, rel=1e-3) and found.bias == pytest.approx(bias, abs=1e-3)
    assert found.probabilities(np.array([found.even])) == pytest.approx(0.5)


def test_scores_that_mislead_are_not_looked_at() -> None:
    scores, right = drawn(100, 1)
    probability = fit_lone(-scores, right).probabilities(-scores)
    assert probability == pytest.approx(right.mean(), abs=0.03)
    with pytest.raises(InputError, match="needs right and wrong ones"):
        fit_lone(scores, np.ones(100))


def test_a_lone_calibration_is_kept_only_if_it_helps() -> None:
    scores, right = drawn(600, 1)
    overconfident = calibrate_lone_on(verification(5 * scores, right))
    assert overconfident.helps and overconfident.calibration.temperature == pytest.approx(5, rel=0.3)
    assert overconfident.questions == 600 and overconfident.before > 0.05 > overconfident.after
    # What says nothing is not kept, taken as it is neither; nor a fit to what was right already, but that as it is.
    noise = np.random.default_rng(1).permutation(right)
    assert all(not calibrate_lone_on(verification(scores, noise), how).helps for how in ("temperature", "plain"))
    # Scores that say all and claim nothing: their probabilities lie near the share of right ones, without an error.
    timid = calibrate_lone_on(verification(0.001 * scores, right))
    assert timid.helps and timid.before < timid.after
    plain = calibrate_lone_on(verification(scores, right), "plain")
    assert plain.helps and plain.calibration.is_plain and plain.before == plain.after
    with pytest.raises(InputError, match="4 prompts are too few"):
        calibrate_lone_on(verification(scores, right, np.arange(600) % 4))
    with pytest.raises(InputError, match="too few right or too few wrong"):
        calibrate_lone_on(verification(scores, (np.arange(600) < 1).astype(float)))


def test_a_calibration_of_choices_is_kept_only_if_it_helps() -> None:
    how = {"weight": 1.0, "normalization": "raw"}
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (400, 3))
    answers = np.array([rng.choice(3, p=np.exp(s) / np.exp(s).sum()) for s in scores])
    assert calibrate(4 * scores, answers, "temperature", **how).helps
    assert not calibrate(scores, rng.permutation(answers), "temperature", **how).helps
    plain = calibrate(scores, answers, "plain", **how)
    assert plain.helps and plain.calibration.temperature == 1
    assert calibrate(0.001 * scores, answers, "temperature", **how).helps
    # On some of these few, drawn so, the fitted one is worse than the scores as they are.
    parts = [slice(start, start + 10) for start in range(0, 400, 10)]
    few = [calibrate(scores[part], answers[part], "temperature", **how) for part in parts]
    worse = [found for found in few if found.briers and found.briers[1] >= found.briers[0]]
    assert worse and not any(found.helps for found in worse)


def test_lone_candidates_have_a_probability_and_can_be_withheld() -> None:
    scores, right = drawn(200, 1)
    record = calibrate_lone_on(verification(5 * scores, right))
    judge = Judge((POSITIVE, NEGATIVE), 1.0, "qa", None, record)
    lone = table(np.array([2.0]), np.array([1.0]))
    [[candidate]] = judge.candidates(lone)
    fitted = record.calibration
    expected = 1 / (1 + np.exp(-2 / fitted.temperature - fitted.bias))
    assert candidate.probability == pytest.approx(expected) and not candidate.withheld
    [[withheld]] = judge.candidates(lone, Scoring(min_confidence=expected + 0.01))
    assert withheld.withheld and withheld.probability == candidate.probability and withheld.score == candidate.score
    [[other]] = judge.candidates(lone, Scoring(weight=0.5))
    assert other.probability is None
    with pytest.raises(InputError, match="on unpaired data for a lone candidate"):
        judge.candidates(lone, Scoring(weight=0.5, min_confidence=0.5))
    # Several candidates are each right by themselves, unless the heads are calibrated on questions.
    two = Question("two", "prompt", ("a", "b"))
    ones = np.ones((1, 2), dtype=int)
    pair = Likelihoods((BASE, POSITIVE, NEGATIVE), [two], np.array([[[0, 0]], [[2.0, 2.0]], [[0, 0]]]), ones, 0 * ones)
    pair.meta["style"] = "qa"
    assert [one.probability for one in judge.candidates(pair)[0]] == pytest.approx([expected] * 2)
    own = calibrate(
        np.eye(2)[[0, 1] * 5] * 3, np.array([0, 1] * 5), "plain", weight=1.0, normalization="raw", style="qa"
    )
    both = Judge((POSITIVE, NEGATIVE), 1.0, "qa", own, record)
    assert [one.probability for one in both.candidates(pair)[0]] == [0.5, 0.5]
    assert both.candidates(lone)[0][0].probability == pytest.approx(expected)
