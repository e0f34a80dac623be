"""Training two heads against PEFT and TRL run twice: the same first weights, examples, batches and losses.

    python benchmarks/training.py --data arc-challenge

Times per step are medians after the first two steps; `whole` is all steps and everything before the first, loading
excepted. Losses must agree step by step within 1e-3 before a ratio is printed.
"""

import argparse
import logging
import os
import statistics
import warnings
from pathlib import Path

import torch

from likra.data import Prompter, TokenizedExample, encode_pair, negatives, positives
from likra.data.tokens import common_ending
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig
from likra.training.trainer import Trainer

import common
import rivals

HEADS = ("positive", "negative")
TOLERANCE = 1e-3
WARM = 2  # first steps, not counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="arc-challenge", help="a source of questions, as `likra train --data` takes it"
    )
    common.add_model(parser)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--only", default="", help="3M or 50M")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)

    train, _ = common.questions(options.data)
    print(f"{common.machine()}; batch 8, {options.steps} steps, Adam, lr 1e-4, rank 16 on all linear layers, seed 0\n")
    print("| model | prompt | heads | rival | rival, s/step | likra, s/step | times faster | whole: times faster "
          "| largest difference of a loss |\n|---|---|---|---|---:|---:|---:|---:|---:|", flush=True)  # fmt: skip
    for size in [options.model] if options.model else ["3M", "50M"]:
        if options.only not in size:
            continue
        base = common.base_of(options.model, size, train)
        for shots in (0, 3):
            prompter = Prompter("qa", shots, train)
            drawn = train[3 : 3 + 8 * options.steps]
            sides = (positives(drawn, prompter), negatives(drawn, prompter, "incorrect", seed=0))
            data: dict[str, list[TokenizedExample]] = {
                name: [encode_pair(base.tokenizer, e.prompt, e.completion, base.max_length) for e in side]
                for name, side in zip(HEADS, sides, strict=True)
            }
            for activation in ("everywhere", "completion"):
                config = TrainingConfig(adapt=activation)
                wakes = ()
                if activation == "completion":
                    wakes = common_ending(base.tokenizer, [pair.context for pairs in data.values() for pair in pairs])
                first = [rivals.first_weights(base, config, seed) for seed in (0, 1)]
                twice = [rivals.peft_loop(base, data[n], config, w, wakes) for n, w in zip(HEADS, first, strict=True)]
                for _, _, model in twice:
                    model.unload()
                base.model.requires_grad_(False)
                others = {"PEFT": [run[:2] for run in twice]}
                if activation == "everywhere":
                    folder = common.scratch()
                    others["TRL"] = [
                        rivals.trl_trainer(base, data[n], config, w, folder) for n, w in zip(HEADS, first, strict=True)
                    ]
                ticks: list[float] = []

                def ours() -> list:
                    stack = HeadStack(base, HEADS, adapt=activation, invocation_tokens=wakes, seeds=[0, 1])  # noqa: B023
                    trainer = Trainer(stack, data, config, on_step=lambda _: ticks.append(common.now()))  # noqa: B023
                    steps = trainer.run()
                    stack.remove()
                    return steps

                began = common.now()
                whole, steps = common.seconds(ours)
                each = [b - a for a, b in zip([began, *ticks], ticks, strict=False)]
                mine = statistics.median(each[WARM:])
                for rival, runs in others.items():
                    worst = max(
                        abs(step.losses[name] - loss)
                        for name, (_, losses) in zip(HEADS, runs, strict=True)
                        for step, loss in zip(steps, losses, strict=True)
                    )
                    if worst > TOLERANCE:
                        raise SystemExit(f"{size}, {shots}-shot, {activation}, {rival}: losses differ by {worst}")
                    theirs = sum(statistics.median(took[WARM:]) for took, _ in runs)
                    print(
                        f"| {Path(size).name} | {shots}-shot | `{activation}` | {rival} twice | {theirs:.3f} "
                        f"| {mine:.3f} | {theirs / mine:.2f} | {sum(sum(took) for took, _ in runs) / whole:.2f} "
                        f"| {worst:.0e} |",
                        flush=True,
                    )
                torch.set_grad_enabled(True)


if __name__ == "__main__":
    main()
