"""Verdicts are what the intervals say, whatever they say."""

import math
from typing import Any

import pandas as pd
import pytest

from likra.lab.claims import FAILED, REPRODUCED, UNDECIDED, UNMEASURED, verdicts
from likra.lab.runner.results import COLUMNS, Sheet
from likra.lab.runner.task import Task
from likra.scoring.estimate import Estimate


def rows(study: str, *entries: tuple[str, tuple[float, float, float], dict[str, Any]]) -> pd.DataFrame:
    sheet = Sheet(study, Task("model", "data"))
    for quantity, (value, low, high), labels in entries:
        sheet.add(quantity, Estimate(value, low, high), **labels)
    return sheet.table()


def verdict(found: pd.DataFrame, claim: str) -> str:
    [one] = [v for v in verdicts(pd.concat([rows("curve", ("x", (0, 0, 0), {})), found])) if v.claim.startswith(claim)]
    return one.verdict


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.15, 0.12, 0.18), REPRODUCED),
        ((0.15, 0.08, 0.22), UNDECIDED),
        ((0.05, 0.02, 0.08), FAILED),
        ((-0.2, -0.3, -0.1), FAILED),
    ],
)
def test_a_bound(interval: tuple[float, float, float], expected: str) -> None:
    found = rows("curve", ("difference", interval, {"method": "likra-sft", "size": 512}))
    assert verdict(found, "Likra stands far above SFT") == expected


def test_the_last_size_counts() -> None:
    found = rows(
        "curve",
        ("difference", (0.2, 0.15, 0.25), {"method": "likra-sft", "size": 64}),
        ("difference", (0.0, -0.02, 0.02), {"method": "likra-sft", "size": 512}),
    )
    assert verdict(found, "Likra stands far above SFT") == FAILED


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((12, 4, 40), REPRODUCED),
        ((60, 20, math.inf), REPRODUCED),
        ((3, 1.5, 6), FAILED),
        ((12, 0.5, math.inf), UNDECIDED),
    ],
)
def test_the_worth_of_a_negative(interval: tuple[float, float, float], expected: str) -> None:
    found = rows("curve", ("worth", interval, {"part": "paper", "size": 256, "at": 64.0}))
    assert verdict(found, "From 64 to 256") == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((128, 128, 128), REPRODUCED), ((8, 8, 16), FAILED), ((128, 64, 256), UNDECIDED)],
)
def test_the_place_of_the_jump(interval: tuple[float, float, float], expected: str) -> None:
    found = rows(
        "curve",
        ("jump_at", interval, {"method": "likra"}),
        *(("step", (0.1, 0.0, 0.2), {"method": "likra", "size": size}) for size in (8, 64, 128, 256)),
    )
    assert verdict(found, "The jump falls between") == expected


def test_two_kinds_must_both_be_above() -> None:
    def found(irrelevant: float, unrelated: float) -> pd.DataFrame:
        return rows(
            "negatives",
            *(
                (
                    "difference",
                    (value, value - 0.02, value + 0.02),
                    {"method": "likra-sft", "negatives": kind, "size": 512},
                )
                for kind, value in (("irrelevant", irrelevant), ("unrelated", unrelated))
            ),
        )

    assert verdict(found(0.1, 0.1), "Irrelevant and unrelated") == REPRODUCED
    assert verdict(found(0.1, 0.01), "Irrelevant and unrelated") == UNDECIDED
    assert verdict(found(0.1, -0.1), "Irrelevant and unrelated") == FAILED
    one = found(0.1, 0.1)
    one = one[one["negatives"] == "irrelevant"]
    assert verdict(one, "Irrelevant and unrelated") == UNMEASURED


@pytest.mark.parametrize(
    ("gap", "expected"),
    [((0.5, 0.4, 0.6), REPRODUCED), ((2.5, 2.0, 3.0), FAILED), ((1.0, 0.8, 1.3), UNDECIDED)],
)
def test_right_and_wrong_answers_rise_alike(gap: tuple[float, float, float], expected: str) -> None:
    found = rows(
        "likelihoods",
        ("change", (2.0, 1.8, 2.2), {"method": "positive", "part": "right", "size": 512}),
        ("change", (1.5, 1.2, 1.8), {"method": "positive", "part": "wrong", "size": 512}),
        ("gap_change", gap, {"method": "positive", "size": 512}),
        ("gap_excess", tuple(end - 1.0 for end in gap), {"method": "positive", "size": 512}),
    )
    assert verdict(found, "Training on right answers") == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-0.02, -0.04, 0.01), REPRODUCED),
        ((0.0, -0.03, 0.03), UNDECIDED),
        ((0.05, 0.02, 0.08), FAILED),
    ],
)
def test_more_epochs(interval: tuple[float, float, float], expected: str) -> None:
    """Likra after the most epochs of the most questions counts, not the best of several numbers."""
    likra = {"method": "likra", "size": 512}
    found = rows(
        "epochs",
        ("difference", (0.3, 0.2, 0.4), {**likra, "at": 3.0}),
        ("difference", interval, {**likra, "at": 5.0}),
        ("difference", (0.3, 0.2, 0.4), {**likra, "size": 64, "at": 5.0}),
        ("difference", (0.3, 0.2, 0.4), {**likra, "method": "sft", "at": 5.0}),
    )
    assert verdict(found, "More epochs do not help") == expected


def test_nothing_measured_is_said_so() -> None:
    found = verdicts(rows("curve", ("x", (0, 0, 0), {})))
    assert {v.verdict for v in found} == {UNMEASURED}
    assert {v.measured for v in found if v.source == "Section 3"} == {"(likra study epochs)"}
    assert verdicts(pd.DataFrame(columns=list(COLUMNS))) == []


def test_a_study_without_a_curve_has_its_own_claims_alone() -> None:
    found = rows("weights", ("best_weight", (0.9, 0.8, 1.0), {"size": 512}))
    assert [(v.claim, v.verdict) for v in verdicts(found)] == [("The best weight is near 0.9 to 1.0", REPRODUCED)]


def test_the_papers_own_numbers() -> None:
    sheet = Sheet("models", Task("mistralai/Mistral-7B-v0.1", "arc-paper:somewhere"))
    assert verdicts(Sheet("models", Task("copies/Mistral-7B-v0.1", "x/hellaswag")).table()) == []
    sheet.add("accuracy", Estimate(0.80, 0.78, 0.82), method="likra", size=6615)
    sheet.add("accuracy", Estimate(0.50, 0.48, 0.52), method="sft", size=6615)
    found = {v.claim: v.verdict for v in verdicts(sheet.table())}
    assert found["likra: 81.23"] == REPRODUCED
    assert found["sft: 66.30"] == FAILED
