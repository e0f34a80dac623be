"""What the paper says beside what was measured, with a verdict computed from the results (arXiv 2503.14391).

A verdict compares a 95% interval with a bound that was fixed before anything was measured. `reproduced`: the whole
interval is on the paper's side. `not reproduced`: the whole interval is on the other side. `undecided`: the interval
has the bound inside. `not measured`: the results say nothing of the claim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from likra.lab.runner.results import each, estimate_of, pick
from likra.scoring.estimate import Estimate

REPRODUCED, FAILED, UNDECIDED, UNMEASURED = "reproduced", "not reproduced", "undecided", "not measured"

#: Accuracy in the paper's Table 1: (model, benchmark) -> base, SFT, Likra.
TABLE_1: dict[tuple[str, str], tuple[float, float, float]] = {
    ("mistralai/Mistral-7B-v0.1", "arc-paper"): (0.5998, 0.6630, 0.8123),
    ("mistralai/Mistral-7B-v0.1", "hellaswag"): (0.8323, 0.8468, 0.9633),
    ("mistralai/Mistral-7B-Instruct-v0.3", "arc-paper"): (0.6365, 0.6408, 0.8063),
    ("mistralai/Mistral-7B-Instruct-v0.3", "hellaswag"): (0.8463, 0.8360, 0.9569),
    ("meta-llama/Llama-3.2-3B-Instruct", "arc-paper"): (0.5222, 0.5486, 0.7321),
    ("meta-llama/Llama-3.2-3B-Instruct", "hellaswag"): (0.7312, 0.7254, 0.9071),
}


@dataclass(frozen=True)
class Verdict:
    """One claim about one model and source.

    Attributes:
        model, data: What it was measured on.
        source: Where the paper makes it.
        claim: What the paper says.
        measured: What was measured, with 95% intervals.
        rule: When it counts as reproduced.
        verdict: `reproduced`, `not reproduced`, `undecided` or `not measured`.
    """

    model: str
    data: str
    source: str
    claim: str
    measured: str
    rule: str
    verdict: str


_Judged = tuple[str, str]  # what was measured, and the verdict
_NOTHING: _Judged = ("", UNMEASURED)
_Judge = Callable[[pd.DataFrame], _Judged]
_CLAIMS: list[tuple[str, str, str, str, _Judge]] = []


def _claim(source: str, claim: str, rule: str, by: str = "curve") -> Callable[[_Judge], _Judge]:
    """A decorator: the function measures a claim of the paper, by the results of a study."""

    def decorate(measure: _Judge) -> _Judge:
        _CLAIMS.append((source, claim, rule, by, measure))
        return measure

    return decorate


def percent(found: Estimate) -> str:
    """A share and its interval, in percent."""
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def number(found: Estimate) -> str:
    """A number and its interval."""
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def above(found: Estimate, bound: float) -> str:
    """The verdict on `found` being greater than `bound`."""
    return REPRODUCED if found.low > bound else FAILED if found.high <= bound else UNDECIDED


def within(found: Estimate, low: float, high: float) -> str:
    """The verdict on `found` lying from `low` to `high`."""
    if low <= found.low and found.high <= high:
        return REPRODUCED
    return FAILED if found.high < low or found.low > high else UNDECIDED


def together(verdicts: Sequence[str]) -> str:
    """The verdict on a claim of several parts."""
    return next((v for v in (FAILED, UNMEASURED, UNDECIDED) if v in verdicts), REPRODUCED)


def _last(rows: pd.DataFrame) -> int:
    return -1 if rows.empty else int(rows["size"].max())


def _difference(rows: pd.DataFrame, method: str, study: str = "curve") -> Estimate | None:
    found = pick(rows, study=study, quantity="difference", method=method)
    return estimate_of(found, size=_last(found))


@_claim("Table 1", "SFT lifts accuracy (ARC, Mistral-7B: 60.0 to 66.3)", "SFT minus base is above 0")
def _sft(rows: pd.DataFrame) -> _Judged:
    found = _difference(rows, "sft-base") or _difference(rows, "sft-base", "models")
    return (f"{percent(found)} points", above(found, 0)) if found else _NOTHING


@_claim("Table 1", "Likra stands far above SFT (by 11.7 to 18.5 points)", "Likra minus SFT is above 10 points")
def _likra(rows: pd.DataFrame) -> _Judged:
    found = _difference(rows, "likra-sft") or _difference(rows, "likra-sft", "models")
    return (f"{percent(found)} points", above(found, 0.1)) if found else _NOTHING


@_claim("Figure 1", "SFT rises smoothly, under 1 point per doubling", "its slope is above 0, and at most 1 point")
def _smooth(rows: pd.DataFrame) -> _Judged:
    found = estimate_of(rows, study="curve", quantity="per_doubling", method="sft")
    if found is None:
        return _NOTHING
    return f"{percent(found)} points per doubling", together([above(found, 0), within(found, -1, 0.01)])


@_claim("Figure 1", "Likra jumps: one doubling adds nearly 15 points", "its largest step is above 10 points")
def _jump(rows: pd.DataFrame) -> _Judged:
    found = estimate_of(rows, study="curve", quantity="jump", method="likra")
    return (f"{percent(found)} points in its largest step", above(found, 0.1)) if found else _NOTHING


@_claim(
    "Figure 1",
    "The jump falls between 64 and 128 negatives",
    "the largest step is that one",
    by="curve --sizes ...,64,128,...",
)
def _jump_at(rows: pd.DataFrame) -> _Judged:
    found = estimate_of(rows, study="curve", quantity="jump_at", method="likra")
    sizes = set(pick(rows, study="curve", quantity="step")["size"])
    if found is None or not {64, 128} <= sizes:
        return _NOTHING
    measured = f"largest step ends at {found.value:.0f} ({found.low:.0f} to {found.high:.0f}) questions"
    return measured, within(found, 128, 128)


@_claim(
    "Figure 1",
    "From 64 to 256, a negative is worth about ten positives",
    "the interval is above 1 and reaches 10",
    by="curve --sizes ...,64,...,256,...",
)
def _worth(rows: pd.DataFrame) -> _Judged:
    found = estimate_of(rows, study="curve", quantity="worth", part="paper")
    if found is None:
        return _NOTHING
    verdict = FAILED if found.high < 10 else REPRODUCED if found.low > 1 else UNDECIDED
    return f"{number(found)} positives", verdict


@_claim(
    "Figures 2, 6",
    "Training on right answers raises right and wrong ones alike",
    "both rise, and come apart by less than half of that",
    by="likelihoods",
)
def _alike(rows: pd.DataFrame) -> _Judged:
    found = pick(rows, study="likelihoods", method="positive", size=_last(pick(rows, study="likelihoods")))
    right = estimate_of(found, quantity="change", part="right")
    wrong = estimate_of(found, quantity="change", part="wrong")
    gap = estimate_of(found, quantity="gap_change")
    excess = estimate_of(found, quantity="gap_excess")
    if right is None or wrong is None or gap is None or excess is None:
        return _NOTHING
    # Barely apart: what they come apart by is less than half of what right answers gain.
    apart = FAILED if excess.low > 0 else REPRODUCED if excess.high < 0 else UNDECIDED
    measured = f"right {number(right)}, wrong {number(wrong)}, apart by {number(gap)} nats"
    return measured, together([above(right, 0), above(wrong, 0), apart])


@_claim(
    "Figures 2, 6",
    "The negative head tells wrong answers from right ones",
    "right ones fall behind by more than 0 nats",
    by="likelihoods",
)
def _separates(rows: pd.DataFrame) -> _Judged:
    found = pick(rows, study="likelihoods", size=_last(pick(rows, study="likelihoods")))
    negative = estimate_of(found, quantity="gap_change", method="incorrect")
    if negative is None:
        return _NOTHING
    # Under the head that learned wrong answers, right ones fall behind.
    fallen = Estimate(-negative.value, -negative.high, -negative.low)
    return f"right answers fall behind wrong ones by {number(fallen)} nats", above(fallen, 0)


@_claim("Figure 3", "Base-Likra's curve is close to Likra's", "within 5 points at every size")
def _base_likra(rows: pd.DataFrame) -> _Judged:
    found = pick(rows, study="curve", quantity="difference", method="likra-base_likra")
    trained = each(found[found["size"] > 0])
    if not trained:
        return _NOTHING
    largest = max(trained, key=lambda row: abs(row["value"]))
    verdicts = [within(Estimate(row["value"], row["low"], row["high"]), -0.05, 0.05) for row in trained]
    measured = Estimate(largest["value"], largest["low"], largest["high"])
    return f"furthest apart by {percent(measured)} points, at {largest['size']} questions", together(verdicts)


@_claim("Figure 4", "Accuracy rises with the weight of the negative head", "weight 1 is above weight 0", by="weights")
def _weight_rises(rows: pd.DataFrame) -> _Judged:
    found = pick(rows, study="weights", quantity="gain_over_no_weight")
    gain = estimate_of(found, size=_last(found))
    return (f"{percent(gain)} points from weight 0 to 1", above(gain, 0)) if gain else _NOTHING


@_claim("Figure 4", "The best weight is near 0.9 to 1.0", "it lies from 0.7 to 1.2", by="weights")
def _weight_peak(rows: pd.DataFrame) -> _Judged:
    found = pick(rows, study="weights", quantity="best_weight")
    best = estimate_of(found, size=_last(found))
    return (f"best weight {number(best)}", within(best, 0.7, 1.2)) if best else _NOTHING


def _kinds(rows: pd.DataFrame, method: str, sign: str) -> _Judged:
    found = pick(rows, study="negatives", quantity="difference", method=method)
    size = _last(found)
    parts = {kind: estimate_of(found, negatives=kind, size=size) for kind in ("irrelevant", "unrelated")}
    known = {kind: part for kind, part in parts.items() if part is not None}
    if not known:
        return _NOTHING
    measured = ", ".join(f"{sign.format(kind)} {percent(part)}" for kind, part in known.items())
    missing = [UNMEASURED] * (len(parts) - len(known))
    return f"{measured} points", together([*missing, *(above(part, 0) for part in known.values())])


@_claim("Figure 5", "The question's own wrong options work best", "they are above the other kinds", by="negatives")
def _own_options(rows: pd.DataFrame) -> _Judged:
    return _kinds(rows, "incorrect-other", "above {}:")


@_claim("Figure 5", "Irrelevant and unrelated negatives still beat SFT", "each is above SFT", by="negatives")
def _still_beat(rows: pd.DataFrame) -> _Judged:
    return _kinds(rows, "likra-sft", "{}:")


@_claim(
    "Section 3",
    "More epochs do not help",
    "Likra after the most epochs is at most 1 point above Likra after one",
    by="epochs",
)
def _epochs(rows: pd.DataFrame) -> _Judged:
    # One comparison, named beforehand: the best of several numbers of epochs would be above one by chance alone.
    found = pick(rows, study="epochs", quantity="difference", method="likra")
    found = pick(found, size=_last(found))
    gain = estimate_of(found, at=found["at"].max())
    if gain is None:
        return _NOTHING
    measured = f"{percent(gain)} points from 1 to {found['at'].max():.0f} epochs of {_last(found)} questions"
    return measured, within(gain, -1, 0.01)


#: Studies that measure claims.
_STUDIES = {"models", *(by.split()[0] for _, _, _, by, _ in _CLAIMS)}


def verdicts(rows: pd.DataFrame) -> list[Verdict]:
    """The claims of the paper, for every model and source that a study of them was run on.

    Where there is a curve, all of them: for one that is not measured, what would measure it. Else those that are.
    """
    pairs = rows[rows["study"].isin(_STUDIES)][["model", "data"]].drop_duplicates()
    result = []
    for model, data in pairs.itertuples(index=False, name=None):
        own = pick(rows, model=model, data=data)
        has_curve = "curve" in set(own["study"])
        for source, claim, rule, by, judge in _CLAIMS:
            measured, verdict = judge(own)
            if verdict == UNMEASURED and not has_curve:
                continue
            measured = measured or f"(likra study {by})"
            result.append(Verdict(model, data, source, claim, measured, rule, verdict))
        result += _table_1(model, data, own)
    return result


def _is_copy(name: str, original: str) -> bool:
    """Whether a name is the original's, or a folder's that is called like it (`arc-paper:FOLDER`, `x/hellaswag`)."""
    last = original.rsplit("/", 1)[-1].lower()
    return name.partition(":")[0] == original or Path(name).name.lower() == last


def _table_1(model: str, data: str, rows: pd.DataFrame) -> list[Verdict]:
    """The numbers of Table 1, where the model and the benchmark are the paper's."""
    result = []
    known = next((values for key, values in TABLE_1.items() if _is_copy(model, key[0]) and _is_copy(data, key[1])), ())
    for method, value in zip(("base", "sft", "likra"), known, strict=False):
        found = pick(rows, study="models", quantity="accuracy", method=method)
        measured = estimate_of(found, size=_last(found))
        if measured:
            # The paper has one run and no interval: its number must lie within ours, widened by 2 points.
            verdict = REPRODUCED if measured.low - 0.02 <= value <= measured.high + 0.02 else FAILED
            claim = f"{method}: {100 * value:.2f}"
            rule = "the paper's number is within the interval, or 2 points of it"
            result.append(Verdict(model, data, "Table 1", claim, percent(measured), rule, verdict))
    return result
