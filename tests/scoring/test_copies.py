"""Choices that say the same are one answer: how often, where and in which of Unicode's forms never matters."""

import json
import math
import random
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likra.data import NEGATIVE_KINDS, Prompter, Question, load, negatives
from likra.data.canonical import canonical
from likra.data.negatives import with_random_distractors
from likra.errors import InputError
from likra.likra import Likra
from likra.models.lora_config import lora_config
from likra.scoring.calibration_error import calibrate, confidence
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import Likelihoods
from likra.training.config import TrainingConfig
from likra.utils.runtime import QUIET
from tests.conftest import tiny_base

HEADS = ("base", "positive", "negative")
TEXTS = ["café", "a tall heron", "Ångström", "owl", "two by two"]

#: Ways of writing a text that change nothing of what it says.
WAYS = [
    lambda text: text,
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: f"{text} ",
    lambda text: f"\t{text}\u3000\n",
]


def rewritten(question: Question, rng: random.Random) -> Question:
    """The same question: its choices in another order and form, some of them repeated; any right one is the answer."""
    assert question.answer is not None
    right = question.choices[question.answer]
    choices = [*question.choices, *rng.choices(question.choices, k=rng.randrange(4))]
    rng.shuffle(choices)
    answer = rng.choice([place for place, choice in enumerate(choices) if choice == right])
    return Question(question.id, question.text, tuple(rng.choice(WAYS)(c) for c in choices), answer)


def plain(rng: random.Random, count: int = 12) -> list[Question]:
    questions = []
    for number in range(count):
        choices = rng.sample(TEXTS, rng.randrange(2, 6))
        questions.append(Question(f"q{number}", "Which?", tuple(choices), rng.randrange(len(choices))))
    return questions


def table(questions: list[Question], seed: int, *, ties: bool = False) -> Likelihoods:
    """A table whose likelihoods depend on question and text alone."""
    shape = (len(questions), max(len(q.choices) for q in questions))
    result = Likelihoods(HEADS, questions, np.full((3, *shape), math.nan), np.zeros(shape, int), np.zeros(shape, int))
    for row, question in enumerate(questions):
        for place, choice in enumerate(question.choices):
            rng = random.Random(f"{seed} {question.id} {canonical(choice)}")
            result.tokens_QC[row, place] = rng.randrange(1, 4)
            result.logprob_HQC[:, row, place] = [-rng.randrange(1, 3) if ties else -rng.uniform(1, 9) for _ in HEADS]
    return result


def by_text(value_QC: np.ndarray, questions: list[Question], distinct_QC: np.ndarray) -> list[dict[str, float]]:
    return [
        {canonical(c): value_QC[row, distinct_QC[row, place]] for place, c in enumerate(q.choices)}
        for row, q in enumerate(questions)
    ]


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(["raw", "token", "character", "byte"]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_arithmetic_goes_by_text(seed: int, ties: bool, normalization: str) -> None:
    rng = random.Random(seed)
    questions = plain(rng)
    judged = [
        Evaluation(table(some, seed, ties=ties), normalization=normalization)
        for some in (questions, [rewritten(q, rng) for q in questions])
    ]
    one, other = judged
    for method in one.methods:
        np.testing.assert_allclose(one.credits[method], other.credits[method])
        # By hand: of the distinct texts that are best, the share of the right one.
        scores = by_text(one.scores[method], questions, one.likelihoods.distinct_QC)
        for question, found, credit in zip(questions, scores, one.credits[method], strict=True):
            best = [text for text, score in found.items() if score == max(found.values())]
            assert question.answer is not None
            assert credit == pytest.approx((canonical(question.choices[question.answer]) in best) / len(best))
    assert one.compare("likra", "sft") == other.compare("likra", "sft")
    for way in ("temperature", "isotonic"):
        fitted = [
            calibrate(e.scores["likra"], e.likelihoods.answers_Q, way, weight=1, normalization=normalization)
            for e in judged
        ]
        assert fitted[0].before == pytest.approx(fitted[1].before, abs=1e-9)
        if way == "temperature" and not ties:  # else neighbouring fits may put an answer into another bin
            assert fitted[0].after == pytest.approx(fitted[1].after, abs=1e-3)
            assert fitted[0].calibration.temperature == pytest.approx(fitted[1].calibration.temperature, rel=1e-3)
        same = [fitted[0].calibration.probabilities(e.scores["likra"]) for e in judged]
        values = [
            by_text(p, e.likelihoods.questions, e.likelihoods.distinct_QC) for p, e in zip(same, judged, strict=True)
        ]
        for first, second in zip(*values, strict=True):
            assert first == pytest.approx(second) and sum(first.values()) == pytest.approx(1)
        sure = [confidence(p, e.scores["likra"]) for p, e in zip(same, judged, strict=True)]
        np.testing.assert_allclose(*sure)


def test_a_saved_table_knows_every_copy_of_the_right_answer(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    own = table([Question("a", "?", ("Rome", "Paris", "Paris\u00a0"), 2), Question("b", "?", ("x", "y"))], 0)
    own.save(tmp_path / "table.parquet")
    assert parquet.read_table(tmp_path / "table.parquet")["right"].to_pylist() == [False, True, True, None, None]
    assert Likelihoods.load(tmp_path / "table.parquet").answers_Q.tolist() == own.answers_Q.tolist() == [1, -1]


@pytest.fixture(scope="module")
def likra(tokenizer: Any) -> Likra:
    questions = plain(random.Random(1))
    config = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4)
    fitted = Likra.from_base(tiny_base(tokenizer), training_config=config).fit(questions, runtime=QUIET)
    fitted.calibrate(questions, runtime=QUIET)
    return fitted


@given(st.integers(0, 10**6), st.sampled_from(["qa", "plain", "cloze", "truthfulqa", "empty"]))
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_model_reads_copies_alike(likra: Likra, seed: int, style: str) -> None:
    rng = random.Random(seed)
    texts = {"cloze": "The _ is here.", "empty": ""}
    questions = [Question(q.id, texts.get(style, q.text), q.choices, q.answer) for q in plain(rng, 4)]
    again = [rewritten(q, rng) for q in questions]
    tables = [likra.likelihoods(some, Prompter(style)) for some in (questions, again)]
    for normalization in ("raw", "token", "character", "byte"):
        one, other = (Evaluation(found, normalization=normalization) for found in tables)
        for method in one.methods:
            np.testing.assert_allclose(one.credits[method], other.credits[method])
    scored = [[{canonical(c.text): c.score for c in some} for some in likra.candidates(found)] for found in tables]
    for first, second in zip(*scored, strict=True):
        assert first == pytest.approx(second, abs=1e-4)


def test_score_shows_each_copy_the_one_probability(likra: Likra) -> None:
    once = likra.score("Which?", ["café", "owl"])
    assert once[0].probability is not None
    for way in WAYS:
        twice = likra.score("Which?", [way("café"), "owl", "café"])
        assert [c.probability for c in twice] == pytest.approx(
            [once[0].probability, once[1].probability, once[0].probability], abs=1e-5
        )
    assert [c.probability for c in likra.score("Which?", ["owl", "owl "])] == [None, None]  # nothing to choose from


def test_where_spaces_are_read_the_best_copy_counts(likra: Likra) -> None:
    found = likra.likelihoods([Question("q", "Which?", (" Yes", "No", "Yes"), 0)], Prompter("verbatim"))
    scores = {c.text: c.score for c in likra.candidates(found)[0]}
    assert scores[" Yes"] != scores["Yes"]
    judged = Evaluation(found)
    assert judged.scores["likra"][0].tolist() == pytest.approx(
        [max(scores[" Yes"], scores["Yes"]), scores["No"], math.nan], nan_ok=True
    )
    assert found.characters_QC.tolist() == [[4, 2, 3]]


@pytest.mark.parametrize("kind", NEGATIVE_KINDS)
def test_a_copy_of_the_right_answer_is_never_a_negative(kind: str) -> None:
    rng = random.Random(0)
    questions = [rewritten(q, rng) for q in plain(rng, 60)]
    pool = [way(text) for way in WAYS for text in TEXTS]
    for question in questions:
        assert question.answer is not None
        right = canonical(question.choices[question.answer])
        found = [canonical(e.completion) for e in negatives([question], Prompter("qa"), kind, pool=pool)]
        assert right not in found and len(found) == len(set(found))
        if kind == "all":
            assert {*found, right} == set(map(canonical, question.choices))
    for question in with_random_distractors(plain(rng), pool):
        assert len(set(map(canonical, question.choices))) == len(question.choices)


def test_a_question_whose_choices_all_say_the_same_is_refused(tmp_path: Path) -> None:
    rows = [{"question": "?", "choices": ["Paris", "Paris\u00a0", "Paris "], "answer": 0}]
    (tmp_path / "near.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="all of its choices are the same text"):
        load(str(tmp_path / "near.jsonl"))
    with pytest.raises(InputError, match="has no wrong choice"):
        negatives([Question("q", "?", ("cafe\u0301", "café"), 1)], Prompter("qa"))
