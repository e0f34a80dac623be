"""Accuracy at more training data than was tried: what is extrapolated from few sizes, and what it then is.

    python benchmarks/extrapolation.py
    python benchmarks/extrapolation.py --model MODEL --data FOLDER --lr 1e-3

For each seed alone, Likra's accuracies at small sizes, on a part of the test questions, give an interval for a larger
size; it should hold the accuracy there on all test questions.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np

from likra.lab.runner.jobs import Store
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import Task
from likra.lab.world import WORLD
from likra.scoring.extrapolation import Point, extrapolate
from likra.training.config import TrainingConfig

import common


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=WORLD, help="a pretrained model (a folder, a GGUF file)")
    parser.add_argument("--data", default=WORLD, help="a source of questions, as `likra train --data` takes it")
    parser.add_argument("--sizes", default="32,64,128", help="training sizes that are tried")
    parser.add_argument("--size", type=int, default=512, help="the size that is extrapolated to")
    parser.add_argument("--records", type=int, default=120, help="test questions that the sizes are tried on")
    parser.add_argument("--limit", type=int, default=1000, help="test questions in all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lr", type=float, default=TrainingConfig().learning_rate)
    parser.add_argument("--out", type=Path, help="keep finished jobs here, and go on from them")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    tried = tuple(int(size) for size in options.sizes.split(","))
    task = Task(options.model, options.data, limit=options.limit)
    config = TrainingConfig(learning_rate=options.lr)
    plan = Plan((task,), sizes=(*tried, options.size), seeds=tuple(range(options.seeds)), config=config)
    store, jobs = Store(options.out or common.scratch()), plan.pair(task)
    with store.locked():
        store.run(jobs.values(), shown=False)
    outcome = Outcome(plan, store, task, [jobs])
    test = task.test()
    chance = float(np.mean([1 / len(question.choices) for question in test]))
    print(
        f"{common.machine()}; {Path(options.model).name} on {Path(options.data).name}, lr {options.lr:g}: "
        f"{', '.join(map(str, tried))} on {min(options.records, len(test))} questions, {options.size} on "
        f"{len(test)}\n\n"
        f"| seed | {' | '.join(map(str, tried))} | extrapolated to {options.size} (95%) | accuracy there | held |\n"
        f"|---:|{'---:|' * len(tried)}---:|---:|---|",
        flush=True,
    )
    held = 0
    for place, seed in enumerate(plan.seeds):
        points = [Point(size, outcome.credit("likra", size)[place, : options.records]) for size in tried]
        [found] = extrapolate(points, [options.size], chance=chance)
        truth = float(outcome.credit("likra", options.size)[place].mean())
        held += (holds := found.low <= truth <= found.high)
        shown = " | ".join(f"{100 * point.credit_SQ.mean():.1f}" for point in points)
        interval = f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"
        print(f"| {seed} | {shown} | {interval} | {100 * truth:.1f} | {'yes' if holds else 'no'} |")
    print(f"\nheld: {held} of {len(plan.seeds)}")


if __name__ == "__main__":
    main()
