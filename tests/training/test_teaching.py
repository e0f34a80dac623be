"""`teach` against heads that are taught one by one, by hand; what it measures against formulas; what it refuses."""

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from likra import Likra, TrainingConfig
from likra.data import Example, Question
from likra.data.folds import folds_of
from likra.data.overlap import sketch
from likra.data.records import Records
from likra.errors import InputError
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.calibration_error import CalibrationRecord, calibrate_on
from likra.scoring.cross_validation import Recipe
from likra.scoring.folds_interval import effective_count, fold_difference
from likra.scoring.likelihoods import Likelihoods
from likra.scoring.paired import paired_difference
from likra.scoring.recalibration import recalibrated
from likra.scoring.teaching import Compared, Teaching
from likra.teaching import teach
from likra.training.corrections import Corrections, lessons_of
from likra.training.dataset import TrainingSet
from likra.training.fit import Run
from likra.training.teaching import Heads
from likra.training.trainer import Trainer
from likra.utils.runtime import QUIET

CONFIG = TrainingConfig(learning_rate=1e-3, per_device_train_batch_size=2)
HEADS = ("positive", "negative")
RECIPE = Recipe(1e-3, 1)
SILENT = Run(runtime=QUIET)


def asked(count: int, about: str, answer: int | None = None) -> list[Question]:
    """Questions with two to four choices, and an answer that alternates or is always the same."""
    return [
        Question(
            f"{about} {n}",
            f"Which {about} has number {n}?",
            tuple(f"the {word} {about}" for word in ("old", "new", "red", "sad")[: 2 + n % 3]),
            n % 2 if answer is None else answer,
        )
        for n in range(count)
    ]


OLD, NEW = asked(8, "hat"), asked(6, "mug")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[Compared]:
    """What is compared, in the order in which it is."""
    found: list[Compared] = []
    real = Heads.compared

    def compared(self: Heads, *arguments: Any) -> Compared:
        found.append(real(self, *arguments))
        return found[-1]

    monkeypatch.setattr(Heads, "compared", compared)
    return found


def trained(base: Base, records: list[Any], **how: Any) -> Likra:
    return Likra.from_base(base, training_config=CONFIG).fit(records, runtime=QUIET, **how)


def go_on(likra: Likra, new: list[Question], replayed: Sequence[Question] = (), epochs: int = 1) -> None:
    """Train the heads of a Likra on, one by one, each in a stack of its own: every epoch has a part of the replay."""
    kept = {
        name: {path: (a.clone(), b.clone()) for path, (a, b) in likra.trained.weights(name).items()} for name in HEADS
    }
    scaling, rank = likra.trained.scaling("positive"), likra.trained.ranks[0]
    learned: dict[str, list[Any]] = {name: [] for name in HEADS}
    for epoch in range(epochs):
        here = [question for place, question in enumerate(replayed) if place % epochs == epoch]
        parts = [TrainingSet.of(likra.base, HEADS, some, style="qa").pairs for some in (new, here) if some]
        for name in HEADS:
            epoch_of = [pair for part in parts for pair in part[name]]
            random.Random(f"{CONFIG.seed} {epoch}").shuffle(epoch_of)
            learned[name] += epoch_of
    likra.trained.remove()
    ends = {}
    for name in HEADS:
        stack = HeadStack(likra.base, [name], lora=CONFIG.lora)
        stack.set_weights(name, kept[name], rank=rank, scaling=scaling)
        Trainer(stack, {name: learned[name]}, CONFIG, seeds={name: None}).run()
        ends[name] = {path: (a.clone(), b.clone()) for path, (a, b) in stack.weights(name).items()}
        stack.remove()
    likra.stack = HeadStack(likra.base, HEADS, lora=CONFIG.lora)
    for name in HEADS:
        likra.stack.set_weights(name, ends[name], rank=rank, scaling=scaling)


def same(found: Likelihoods, rows: list[int], names: list[str], expected: Likelihoods) -> None:
    width = expected.tokens_QC.shape[1]
    for name, values_QC in zip(names, expected.logprob_HQC, strict=True):
        np.testing.assert_allclose(found.head(name)[rows, :width], values_QC, rtol=0, atol=1e-4)


BEFORE = ["base", "before-positive", "before-negative"]
AFTER = ["base", "positive", "negative"]


def test_corrections_are_judged_as_by_heads_taught_one_by_one(base: Base, tables: list[Compared]) -> None:
    """Also where old records that the heads have never learned show what is lost."""
    likra, never = trained(base, OLD), asked(5, "cat")
    found = teach(likra, NEW, old=never, folds=3, run=SILENT)
    taught = likra.likelihoods(never)
    likra.trained.remove()
    new, old = tables
    same(old.table, list(range(5)), AFTER, taught)
    assert old.folds is None and found.fresh
    fold_Q = np.array(folds_of(NEW, 3))
    for fold in range(3):
        rows, alone = np.flatnonzero(fold_Q == fold).tolist(), trained(base, OLD)
        here = [NEW[row] for row in rows]
        same(new.table, rows, BEFORE, alone.likelihoods(here))
        go_on(alone, [question for question, own in zip(NEW, fold_Q, strict=True) if own != fold])
        same(new.table, rows, AFTER, alone.likelihoods(here))
        alone.trained.remove()
    alone = trained(base, OLD)
    same(old.table, list(range(5)), BEFORE, alone.likelihoods(never))
    go_on(alone, NEW)
    np.testing.assert_allclose(taught.logprob_HQC, alone.likelihoods(never).logprob_HQC, rtol=0, atol=1e-4)
    alone.trained.remove()
    assert found.gained == new.change and found.lost == (old.change,)
    assert (found.replayed, found.kept) == (0, 0)


def test_the_old_training_is_repeated_without_each_fold(base: Base, tables: list[Compared]) -> None:
    likra = trained(base, OLD, keep_data=True)
    found = teach(likra, NEW, folds=2, replay=4, num_train_epochs=2, run=SILENT)
    likra.trained.remove()
    [old, _] = tables
    assert not found.fresh and found.lost == (old.change,)
    replayed = lessons_of(Records((tuple(OLD), tuple(NEW))), RECIPE, likra.training["teaching"], 0)[1].replayed
    assert len(replayed) == 4 and found.replayed == 4
    fold_Q = np.array(folds_of(OLD, 2))
    for fold in range(2):
        rows = np.flatnonzero(fold_Q == fold).tolist()
        here, others = [OLD[row] for row in rows], [q for q, own in zip(OLD, fold_Q, strict=True) if own != fold]
        alone = trained(base, others)
        same(old.table, rows, BEFORE, alone.likelihoods(here))
        again = [question for question in others if question in replayed]
        again.sort(key=list(replayed).index)  # type: ignore[arg-type]
        go_on(alone, NEW, again, epochs=2)
        same(old.table, rows, AFTER, alone.likelihoods(here))
        alone.trained.remove()
    assert likra.records == Records((tuple(OLD), tuple(NEW)))


def test_what_is_known_of_taught_heads(base: Base) -> None:
    likra = trained(base, OLD, keep_data=True)
    likra.training["tuning"] = {"taken": {}}
    likra.evaluations = [{"data": "x"}]
    teach(likra, NEW, folds=2, learning_rate=3e-3, run=SILENT)
    facts = likra.training
    assert facts["asked"] == sketch([*OLD, *NEW])
    assert facts["examples"] == {"positive": 14, "negative": 14}
    assert "tuning" not in facts and likra.evaluations == []
    assert likra.training_config == CONFIG  # the recipe of the old training stays known
    [one] = facts["teaching"]
    assert (one["corrections"], one["replay"], one["learning_rate"]) == (6, 6, 3e-3)
    assert {name for step in likra.losses for name in step.losses} == {*HEADS}
    again = teach(likra, asked(5, "cat"), folds=2, run=SILENT)
    assert (again.kept, again.replayed, again.lost[0].records) == (14, 5, 14)
    assert likra.records and [len(some) for some in likra.records.rounds] == [8, 6, 5]
    likra.trained.remove()


def test_heads_stay_as_they_were_where_it_fails(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    likra = trained(base, OLD, keep_data=True)
    before, facts = likra.likelihoods(NEW).logprob_HQC, dict(likra.training)
    calls = []

    def compared(self: Heads, *arguments: Any) -> Compared:
        calls.append(arguments)
        raise InputError("the disk is full.")

    monkeypatch.setattr(Heads, "compared", compared)
    for old in (None, asked(3, "cat")):  # as the old training is repeated, and after the teaching
        with pytest.raises(InputError, match="disk is full"):
            teach(likra, NEW, old=old, folds=2, run=SILENT)
        np.testing.assert_array_equal(likra.likelihoods(NEW).logprob_HQC, before)
    assert len(calls) == 2 and likra.training == facts and likra.records == Records((tuple(OLD),))
    likra.trained.remove()


def test_a_killed_run_goes_on(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(base, OLD, keep_data=True)
    expected = teach(whole, NEW, folds=2, run=SILENT)
    digests = [whole.trained.digest(name) for name in HEADS]
    whole.trained.remove()
    real, left = Trainer._step, [0]

    def step(self: Trainer, *arguments: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", step)
    run, likra = Run(tmp_path, 1, QUIET), trained(base, OLD, keep_data=True)
    for steps in (2, 5, 4):  # in the old training, in its teaching, in the teaching of all
        left[0] = steps
        with pytest.raises(KeyboardInterrupt):
            teach(likra, NEW, folds=2, run=run)
    left[0] = -1
    with pytest.raises(InputError, match="on other data or with other options"):
        teach(likra, NEW, folds=2, replay=3, run=run)
    assert teach(likra, NEW, folds=2, run=run) == expected
    assert [likra.trained.digest(name) for name in HEADS] == digests
    likra.trained.remove()


@pytest.mark.parametrize("role", ["base-likra", "sft"])
def test_one_head_alone(role: str, base: Base, tables: list[Compared]) -> None:
    likra = Likra.from_base(base, role=role, training_config=CONFIG).fit(OLD, keep_data=True, runtime=QUIET)
    [name], before = likra.heads, likra.likelihoods(NEW)
    found = teach(likra, NEW, folds=2, run=SILENT)
    [old, new] = tables
    assert new.table.heads == ("base", f"before-{name}", name) == old.table.heads
    np.testing.assert_allclose(new.table.head(f"before-{name}"), before.head(name), rtol=0, atol=1e-4)
    assert found.gained.records == 6 and found.lost[0].records == 8
    assert likra.trained.names == [name]
    likra.trained.remove()


def thumbs(count: int, about: str) -> list[Example]:
    return [Example(f"About {about} {n // 2}.", f" The {about} is {n}.", n % 2 == 0) for n in range(count)]


def test_thumbs_teach_heads_of_questions(base: Base, tables: list[Compared]) -> None:
    likra = trained(base, OLD, keep_data=True)
    found = teach(likra, thumbs(8, "mug"), folds=2, run=SILENT)
    assert found.gained.measure == "AUROC" and [change.measure for change in found.lost] == ["accuracy"]
    new = tables[-1]
    right_N = [n % 2 == 0 for n in range(8)]
    for before, estimate in ((True, found.gained.before), (False, found.gained.after)):
        scores_N = new.verification(before=before).scores["likra"]
        assert estimate.value == pytest.approx(roc_auc_score(right_N, scores_N))
    difference = found.gained.difference
    assert difference.value == pytest.approx(found.gained.after.value - found.gained.before.value)
    assert difference.low < difference.high
    assert likra.training["examples"] == {"positive": 12, "negative": 12}
    # Both kinds are old records now.
    again = teach(likra, NEW, folds=2, run=SILENT)
    assert [(change.measure, change.records) for change in again.lost] == [("accuracy", 8), ("AUROC", 8)]
    likra.trained.remove()


def compared(before: list[int], after: list[int], folds: int | None) -> Compared:
    """Questions that are judged rightly where there is a 1."""
    count, zero = len(before), np.zeros((len(before), 2))
    questions = [Question(str(n), f"Question {n}?", ("a", "b"), 0) for n in range(count)]
    scores = [np.array([[1.0, 0.0] if right else [0.0, 1.0] for right in some]) for some in (before, after)]
    meta = {"style": "qa", "precision": "float32", "rounding": None}
    logprob_HQC = np.stack([zero, scores[0], zero, scores[1], zero])
    ints = np.ones((count, 2), dtype=np.int64)
    return Compared(Likelihoods((*BEFORE, *HEADS), questions, logprob_HQC, ints, 0 * ints, meta), folds, 1.0)


def test_a_change_has_the_interval_of_its_folds() -> None:
    before, after = [1] * 20 + [0] * 20, [1] * 19 + [0] + [1] * 15 + [0] * 5
    before_Q, after_Q = np.array(before, float), np.array(after, float)
    groups = [f"question {n}?" for n in range(40)]
    change = compared(before, after, 5).change
    assert (change.before.value, change.after.value) == (0.5, 0.85)
    assert change.difference == fold_difference(after_Q, before_Q, groups, 5)
    # One pair of heads that judges all: Bonett and Price's interval of 40 independent records.
    alone = compared(before, after, None).change
    assert effective_count(after_Q, groups, None) == 40
    assert alone.difference == paired_difference(after_Q, before_Q)
    assert alone.difference.low > change.difference.low
    assert not change.is_worse
    assert compared(after, before, 5).change.is_worse
    assert not compared([1, 0], [0, 1], None).change.is_worse


def test_a_loss_that_may_be_chance_is_said() -> None:
    worse, better = compared([1] * 20, [1] * 18 + [0] * 2, 5).change, compared([0] * 4, [1] * 4, 5).change
    for lost, said in ((worse, True), (better, False)):
        recipe = Recipe(1e-4, 1)
        found = Teaching(recipe, 5, better, (lost,), fresh=False, why_not="", replayed=4, kept=20)
        assert not found.worse and ("may be chance" in " ".join(found.sentences)) is said


def test_ranks_that_never_change_have_an_interval_too() -> None:
    one = compared([1] * 12, [1] * 12, None)
    one.table.meta["labels"] = [n % 2 == 0 for n in range(12)]
    one.table.logprob_HQC[[1, 3], :, 0] = [[float(n % 2 == 0) for n in range(12)]] * 2
    difference = one.change.difference
    assert one.change.after.value == 1 and difference.value == 0
    assert difference.low < 0 < difference.high


def old_calibration(one: Compared, **how: Any) -> CalibrationRecord:
    return calibrate_on(one.evaluation(**how), "temperature")


def test_no_calibration_stays() -> None:
    rng = np.random.default_rng(0)
    one = compared([1] * 60, rng.integers(0, 4, 60).clip(0, 1).tolist(), None)
    one.table.logprob_HQC[3] *= 9  # far too sure
    old = old_calibration(one, before=True)
    record, told = recalibrated(old, [one], lone=False, style="qa", data="new.jsonl")
    assert record and record.calibration.temperature > 5
    assert record == dataclasses.replace(old_calibration(one), data="new.jsonl", split="out of fold")
    assert "by 60 records judged here" in told
    half = dataclasses.replace(old, calibration=dataclasses.replace(old.calibration, weight=0.5))
    other, _ = recalibrated(half, [one, one], lone=False, style="qa")
    assert other and other.calibration.weight == 0.5 and other.questions == 120
    for record, lone, style in ((old, False, "plain"), (old, True, "qa")):
        kept, told = recalibrated(record, [one], lone=lone, style=style)
        assert kept is None and "is dropped" in told
    assert recalibrated(None, [one], lone=True, style="qa") == (None, "")
    wrong = compared([1] * 60, [0, 1] * 30, None)
    kept, told = recalibrated(old, [wrong], lone=False, style="qa")
    assert kept is None and "better than none" in told


def plan(data: Any = NEW, facts: Any = None, records: Records | None = None, **how: Any) -> Corrections:
    facts = {"asked": sketch(OLD)} if facts is None else facts
    return Corrections.of(data, "qa", facts, records, config=CONFIG, recipe=RECIPE, **{"folds": 2, **how})


def test_a_correction_has_the_last_word() -> None:
    corrected = [dataclasses.replace(OLD[0], id="again", answer=1), *NEW]
    found = plan(corrected, records=Records((tuple(OLD),), (OLD[0], *asked(3, "cat"))))
    assert {question.id for question in found.kept} == {question.id for question in OLD[1:]}
    assert found.learned == OLD[1:] and not found.never_learned
    assert {question.id for question in found.lessons[-1].replayed} <= {question.id for question in OLD[1:]}
    assert len(found.lessons[-1].replayed) == 7  # as many as there are corrections
    assert found.known == 1 and plan(facts={}).known == 0
    assert list(found.lessons[0].new) == OLD  # what trained the heads trains them again


def test_another_question_about_the_same_state_does_not_undo_an_answer() -> None:
    team, urgent = (
        Question(name, f"I paid twice.\n\n{text}", ("yes", "no"), 0, state="I paid twice.")
        for name, text in (("team", "Is it for billing?"), ("urgent", "Is it urgent?"))
    )
    assert Records(((team,),)).taught((urgent,)).replayable == [team]
    assert Records(((team,),)).taught((dataclasses.replace(team, id="again", answer=1),)).replayable == []
    found = plan([urgent, *NEW], records=Records(((*OLD, team),)))
    assert found.known == 0 and team in found.kept
    # Where the one is judged, the other is not learned: they share a fold.
    assert team.asked == urgent.asked and team not in found.lessons[-1].without({urgent.asked}).replayed


def test_old_records_that_show_what_is_lost() -> None:
    many = asked(120, "cat")
    kept = plan(records=Records((tuple(OLD),), (*many, NEW[0])))
    assert kept.never_learned == many and not kept.learned and not kept.why_not
    taught = Records((tuple(OLD), tuple(many[:5])), tuple(many))  # of so many that their sketch does not have all
    more = plan(facts={"asked": sketch(OLD), "teaching": [{**vars(RECIPE), "replay": 0}]}, records=taught)
    assert more.never_learned == many[5:]
    few = plan(records=Records((tuple(OLD),), tuple(many[:50])))
    assert few.learned == OLD and not few.never_learned
    named = plan(records=Records((tuple(OLD),)), old=[*many[:3], OLD[0], NEW[0]])
    assert named.never_learned == many[:3] and not named.learned
    assert len(plan(old=asked(1200, "cat")).never_learned) == 1000
    alone = plan()
    assert not alone.never_learned and not alone.learned
    assert "keep no old records" in alone.why_not and "--old" in alone.why_not
    right_only = tuple(dataclasses.replace(question, choices=question.choices[:1], answer=0) for question in OLD)
    unknown = plan(records=Records((right_only,)))
    assert unknown.why_not and unknown.lessons[-1].replayed


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"facts": {"shots": 2}}, "2 solved examples"),
        ({"facts": {"negatives": "unrelated"}}, "negatives 'unrelated'"),
        ({"replay": -1}, "replay must be 0 or more, got -1"),
        ({"replay": 3}, "replay is 3, but these heads keep no old records"),
        ({"data": []}, "holds no corrections"),
        ({"folds": 99}, "folds is 99"),
        ({"data": [Example(f"Why {n}?", " So.", True) for n in range(4)]}, "are all right"),
        ({"old": OLD}, "none is left to judge by"),
        ({"records": Records((tuple(OLD), tuple(NEW)))}, "not those of their likra.json"),
    ],
)
def test_refusals(how: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        plan(**how)
