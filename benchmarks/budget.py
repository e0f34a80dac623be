"""What can be automated at an error budget, on held-out questions; and whether `likra check` notices wrong labels.

    python benchmarks/budget.py
    python benchmarks/budget.py --model MODEL --data arc-paper:FOLDER --from-test --train 1024 --budget 0.3

For each seed: heads trained on some questions, a threshold chosen by others (`likra calibrate --error-budget`), and the
error among automated decisions on the rest (`likra check`). Then some of the rest get a wrong label, at random. The
threshold is chosen by training questions that were left over; with `--from-test` by test questions, where these are of
another kind (those of `arc-paper` are harder), for a promise is only for questions like those it was made by.
"""

import argparse
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from likra import Likra, Question, TrainingConfig
from likra.data import load
from likra.lab.world import WORLD
from likra.models.base import load_base
from likra.scoring.accuracy import clopper_pearson
from likra.scoring.promise import check_on
from likra.training.provenance import left_over
from likra.utils.runtime import QUIET

import common


def relabelled(questions: list[Question], share: float, seed: int) -> list[Question]:
    """The questions, a share of them with another answer than the right one."""
    rng = np.random.default_rng(seed)
    wrong = set(rng.permutation(len(questions))[: round(share * len(questions))].tolist())
    found = []
    for place, question in enumerate(questions):
        others = [index for index in range(len(question.choices)) if index != question.answer]
        answer = int(rng.choice(others)) if place in wrong else question.answer
        found.append(replace(question, answer=answer))
    return found


def percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=WORLD, help="a pretrained model (a folder, a GGUF file)")
    parser.add_argument("--data", default=WORLD, help="a source of questions, as `likra train --data` takes it")
    parser.add_argument("--train", type=int, default=256, help="questions that the heads are trained on")
    parser.add_argument("--choose", type=int, default=200, help="questions that the threshold is chosen by")
    parser.add_argument("--from-test", action="store_true", help="choose by test questions")
    parser.add_argument("--limit", type=int, default=1000, help="held-out questions at most")
    parser.add_argument("--budget", type=float, default=0.05)
    parser.add_argument("--corrupted", type=float, default=0.2, help="share of wrong labels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    base, source = load_base(options.model), load(options.data)
    print(
        f"{common.machine()}; {Path(options.model).name} on {Path(options.data).name}: {options.train} training "
        f"questions, {options.choose} to choose by, budget {100 * options.budget:g}%, "
        f"{100 * options.corrupted:g}% wrong labels\n\n"
        "| seed | rule | from | share automated, % | error, % | held out: questions | share, % | error, % | "
        "check: p | wrong labels: p | verdicts |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        flush=True,
    )
    wrong = automated = 0.0
    failures: list[str] = []
    for seed in range(options.seeds):
        likra = Likra.from_base(base, training_config=TrainingConfig(learning_rate=options.lr, seed=seed))
        likra.fit(source, limit=options.train, runtime=QUIET)
        rest = source.split(None) if options.from_test else left_over(likra.training, source, seed)
        order = np.random.default_rng(seed).permutation(len(rest))
        rest = [rest[place] for place in order]
        record = likra.calibrate(rest[: options.choose], error_budget=options.budget, runtime=QUIET)
        test = [] if options.from_test else source.split(None)
        held_out = [*test, *rest[options.choose :]][: options.limit]
        found = likra.evaluate(held_out, runtime=QUIET)
        likra.trained.remove()
        bad = relabelled(held_out, options.corrupted, seed)
        table = replace(found.likelihoods, questions=bad)
        spoiled = replace(found, likelihoods=table)
        both = record.automation
        assert both is not None
        for rule, chosen in (("on average", both.average), ("sure", both.sure)):
            if chosen is None:
                print(f"| {seed} | {rule} | nothing automated | | | | | | | | |", flush=True)
                continue
            one = replace(record, automation=replace(both, average=chosen))
            kept, broken = check_on(found, one), check_on(spoiled, one)
            share, error = kept.automated.share, kept.automated.error
            row = [seed, rule, f"{chosen.threshold:.3f}"]
            row += [percent(one.value, one.low, one.high) for one in (chosen.share, chosen.error)]
            row += [len(held_out), *(percent(one.value, one.low, one.high) for one in (share, error))]
            row += [f"{kept.p_value:.2g}", f"{broken.p_value:.1g}"]
            row += [f"{'kept' if kept.holds else 'broken'}, {'kept' if broken.holds else 'broken'}"]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            if rule == "on average":
                wrong += error.value * (error.count or 0)
                automated += error.count or 0
                if error.low > options.budget:
                    failures.append(f"seed {seed}: the error is above the budget beyond chance")
                if broken.holds:
                    failures.append(f"seed {seed}: check did not notice the wrong labels")
    if automated:
        mean = wrong / automated
        print(f"\nerror among all automated, %: {percent(mean, *clopper_pearson(mean, automated))}")
    if failures:
        raise SystemExit("; ".join(failures))


if __name__ == "__main__":
    main()
