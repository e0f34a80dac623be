"""Cross-validation: its time beside that of its parts, and how often its interval holds the accuracy on new questions.

    python benchmarks/folds.py time --model MODEL --data SOURCE --limit 200
    python benchmarks/folds.py coverage --draws 100 --records 60 --fresh 5000

`time` trains and judges the same five pairs of heads fold by fold, one after the other, and prints the ratio of seconds
side by side. `coverage` draws records of the miniature world, cross-validates, trains heads on all of them, and judges
those on fresh questions.
"""

import argparse
import itertools
import random
import time
from typing import Any

import numpy as np

from likra import Likra, TrainingConfig, load, load_base
from likra.data import Question
from likra.lab.world.generator import World
from likra.scoring.accuracy import wilson
from likra.utils.runtime import QUIET


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "coverage"])
    parser.add_argument("--model", default="world")
    parser.add_argument("--data", default="world")
    parser.add_argument("--limit", type=int, default=200, help="time: questions")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--records", type=int, default=60)
    parser.add_argument("--fresh", type=int, default=5000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=1)
    asked = parser.parse_args()
    config = TrainingConfig(learning_rate=asked.lr, num_train_epochs=asked.epochs)
    if asked.what == "time":
        measure_time(asked, config)
    else:
        measure_coverage(asked, config)


def measure_time(asked: Any, config: TrainingConfig) -> None:
    """Seconds of a cross-validation over those of its folds, one after the other."""
    questions = load(asked.data).split("all")[: asked.limit]
    base = load_base(asked.model, dtype="float32")
    likra = Likra.from_base(base, training_config=config)
    likra.cross_validate(questions[:10], folds=5, runtime=QUIET)  # what is slow the first time
    start = time.perf_counter()
    found = likra.cross_validate(questions, folds=5, runtime=QUIET)
    together = time.perf_counter() - start
    start = time.perf_counter()
    for fold in range(5):
        alone = Likra.from_base(base, training_config=config)
        alone.fit([q for q, own in zip(questions, found.fold_Q, strict=True) if own != fold], runtime=QUIET)
        alone.evaluate([q for q, own in zip(questions, found.fold_Q, strict=True) if own == fold], runtime=QUIET)
        alone.trained.remove()
    apart = time.perf_counter() - start
    print(f"{len(questions)} questions, 5 folds: {together:.1f} s, PMI and TF-IDF included")
    print(f"fold by fold, without PMI and TF-IDF: {apart:.1f} s; ratio {together / apart:.2f}")


def worded(world: World, place: int, seed: str) -> Question:
    """A question about one fact of the world, with answers in wording of its own."""
    fact, rng = world.facts[place], random.Random(f"{seed} {place}")
    values = rng.sample((fact.truth, *fact.rumours), 4)
    choices = tuple(world.answer(rng, value) for value in values)
    return Question(f"{place} {seed}", fact.question, choices, values.index(fact.truth))


def measure_coverage(asked: Any, config: TrainingConfig) -> None:
    """How often the intervals hold the accuracy of heads trained on all records, on fresh questions."""
    world = World()
    facts = len(world.facts)
    base = load_base(asked.model)
    held, plain, rows = 0, 0, []
    for draw in range(asked.draws):
        drawn = random.Random(draw).sample(range(facts), facts)
        records = [worded(world, place, f"{draw}") for place in drawn[: asked.records]]
        others = itertools.cycle(drawn[asked.records :])  # facts that no record asks about, worded anew each time
        fresh = [worded(world, next(others), f"{draw} fresh {n}") for n in range(asked.fresh)]
        likra = Likra.from_base(base, training_config=config)
        found = likra.cross_validate(records, folds=5, runtime=QUIET).methods["likra"]
        likra.fit(records, runtime=QUIET)
        truth = likra.evaluate(fresh, runtime=QUIET).methods["likra"].value
        likra.trained.remove()
        naive = wilson(found.value, len(records))
        held += found.low <= truth <= found.high
        plain += naive[0] <= truth <= naive[1]
        rows.append((found.value, truth))
        print(f"{draw}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f}), fresh {truth:.3f}", flush=True)
    values = np.array(rows)
    print(f"{held} of {asked.draws} intervals hold the fresh accuracy; Wilson's for independent records: {plain}")
    print(f"mean {values[:, 0].mean():.3f}, fresh {values[:, 1].mean():.3f} (SD {values[:, 1].std():.3f})")


if __name__ == "__main__":
    main()
