"""In the miniature world an answer's wording says nothing about its truth: without the question, chance is all."""

from collections import Counter
from dataclasses import replace

import pytest

from likra import Likra, TrainingConfig
from likra.data import load
from likra.lab.world.generator import World
from likra.training.provenance import left_over
from likra.utils.runtime import QUIET


def test_blind_accuracy_is_chance() -> None:
    """For every method, and for the shallow classifier of the same answers; with the question there is more.

    On the 240 test questions and the 320 that training left over, so that intervals are narrow. Blind intervals hold
    chance. With another question accuracy is within five points of it: how often a value is a fact at all, which the
    model knows a little, is worth something (see the test below).
    """
    source = load("world")
    likra = Likra.from_base("world", training_config=TrainingConfig(learning_rate=1e-3))
    likra.fit(source, limit=256, runtime=QUIET)
    left = left_over(likra.training, source, likra.training_config.seed)
    judged = replace(source, questions={**source.questions, "test": [*source.questions["test"], *left]})
    result = likra.evaluate(judged, controls=True, runtime=QUIET)
    assert result.chance == 0.25 and len(result.likelihoods.questions) == 560
    for name, controlled in result.controlled.items():
        for method, value in controlled.methods.items():
            assert abs(value.value - result.chance) < 0.05, (name, method, value)
            assert name != "blind" or value.low <= result.chance <= value.high, (method, value)
    assert result.shallow is not None and result.shallow.low <= result.chance <= result.shallow.high
    assert all(gain.low > 0.1 for gain in result.reading_gain.values())


def test_what_could_be_reached_without_the_question() -> None:
    """Not by wording, but by a reader who knows of each value how often the whole text has it as a fact and a rumour.

    Its share of facts is above chance for the facts asked about are among those counted. `docs/world.md` has it.
    """
    world = World()
    often = {"well": 1.0, "little": 0.1, "never": 0.0}
    facts: Counter[str] = Counter()
    rumours: Counter[str] = Counter()
    for fact in world.facts:
        facts[fact.truth] += often[fact.coverage]  # type: ignore[assignment]
        for rumour in fact.rumours:
            rumours[rumour] += often[fact.coverage] / 3  # type: ignore[assignment]
    credits = []
    for fact in world.facts[: world.config.test_questions]:
        odds = [(facts[value] + 0.01) / (rumours[value] + 0.01) for value in (fact.truth, *fact.rumours)]
        credits.append((odds[0] == max(odds)) / odds.count(max(odds)))
    assert sum(credits) / len(credits) == pytest.approx(0.346, abs=0.001)
