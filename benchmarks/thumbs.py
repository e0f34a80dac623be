"""Thumbs: how well heads that learned from labelled answers tell right answers from wrong ones, each standing alone.

    python benchmarks/thumbs.py --model world --data world --out FOLDER

Each question of a source gives two records (question, option, right or wrong): its right answer and one of its wrong
ones. Likra's heads learn from some of the training questions' records, and are calibrated on records of training
questions that they did not learn from. Judged are records of test questions and, where these are too few, of more
training questions that were left over. The reward head (TRL's, through the laboratory) learns from the same answers, as
pairs.

A seed draws its own questions, wrong answers, order and first weights. Each seed is kept in `--out` as soon as it is
done; the same command goes on from there. Intervals of a seed are bootstraps over prompts, those of the mean Student's
over seeds.
"""

import argparse
import dataclasses
import logging
import os
import random
import warnings
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from likra import Base, Example, Likra, Question, TrainingConfig, load
from likra.data import Prompter
from likra.lab.rival import RIVALS
from likra.lab.rivals._methods import Training
from likra.lab.rivals._training import Trained, Triple, train_rival
from likra.models.base import load_base
from likra.scoring import over_seeds
from likra.scoring.calibration import PLAIN
from likra.scoring.ranking import OverPrompts
from likra.scoring.verification import VERIFICATION_TITLES, Verification
from likra.training.seeds import adapter_seed
from likra.utils.runtime import QUIET

import common

REWARD = "reward"
TITLES = {**VERIFICATION_TITLES, REWARD: "Reward head"}
Found = dict[str, Any]


def records(questions: list[Question], style: str, rng: random.Random) -> list[Example]:
    """The right answer of each question and one of its wrong ones."""
    found = []
    for question in questions:
        pairs, answer = Prompter(style).pairs(question), question.answer or 0
        wrong = rng.choice([place for place in range(len(pairs)) if place != answer])
        found += [Example(*pairs[place], right=place == answer, question=question.text) for place in (answer, wrong)]
    return found


def reward(base: Base, learned: list[Example], judged: list[Example], config: TrainingConfig, out: Path) -> np.ndarray:
    """[N] rewards of the judged records."""
    pairs = zip(learned[::2], learned[1::2], strict=True)
    triples = [Triple(right.prompt, right.completion, wrong.completion) for right, wrong in pairs]
    triples *= config.num_train_epochs
    once = dataclasses.replace(config, num_train_epochs=1)
    asked = [base.encode_pair(one.prompt, one.completion) for one in judged]
    found: list[np.ndarray] = []

    def visit(size: int, trained: Trained) -> None:
        found.append(trained.rewards(asked))

    first = adapter_seed(config.seed, negative=False)
    head = cast(Training, RIVALS[REWARD])
    train_rival(head, base, triples, [len(triples)], once, seed=first, folder=out / "trl", visit=visit)
    return found[0]


def run(base: Base, options: argparse.Namespace, seed: int) -> Found:
    """What one seed finds."""
    source, rng = load(options.data), random.Random(seed)
    train = rng.sample(source.questions["train"], len(source.questions["train"]))
    count, calibrating = options.records // 2, options.calibrating // 2
    left = train[count + calibrating :]
    pool = [*source.split(None), *left]
    parts = train[:count], train[count : count + calibrating], pool[: options.judged // 2]
    learned, fitted_to, judged = (records(part, source.style, rng) for part in parts)
    given = {"learning_rate": options.lr, "num_train_epochs": options.epochs, "seed": seed}
    config = TrainingConfig(**{name: value for name, value in given.items() if value is not None})
    recipe = "auto" if options.lr is None and options.epochs is None else None

    likra = Likra.from_base(base, training_config=config, recipe=recipe, style=source.style)
    likra.fit(learned, runtime=QUIET)
    fitted = likra.calibrate(fitted_to, runtime=QUIET)
    if not fitted.helps:
        fitted = likra.calibrate(fitted_to, method=PLAIN, runtime=QUIET)
    result = likra.evaluate(judged, runtime=QUIET)
    assert isinstance(result, Verification)
    found = {**result.as_json(), "calibration": dataclasses.asdict(fitted), "kept": fitted.helps}
    likra.trained.remove()
    if options.reward:
        values, right = reward(base, learned, judged, likra.training_config, options.out), result.right_N
        drawn = OverPrompts(result.prompts_N)
        area, precision = (drawn.share(one).as_json() for one in drawn.ranking(values, right))
        found["methods"][REWARD] = {"auroc": area, "average_precision": precision}
    return found


def told(value: Found) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="world", help="a pretrained model (a folder, a hub id, a GGUF file)")
    parser.add_argument("--data", default="world", help="a source of questions with choices")
    parser.add_argument("--records", type=int, default=512, help="records that the heads learn from")
    parser.add_argument("--calibrating", type=int, default=120, help="records that the calibration is fitted to")
    parser.add_argument("--judged", type=int, default=1000, help="records that are judged")
    parser.add_argument("--lr", type=float, help="as of `likra train`")
    parser.add_argument("--epochs", type=int, help="as of `likra train`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reward", action="store_true", help="also train a reward head (needs TRL)")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is measured, to go on from")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)

    settings = common.settings_of(options)
    parts = common.Parts(options.out, settings)
    print(f"{common.machine()}; {Path(options.model).name} on {Path(options.data).name}, {settings}\n", flush=True)

    base, seeds = load_base(options.model, dtype="float32"), []
    for seed in range(options.seeds):
        seeds.append(parts(f"seed-{seed}", partial(run, base, options, seed)))
        print(f"- seed {seed}: AUROC of Likra {told(seeds[-1]['methods']['likra']['auroc'])}", flush=True)

    print(f"\n{seeds[0]['records']} records of {seeds[0]['prompts']} prompts are judged, {seeds[0]['right']} right.\n")
    columns = [f"seed {seed}" for seed in range(len(seeds))]
    print(f"| AUROC | {' | '.join(columns)} | mean |\n|---|{'---:|' * (len(seeds) + 1)}")
    for method in (method for method in TITLES if method in seeds[0]["methods"]):
        values = [found["methods"][method]["auroc"] for found in seeds]
        mean = over_seeds([value["value"] for value in values]).as_json()
        print(f"| {TITLES[method]} | {' | '.join(map(told, values))} | {told(mean)} |")
    print(f"\n| P(right) of Likra | {' | '.join(columns)} |\n|---|{'---:|' * len(seeds)}")
    for name, title in (("ece", "calibration error"), ("brier", "Brier score"), ("accuracy", "accuracy")):
        values = [found["methods"]["likra"].get(name) for found in seeds]
        print(f"| {title} | {' | '.join(told(value) if value else 'no calibration helps' for value in values)} |")
    fits = [found["calibration"]["calibration"] for found in seeds]
    fits = [f"{fit['temperature']:.2f}, {fit['bias']:+.2f}" for fit in fits]
    print(f"| temperature, bias | {' | '.join(fits)} |")


if __name__ == "__main__":
    main()
