"""Cross-validation against heads trained fold by fold, and its arithmetic against examples worked by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from likra import Likra, TrainingConfig
from likra.data import Example, Question, Source
from likra.data.controls import control
from likra.data.folds import foldable, folds_of
from likra.data.templates import Prompter
from likra.errors import InputError
from likra.models.base import Base
from likra.scoring.accuracy import wilson
from likra.scoring.cross_validation import CrossValidation, Recipe
from likra.scoring.cross_verification import CrossVerification
from likra.scoring.folds_interval import effective_count, fold_accuracy
from likra.scoring.likelihoods import Floats, Likelihoods
from likra.scoring.ranking import best_threshold
from likra.scoring.text_classifier import tfidf_scores
from likra.scoring.verification import Verification
from likra.training.cross_validation import cross_validate
from likra.training.fit import Run
from likra.training.trainer import Trainer
from likra.utils.runtime import QUIET

CONFIG = TrainingConfig(learning_rate=1e-3, per_device_train_batch_size=2)
HEADS = ("positive", "negative")


@pytest.fixture
def asked(questions: list[Question]) -> list[Question]:
    """Questions of which two ask the same."""
    return [*questions, dataclasses.replace(questions[0], id="again", choices=tuple(reversed(questions[0].choices)))]


def test_every_question_is_judged_as_by_heads_trained_on_the_other_folds(base: Base, asked: list[Question]) -> None:
    likra = Likra.from_base(base, training_config=CONFIG)
    found = likra.cross_validate(asked, folds=3, runtime=QUIET)
    fold_Q = np.array(folds_of(asked, 3))
    assert found.fold_Q.tolist() == fold_Q.tolist()
    for fold in range(3):
        alone = Likra.from_base(base, training_config=CONFIG)
        alone.fit([question for question, own in zip(asked, fold_Q, strict=True) if own != fold], runtime=QUIET)
        rows = np.flatnonzero(fold_Q == fold)
        table = alone.likelihoods([asked[row] for row in rows])
        assert found.likelihoods.heads == table.heads
        width = table.tokens_QC.shape[1]
        np.testing.assert_allclose(found.likelihoods.logprob_HQC[:, rows, :width], table.logprob_HQC, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(found.likelihoods.tokens_QC[rows, :width], table.tokens_QC)
        alone.trained.remove()
    assert found.likelihoods.questions == asked
    blind = Likra.from_base(base).base
    assert blind is base  # it was left without heads
    worded = control("blind", asked, Prompter("qa"))
    fresh = Likra.from_base(base, role="sft").fit(asked, runtime=QUIET)
    without = fresh.likelihoods(asked, worded).head("base")
    fresh.trained.remove()
    np.testing.assert_allclose(found.beside["pmi"], found.likelihoods.head("base") - without, rtol=0, atol=1e-4)


def test_each_number_of_epochs_is_as_if_trained_for_it(base: Base, asked: list[Question]) -> None:
    """Also where folds take different numbers of steps, and so do not end their epochs together."""
    both = cross_validate(base, HEADS, CONFIG, asked, folds=3, epochs=(2,), run=Run(runtime=QUIET))
    assert list(both.tables) == [Recipe(1e-3, 1), Recipe(1e-3, 2)]
    for number in (1, 2):
        config = dataclasses.replace(CONFIG, num_train_epochs=number)
        own = cross_validate(base, HEADS, config, asked, folds=3, run=Run(runtime=QUIET))
        there = both.tables[Recipe(1e-3, number)]
        np.testing.assert_allclose(there.logprob_HQC, own.likelihoods.logprob_HQC, rtol=0, atol=1e-4)


def test_unpaired_records_are_judged_as_by_heads_trained_on_the_other_folds(base: Base) -> None:
    """Also where right and wrong ones take different numbers of steps."""
    items = [Example(f"Prompt {n % 9}.", f" answer {n}", n % 3 == 0) for n in range(27)]
    found = Likra.from_base(base, training_config=CONFIG, style="verbatim").cross_validate(
        items, folds=3, runtime=QUIET
    )
    assert isinstance(found, CrossVerification)
    fold_N = np.array(folds_of(items, 3))
    for fold in range(3):
        alone = Likra.from_base(base, training_config=CONFIG, style="verbatim")
        alone.fit([item for item, own in zip(items, fold_N, strict=True) if own != fold], runtime=QUIET)
        rows = np.flatnonzero(fold_N == fold)
        own = alone.evaluate([items[row] for row in rows], runtime=QUIET)
        alone.trained.remove()
        assert isinstance(own, Verification)
        assert found.likelihoods.heads == own.likelihoods.heads
        np.testing.assert_allclose(
            found.likelihoods.logprob_HQC[:, rows], own.likelihoods.logprob_HQC, rtol=0, atol=1e-4
        )
        np.testing.assert_allclose(found.found.scores["pmi"][rows], own.scores["pmi"], rtol=0, atol=1e-4)
    right_N = np.array([item.right for item in items])
    assert list(found.methods) == ["base", "pmi", "tfidf", "sft", "base_likra", "likra"]
    for method, scores_N in {**found.found.scores, "tfidf": found.tfidf_N}.items():
        one = found.methods[method]
        assert one.auroc.value == pytest.approx(roc_auc_score(right_N, scores_N))
        assert one.auroc.low <= one.auroc.value <= one.auroc.high
        chosen_N = np.zeros(27)
        for fold in range(3):
            chosen_N[fold_N == fold] = best_threshold(scores_N[fold_N != fold], right_N[fold_N != fold].astype(float))
        assert one.accuracy and one.accuracy.value == pytest.approx(((scores_N >= chosen_N) == right_N).mean())
    own, wide = found.found.methods["likra"].auroc, found.methods["likra"].auroc
    assert wide.low == pytest.approx(max(0.0, own.value + np.sqrt(1 + 3 / 2) * (own.low - own.value)))
    known = found.as_json()
    assert (known["records"], known["folds"]) == (27, 3)
    assert set(known["methods"]["likra"]) == {"auroc", "average_precision", "accuracy", "brier", "ece"}


def test_the_test_split_that_data_names_stays_out(base: Base, asked: list[Question]) -> None:
    named = Source("quiz", "likra", "qa", {"train": asked[:6], "validation": asked[6:8], "test": asked[8:]})
    assert foldable(named) == asked[:8]
    assert foldable(dataclasses.replace(named, hashed=True)) == asked
    assert foldable(Source("quiz", "likra", "qa", {"test": asked})) == asked


def test_smaller_parts(base: Base, asked: list[Question]) -> None:
    """Heads that learn from half are those of a training set of half as many, drawn by the seed."""
    found = cross_validate(base, HEADS, CONFIG, asked, folds=3, shares=(0.5,), run=Run(runtime=QUIET))
    fold_Q = found.fold_Q
    assert [point.size for point in found.points] == [round(len(asked) / 3), round(2 * len(asked) / 3)]
    rest = [question for question, own in zip(asked, fold_Q, strict=True) if own != 0]
    alone = Likra.from_base(base, training_config=CONFIG).fit(rest, limit=round(len(rest) / 2), runtime=QUIET)
    rows = np.flatnonzero(fold_Q == 0)
    table = alone.likelihoods([asked[row] for row in rows])
    alone.trained.remove()
    [there] = found.smaller.values()
    width = table.tokens_QC.shape[1]
    np.testing.assert_allclose(there.logprob_HQC[:, rows, :width], table.logprob_HQC, rtol=0, atol=1e-4)


def test_a_killed_run_goes_on(base: Base, asked: list[Question], tmp_path: Path, monkeypatch: Any) -> None:
    how: dict[str, Any] = {"folds": 3, "epochs": (2,), "learning_rates": (3e-3,)}
    run, real, steps = Run(tmp_path, 1, QUIET), Trainer._step, []
    asked = [dataclasses.replace(asked[0], before=(("user", "Hello."), ("assistant", "Yes?"))), *asked[1:]]
    whole = cross_validate(base, HEADS, CONFIG, asked, run=Run(runtime=QUIET), **how)

    def killed(self: Trainer, *arguments: Any) -> Any:
        if len(steps) == whole_steps // 2:
            raise KeyboardInterrupt
        steps.append(arguments)
        return real(self, *arguments)

    whole_steps = 2 * 2 * CONFIG.steps(len(asked) - 2)
    monkeypatch.setattr(Trainer, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(base, HEADS, CONFIG, asked, run=run, **how)
    monkeypatch.setattr(Trainer, "_step", real)
    resumed = cross_validate(base, HEADS, CONFIG, asked, run=run, **how)
    assert list(resumed.tables) == list(whole.tables)
    for recipe, table in whole.tables.items():
        np.testing.assert_array_equal(resumed.tables[recipe].logprob_HQC, table.logprob_HQC)
        assert resumed.tables[recipe].questions == asked
    with pytest.raises(InputError, match="on other data or with other options"):
        cross_validate(base, HEADS, CONFIG, asked, run=run, **{**how, "epochs": (2, 3)})
    with pytest.raises(InputError, match="on other data or with other options"):
        cross_validate(base, HEADS, dataclasses.replace(CONFIG, adapt="completion"), asked, run=run, **how)


def test_heads_that_are_there_stay(base: Base, asked: list[Question]) -> None:
    likra = Likra.from_base(base, training_config=CONFIG).fit(asked, runtime=QUIET)
    before = likra.likelihoods(asked).logprob_HQC
    likra.cross_validate(asked, folds=2, runtime=QUIET)
    np.testing.assert_array_equal(likra.likelihoods(asked).logprob_HQC, before)
    likra.trained.remove()


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_keep_together_what_asks_the_same(folds: int) -> None:
    items = [Example(f"Prompt {n % 7}. ", f"answer {n}", n % 3 == 0) for n in range(40)]
    found = folds_of(items, folds, seed=3)
    assert set(found) == set(range(folds))
    of_group: dict[str, set[int]] = {}
    for item, fold in zip(items, found, strict=True):
        of_group.setdefault(item.asked, set()).add(fold)
    assert all(len(each) == 1 for each in of_group.values())
    assert len(of_group) == 7
    assert found == folds_of(items, folds, seed=3)


def test_folds_have_their_share_of_every_class() -> None:
    items = [Question(str(n), f"Ticket {n}", ("billing", "login"), int(n % 5 == 0)) for n in range(50)]
    found = np.array(folds_of(items, 5))
    for fold in range(5):
        assert sum(items[row].answer == 1 for row in np.flatnonzero(found == fold)) == 2


def test_many_rare_classes_have_folds() -> None:
    items = [Question(str(n), f"Ticket {n}", tuple(f"team {k}" for k in range(10)), n % 10) for n in range(40)]
    assert sorted(set(folds_of(items, 5))) == [0, 1, 2, 3, 4]


def test_refusals(base: Base, asked: list[Question]) -> None:
    with pytest.raises(InputError, match="folds is 99, but the data asks only"):
        folds_of(asked, 99)
    with pytest.raises(InputError, match="folds must be 2 or more, got 1"):
        folds_of(asked, 1)
    linear = dataclasses.replace(CONFIG, lr_scheduler_type="linear")
    with pytest.raises(InputError, match="constant learning rate"):
        cross_validate(base, HEADS, linear, asked, folds=2, epochs=(2,), run=Run(runtime=QUIET))


def made(scores: dict[Recipe, Floats], fold_Q: list[int]) -> CrossValidation:
    """Of heads whose ratio is what is given: L+ is the score, L- is 0."""
    count, width = next(iter(scores.values())).shape
    asked = [Question(str(n), f"Question {n}?", tuple("abcdefgh"[:width]), 0) for n in range(count)]
    zero = np.zeros((count, width), dtype=np.int64)
    tables = {
        recipe: Likelihoods(
            ("base", *HEADS), list(asked), np.stack([0 * value, value, 0 * value]), zero + 1, zero, {"style": "qa"}
        )
        for recipe, value in scores.items()
    }
    return CrossValidation(tables, next(iter(scores)), np.array(fold_Q))


def test_a_fold_has_no_part_in_the_choice_of_its_own_setting() -> None:
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    first, second = Recipe(1e-4, 1), Recipe(1e-3, 1)
    # Fold 0: the first recipe has all right, the second none; folds 1 and 2 have two thirds right by the second.
    found = made(
        {
            first: np.array([right] * 4 + [wrong, right, wrong, wrong, right, wrong]),
            second: np.array([wrong] * 4 + [right, wrong, right, right, wrong, right]),
        },
        [0, 0, 0, 0, 1, 1, 1, 2, 2, 2],
    )
    choice = found.chosen["sft"]
    # On folds 1 and 2 the second is better (4 of 6), so fold 0 is judged by it, and has none right; on folds 0 and 1
    # (5 of 7) and 0 and 2 the first is better, so folds 2 and 1 are judged by it: one right each.
    assert choice.accuracy.value == pytest.approx(0.2)
    assert choice.setting.recipe == first  # 6 of 10 on all
    assert choice.worth.value == pytest.approx(0.2 - 0.6)


def test_the_default_stands_where_nothing_is_better() -> None:
    scores = np.array([[1.0, 0.0]] * 6)
    found = made({Recipe(1e-4, 1): scores, Recipe(1e-3, 1): scores}, [0, 1, 2, 0, 1, 2])
    assert found.chosen["likra"].setting.recipe == Recipe(1e-4, 1)
    assert found.chosen["likra"].setting.weight == 1.0
    assert found.chosen["likra"].setting.normalization == "raw"
    assert found.chosen["likra"].worth.value == 0


def test_the_interval_knows_the_folds() -> None:
    credit_Q = np.array([1.0] * 30 + [0.0] * 10)
    alone = [str(n) for n in range(40)]
    # Nadeau and Bengio: of 40 records judged in 5 folds, 40 / (1 + 5/4) count.
    assert effective_count(credit_Q, alone, 5) == pytest.approx(40 / 2.25)
    found = fold_accuracy(credit_Q, alone, 5)
    assert (found.low, found.high) == wilson(0.75, 40 / 2.25)
    # Four records of each prompt that come out alike count as one.
    assert effective_count(credit_Q, [str(n // 2) for n in range(40)], 5) == pytest.approx(40 / 2.25 / 2)


def test_tfidf_is_scikit_learns() -> None:
    texts = ["card charged twice", "refund the charge", "password not accepted", "cannot log in", "crash on start"]
    labels = ["billing", "billing", "login", "login", "bug"]
    choices = ("login", "bug", "billing")
    asked = [Question(t, t, choices, choices.index(label)) for t, label in zip(texts, labels, strict=True)]
    new = [Question("new", "the charge on my card", ("bug", "billing", "login"))]
    words = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))
    fitted = LogisticRegression(max_iter=1000).fit(words.fit_transform(texts), labels)
    [expected] = fitted.predict_log_proba(words.transform([new[0].text]))
    [found] = tfidf_scores(asked, new)
    assert dict(zip(new[0].choices, found, strict=True)) == pytest.approx(
        dict(zip(fitted.classes_, expected, strict=True))
    )


def test_tfidf_of_choices_that_differ() -> None:
    asked = [
        Question(str(n), f"Who plays {what}?", (f"surely {what} Joe", "nobody at all", f"none {n}"), 0)
        for n, what in enumerate(("cello", "harp", "flute"))
    ]
    scores = tfidf_scores(asked, [Question("new", "Who plays drums?", ("nobody at all", "surely drums Joe"))])
    assert scores[0, 1] > scores[0, 0]
