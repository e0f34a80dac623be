"""Corrections of another topic: what heads gain on it, and lose on the topic of before, with and without a replay.

    python benchmarks/teach.py --out FOLDER
    python benchmarks/teach.py --new 16 --lr 3e-4 --out FOLDER
    python benchmarks/teach.py --model MODEL --data arc-paper:FOLDER --no-folds --out FOLDER

The questions of a source are of an old topic, or of a new one, by a regular expression that they match (`--topic`).
Heads learn some of the old topic; then `likra teach` teaches them as many of the new one, or `--new`, once without,
once with a replay of as many of the old ones, and, where the new ones are fewer, once with a replay of all. Beside them
stand heads that learned both at once. All are judged on held-out questions of both topics, the same for all seeds;
beside that stands what `teach` itself said, by cross-validation. The recipe is the first that `likra tune` tries.

A seed draws its own records, wrong answers, order and first weights. Each seed is kept in `--out` as soon as it is
done; the same command goes on from there. Intervals of a seed are paired over questions, those of the mean are of the
crossed bootstrap over seeds and questions.
"""

import argparse
import logging
import os
import random
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from likra import Base, Likra, Question, TrainingConfig, load
from likra.data import Prompter
from likra.engine.loglikelihood import score
from likra.lab.world import WORLD
from likra.models.base import load_base
from likra.models.lora_config import scaling_of
from likra.models.stack import HeadStack, HeadWeights
from likra.scoring.bootstrap import Resampled, estimate
from likra.scoring.estimate import Estimate
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import BASE
from likra.scoring.paired import paired_difference
from likra.teaching import teach
from likra.training.fit import Run
from likra.tuning import ADAPT, EPOCHS, RATES
from likra.utils.runtime import QUIET

import common

#: What the old topic's questions say: three of the world's six relations; of ARC, what is about living things.
TOPICS = {
    WORLD: "play|born|like best",
    "arc": r"\b(animals?|plants?|trees?|cells?|organisms?|species|body|blood|genes?|inherited|offspring|populations?|"
    r"ecosystems?|habitats?|predators?|food (?:chain|web)|photosynthesis|bacteria|disease|birds?|fish|insects?|"
    r"humans?)\b",
}
VARIANTS = {
    "without": "without replay",
    "with": "with replay",
    "all": "with replay of all",
    "both": "both at once",
}
Found = dict[str, Any]


def by_topic(options: argparse.Namespace) -> tuple[list[list[Question]], list[list[Question]]]:
    """Questions to learn, and to judge by, of the old topic and of the new one; the same for all seeds."""
    source = load(options.data)
    pattern = re.compile(options.topic, re.IGNORECASE)
    pools, judged = [], []
    learned = {question.asked for question in source.questions["train"]}
    held_out = [question for question in source.split(None) if question.asked not in learned]
    for old in (True, False):
        train, test = (
            [question for question in some if bool(pattern.search(question.text)) == old]
            for some in (source.questions["train"], held_out)
        )
        random.Random(0).shuffle(train)
        more = max(0, min(options.judged - len(test), len(train) - 2 * options.records))
        judged.append([*test, *train[:more]][: options.judged])
        pools.append(train[more:])
    return pools, judged


def run(base: Base, options: argparse.Namespace, seed: int) -> Found:
    """Credits of the judged questions, by topic, and what `teach` said."""
    pools, judged = by_topic(options)
    rng = random.Random(seed)
    old, new = (rng.sample(pool, count) for pool, count in zip(pools, (options.records, options.new), strict=True))
    replays = {"without": 0, "with": options.new, "all": options.records}
    config = TrainingConfig(learning_rate=options.lr, num_train_epochs=options.epochs, adapt=ADAPT, seed=seed)

    ends: dict[str, HeadWeights] = {}

    def keep(variant: str, likra: Likra) -> None:
        for name in likra.heads:
            weights = likra.trained.weights(name)
            ends[f"{variant}-{name}"] = {path: (a.clone(), b.clone()) for path, (a, b) in weights.items()}

    found: Found = {"said": {}}
    for variant in variants(options):
        likra = Likra.from_base(base, training_config=config)
        if variant == "both":
            likra.fit([*old, *new], runtime=QUIET)
        else:
            likra.fit(old, keep_data=True, runtime=QUIET)
            keep("before", likra)
            how: Found = {"replay": replays[variant], "run": Run(runtime=QUIET)}
            if options.no_folds:
                how |= {"folds": 2, "old": judged[0][:10]}
            said = teach(likra, new, **how)
            if not options.no_folds:
                found["said"][variant] = said.as_json()
        keep(variant, likra)
        shape = likra.trained
        shape.remove()
    # All in one stack: the base reads each prompt once.
    stack = HeadStack(base, list(ends), lora=config.lora, adapt=config.adapt, invocation_tokens=shape.invocation_tokens)
    for name, weights in ends.items():
        stack.set_weights(name, weights, rank=config.lora.r, scaling=scaling_of(config.lora))
    tables = [score(base, stack, some, Prompter(likra.style), [BASE, *ends]) for some in judged]
    stack.remove()
    for variant in ("before", *variants(options)):
        both = [Evaluation(table, f"{variant}-positive", f"{variant}-negative") for table in tables]
        found[variant] = [one.credits["likra"].tolist() for one in both]
    return found


def variants(options: argparse.Namespace) -> list[str]:
    """What is tried; as many as are new are all where no more were learned."""
    return [variant for variant in VARIANTS if variant != "all" or options.new < options.records]


def points(value: Estimate | Found) -> str:
    known = value.as_json() if isinstance(value, Estimate) else value
    return "{value:+.1f} ({low:+.1f} to {high:+.1f})".format(**{name: 100 * known[name] for name in known})


def row(title: str, variant: str, seeds: list[Found]) -> list[str]:
    """A row of the table: of one seed, or of all."""
    cells = [title, VARIANTS[variant]]
    for topic, said in ((0, "lost"), (1, "gained")):
        before_SQ, after_SQ = (np.array([found[key][topic] for found in seeds]) for key in ("before", variant))
        if len(seeds) > 1:
            drawn = Resampled(len(seeds), before_SQ.shape[1])
            difference = estimate(drawn.means(after_SQ - before_SQ))
        else:
            difference = paired_difference(after_SQ[0], before_SQ[0])
        cells += [f"{100 * before_SQ.mean():.1f}", f"{100 * after_SQ.mean():.1f}", points(difference)]
        own = [found["said"].get(variant, {}).get(said) for found in seeds]
        own = [one[0] if isinstance(one, list) else one for one in own]
        cells.append(points(own[0]["difference"]) if len(seeds) == 1 and own[0] else "")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=WORLD, help="a pretrained model (a folder, a GGUF file)")
    parser.add_argument("--data", default=WORLD, help="a source of questions, as `likra train --data` takes it")
    parser.add_argument("--topic", help="what questions of the old topic match; default: `TOPICS`, by the data")
    parser.add_argument("--records", type=int, default=64, help="records of each topic that are learned")
    parser.add_argument("--new", type=int, help="records of the new topic; default: as many")
    parser.add_argument("--judged", type=int, default=300, help="held-out questions of each topic, at most")
    parser.add_argument("--lr", type=float, default=RATES[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-folds", action="store_true", help="leave out what teach says itself: a third of the time")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is measured, to go on from")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    options.topic = options.topic or TOPICS[WORLD if options.data == WORLD else "arc"]
    options.new = options.new or options.records

    parts = common.Parts(options.out, common.settings_of(options))
    pools, judged = by_topic(options)
    print(
        f"{common.machine()}; {Path(options.model).name} on {Path(options.data).name}: {options.records} records of "
        f"the old topic, then {options.new} of the new one, learning rate {options.lr:g}, {options.epochs} epochs; "
        f"drawn from {len(pools[0])} and {len(pools[1])}, judged on {len(judged[0])} and {len(judged[1])} questions\n",
        flush=True,
    )
    base, seeds = load_base(options.model, dtype="float32"), []
    columns = ("before", "after", "change, points", "`teach` said")
    titles = ["seed", "taught", *(f"{topic}: {column}" for topic in ("old", "new") for column in columns)]
    print(f"| {' | '.join(titles)} |\n|---|---|{'---:|' * 8}", flush=True)
    for seed in range(options.seeds):
        seeds.append(parts(f"seed-{seed}", partial(run, base, options, seed)))
        for variant in variants(options):
            print(f"| {' | '.join(row(str(seed), variant, seeds[-1:]))} |", flush=True)
    for variant in variants(options):
        print(f"| {' | '.join(row('mean', variant, seeds))} |")


if __name__ == "__main__":
    main()
