"""Peak memory of scoring against the budget that was stated.

    python benchmarks/memory.py --data arc-challenge

All test questions with 25 examples sampled for each, base and two heads that act on answers, on a random Llama of 3 M
parameters with a context of 4,096 tokens; one process per budget. Measured is the peak of the resident set over what it
was before scoring: everything that scoring takes, the encoded questions included.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from likra.engine.loglikelihood import score
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE

import common

HEADS = ("positive", "negative")


def resident(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (the peak) of this process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def measure(data: str, model: str | None, budget: int, questions: int | None) -> None:
    train, test = common.questions(data)
    base = common.base_of(model, "3M", train, max_position_embeddings=common.CONTEXT)
    stack = HeadStack(base, HEADS, adapt="completion")
    common.perturb(stack)
    prompter = common.prompters("qa", train)["25-shot, sampled per question"]
    some = test[:questions]
    score(base, stack, some[:1], prompter, (BASE, *HEADS), memory=budget)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    took, table = common.seconds(lambda: score(base, stack, some, prompter, (BASE, *HEADS), memory=budget))
    peak = resident("VmHWM") - before
    total = float(table.logprob_HQC[~(table.logprob_HQC != table.logprob_HQC)].sum())
    print(
        f"| {len(some)} | {budget / 2**20:.0f} | {peak / 2**20:.0f} | {peak / budget:.2f} | {took:.0f} | {total:.2f} |",
        flush=True,
    )
    if peak > budget:
        raise SystemExit("over budget")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="arc-challenge", help="a source of questions, as `likra train --data` takes it"
    )
    common.add_model(parser)
    parser.add_argument("--budgets", default="1024,384", help="MiB")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    budgets = [int(value) for value in options.budgets.split(",")]
    if options.one:
        measure(options.data, options.model, budgets[0] * 2**20, options.questions)
        return
    print(f"{common.machine()}\n\n| questions | budget, MiB | peak, MiB | of the budget | s | sum of all likelihoods |")
    print("|---:|---:|---:|---:|---:|---:|", flush=True)
    for budget in budgets:
        command = [sys.executable, __file__, "--one", "--data", options.data, "--budgets", str(budget)]
        if options.model:
            command += ["--model", options.model]
        if options.questions:
            command += ["--questions", str(options.questions)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
