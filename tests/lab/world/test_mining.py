"""Mining in a world of which the truth is known: how many right answers pass as wrong, how many wrong ones are lost.

The bounds stand a little above what was measured.
"""

import random

from likra.data import Prompter, load
from likra.lab.world.generator import World
from likra.mining import Equivalence, MiningConfig, mine
from likra.models.base import load_base

WORLD = World()
QUESTIONS = load("world").questions["train"]
FACTS = {fact.question: fact for fact in WORLD.facts}
RIGHT = [question.choices[question.answer or 0] for question in QUESTIONS]


def test_other_wordings_of_the_truth_are_told_from_other_values() -> None:
    rng = random.Random(0)
    same = Equivalence(RIGHT)
    slipped = lost = total = 0
    for question, right in zip(QUESTIONS, RIGHT, strict=True):
        fact = FACTS[question.text]
        for _ in range(4):
            total += 1
            slipped += not same.equivalent(right, WORLD.answer(rng, fact.truth), question.text)
            lost += same.equivalent(right, WORLD.answer(rng, rng.choice(fact.rumours)), question.text)
    assert slipped / total < 0.03 and lost / total < 0.005


def test_mined_answers_are_wrong() -> None:
    base = load_base("world")
    mined = mine(base, QUESTIONS[:60], Prompter("qa"), MiningConfig(("sampled", "similar")), answers=RIGHT)
    for kind, most in (("sampled", 0.05), ("similar", 0.02)):
        kept = [
            f" {FACTS[question.text].truth}, " in f" {choice}"
            for question, origins in zip(mined.questions, mined.origins, strict=True)
            for choice, origin in zip(question.choices, origins, strict=True)
            if origin == kind
        ]
        assert len(kept) > 100 and sum(kept) / len(kept) < most
