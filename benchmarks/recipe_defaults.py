"""Learning rates and epochs for few records: the measurement behind the defaults.

    python benchmarks/recipe_defaults.py
    python benchmarks/recipe_defaults.py --model MODEL --data FOLDER --seeds 3 --out FOLDER
    python benchmarks/recipe_defaults.py --model MODEL --data tickets.csv --text ticket --label team

Accuracy of Likra and SFT at every size, learning rate and number of epochs, with 95% intervals over seeds and questions
(the crossed bootstrap), and what each recipe costs against the best of its size, paired. *Default* marks what
`likra train` takes for as many records of this kind.
"""

import argparse
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from likra.lab.runner.jobs import Store
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import Task
from likra.lab.world import WORLD
from likra.scoring.bootstrap import estimate
from likra.scoring.likelihoods import Floats
from likra.training.config import TrainingConfig
from likra.training.recipe import are_labels, suited

import common

_WORK = "likra.lab.studies.epochs.training"  # one run of several epochs, read after each of some


def percent(values_R: Floats, sign: str = "") -> str:
    found = estimate(100 * values_R)
    return f"{found.value:{sign}.1f} ({found.low:{sign}.1f} to {found.high:{sign}.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=WORLD, help="a pretrained model (a folder, a GGUF file)")
    parser.add_argument("--data", default=WORLD, help="a source of questions, as `likra train --data` takes it")
    parser.add_argument("--text", help="the column of the texts, where the data is a table")
    parser.add_argument("--label", help="the column of their labels")
    parser.add_argument("--sizes", default="32,128,512")
    parser.add_argument("--lr", default="1e-4,3e-4,1e-3")
    parser.add_argument("--epochs", default="1,2,3,5")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=500, help="test questions at most")
    parser.add_argument("--out", type=Path, help="keep finished jobs here, and go on from them")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    sizes, epochs = ([int(one) for one in text.split(",")] for text in (options.sizes, options.epochs))
    rates = [float(rate) for rate in options.lr.split(",")]
    columns = (options.text, options.label) if options.text else None
    task = Task(options.model, options.data, limit=options.limit, columns=columns)
    store = Store(options.out or common.scratch())
    plan = Plan((task,), seeds=tuple(range(options.seeds)))
    print(
        f"{common.machine()}; {Path(options.model).name} on {Path(options.data).name}, {options.seeds} seeds, "
        f"{len(task.test())} test questions\n\n"
        "| records | learning rate | epochs | steps | Likra, % | less than the best, points | SFT, % |\n"
        "|---:|---:|---:|---:|---:|---:|---:|",
        flush=True,
    )
    for size in sizes:
        found: dict[tuple[float, int], tuple[Floats, Floats]] = {}
        for rate in rates:
            own = replace(plan, sizes=(size,), config=TrainingConfig(learning_rate=rate))
            jobs = own.own_pair("epochs", _WORK, task, epochs=epochs)
            with store.locked():
                store.run(jobs.values(), shown=False)
            outcome = Outcome(own, store, task, [jobs])
            for number in epochs:
                found[rate, number] = outcome.means("likra", number), outcome.means("sft", number)
        default = vars(suited([size], are_labels(task.source), TrainingConfig()))
        best = max(found, key=lambda recipe: found[recipe][0][0])
        for (rate, number), (likra_R, sft_R) in found.items():
            steps = TrainingConfig(num_train_epochs=number).steps(size)
            behind = "best" if (rate, number) == best else percent(likra_R - found[best][0], "+")
            named = {"learning_rate": rate, "num_train_epochs": number}.items() <= default.items()
            shown = [
                size,
                f"{rate:g}",
                f"{number}{' (default)' * named}",
                steps,
                percent(likra_R),
                behind,
                percent(sft_R),
            ]
            print(f"| {' | '.join(map(str, shown))} |", flush=True)
        base_R = outcome.means("base", epochs[0])
        print(f"| {size} | base | | | {percent(np.asarray(base_R))} | | |", flush=True)


if __name__ == "__main__":
    main()
