"""Heads that act everywhere against heads that act on answers: the same config, five seeds.

    python benchmarks/activation.py --blimp FOLDER --model MODEL

On the embedded world, and on a question-answer set made of real text: from each pair of BLiMP's sentences that begin
alike, the common beginning is the question, and the two ways to go on are the right and the wrong answer.
"""

import argparse
import os
import random
import statistics
import tempfile
from pathlib import Path

from likra import Likra, Question, TrainingConfig, load
from likra.lab.world import WORLD
from likra.scoring.accuracy import wilson
from likra.utils.runtime import QUIET, Runtime

import common

SEEDS = range(5)
METHODS = ("base", "sft", "base_likra", "likra")


def continuations(folder: str) -> tuple[list[Question], list[Question]]:
    """(training, test) questions from pairs of sentences that have a beginning of two words or more in common."""
    questions = []
    for question in load(folder).split("all"):
        assert question.answer is not None
        words = [choice.split(" ") for choice in question.choices]
        same = next((n for n, (a, b) in enumerate(zip(*words, strict=False)) if a != b), 0)
        rests = tuple(" ".join(some[same:]) for some in words)
        if same >= 2 and all(rests):
            questions.append(Question(question.id, " ".join(words[0][:same]), rests, question.answer))
    random.Random(0).shuffle(questions)
    return questions[4000:], questions[:4000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blimp", default="blimp", help="BLiMP, as `likra train --data` takes it")
    parser.add_argument("--model", required=True, help="a small pretrained model for it")
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=1e-3, help="for BLiMP; the world takes the paper's 1e-4")
    options = parser.parse_args()
    os.environ["LIKRA_CACHE"] = tempfile.mkdtemp()
    print(f"{common.machine()}; seeds {SEEDS.start} to {SEEDS.stop - 1}; the paper's recipe but for the rates named\n")
    print("| data | training questions | heads | " + " | ".join(METHODS) + " | likra's seeds |")
    print("|---|---:|---|" + "---|" * (len(METHODS) + 1), flush=True)
    world = load(WORLD)
    train, test = continuations(options.blimp)
    settings = [
        ("world, lr 1e-4", WORLD, world.style, world.questions["train"], world.questions["test"], 32, 1e-4),
        ("world, lr 1e-4", WORLD, world.style, world.questions["train"], world.questions["test"], 128, 1e-4),
        (f"BLiMP, lr {options.lr:g}", options.model, "plain", train, test, options.examples // 4, options.lr),
        (f"BLiMP, lr {options.lr:g}", options.model, "plain", train, test, options.examples, options.lr),
    ]
    for name, model, style, some, judged, count, rate in settings:
        for activation in ("everywhere", "completion"):
            found: dict[str, list[float]] = {method: [] for method in METHODS}
            for seed in SEEDS:
                config = TrainingConfig(learning_rate=rate, adapt=activation, seed=seed)
                likra = Likra.from_base(
                    str(Path(model)) if model != WORLD else model, training_config=config, style=style
                )
                likra.fit(some, limit=count, runtime=QUIET)
                result = likra.evaluate(judged, runtime=Runtime(progress=False))
                for method in METHODS:
                    found[method].append(result.methods[method].value)
            cells = []
            for method in METHODS:
                mean = statistics.mean(found[method])
                low, high = wilson(mean, len(judged))
                cells.append(f"{mean:.3f} ({low:.3f}-{high:.3f})")
            each = ", ".join(f"{value:.3f}" for value in found["likra"])
            print(f"| {name} | {count} | `{activation}` | " + " | ".join(cells) + f" | {each} |", flush=True)


if __name__ == "__main__":
    main()
