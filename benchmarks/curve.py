"""A learning curve of 2 heads x 8 sizes x 3 seeds trained together, against training and evaluating each head alone.

    python benchmarks/curve.py

On the embedded world. Alone means: for each of the 48 heads a plain PEFT loop, and lm-evaluation-harness on
its adapter; and, for comparison, likra itself on one head at a time. All sides start from the same weights and read the
same examples in the same order, so the curves may differ by rounding only: by no more than the accuracies' own noise.
"""

import argparse
import os
import warnings
from pathlib import Path

from likra.data import encode_pair, negatives, positives
from likra.engine.loglikelihood import score
from likra.lab.runner.jobs import Store
from likra.lab.runner.outcome import Outcome
from likra.lab.runner.plan import Plan
from likra.lab.runner.task import Task
from likra.lab.world import WORLD
from likra.models.base import load_base
from likra.models.stack import HeadStack
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import BASE, Likelihoods
from likra.training.config import TrainingConfig
from likra.training.trainer import Trainer

import common
import rivals

SIZES = [8, 16, 32, 64, 128, 256, 512, 576]
SEEDS = [0, 1, 2]
HEADS = ("positive", "negative")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=WORLD, help="a pretrained model (a folder, a GGUF file)")
    parser.add_argument("--data", default=WORLD, help="a source of questions, as `likra train --data` takes it")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--shots", type=int, default=0, help="solved examples before each test question")
    parser.add_argument("--questions", type=int, help="test questions; default: all")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--batch", type=int, default=16, help="the harness's batch size")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    sizes, seeds = tuple(int(size) for size in options.sizes.split(",")), range(options.seeds)

    config, task = TrainingConfig(), Task(options.model, options.data, limit=options.questions, shots=options.shots)
    test, prompter, asking = task.test(), task.training_prompter, task.test_prompter
    folder = common.scratch()
    base = load_base(options.model)
    common.saved(base, folder / "model")
    print(
        f"{common.machine()}; {Path(options.model).name} on {Path(options.data).name}, {len(test)} test "
        f"questions, {options.shots}-shot, sizes {list(sizes)}, "
        f"{len(seeds)} seeds, batch 8\n"
    )

    plan, store = Plan((task,), sizes=sizes, seeds=tuple(seeds), config=config, stacked=True), Store(folder)
    jobs = plan.pair(task)
    task.base()  # loading is not timed
    with store.locked():
        together, _ = common.seconds(lambda: store.run(jobs.values(), shown=False))
    curve = Outcome(plan, store, task, [jobs])
    print(f"one stack: {together:.1f} s", flush=True)

    tools = alone = 0.0
    differences = {"PEFT and the harness": 0.0, "likra alone": 0.0}
    took, _, plain = rivals.harness(folder / "model", None, test, asking, options.batch)
    tools += took
    for seed in seeds:
        drawn = task.drawn(sizes[-1], seed)
        sides = (positives(drawn, prompter), negatives(drawn, prompter, "incorrect", seed=seed))
        for size in sizes:
            table = curve.table("positive", seed, size)
            expected = Evaluation(table, negative="incorrect").methods
            tables = {BASE: plain}
            single: dict[str, Likelihoods] = {}
            for side, (name, examples) in enumerate(zip(HEADS, sides, strict=True)):
                pairs = [encode_pair(base.tokenizer, e.prompt, e.completion, base.max_length) for e in examples]
                # The curve's heads read one order of all questions; the head of n questions is trained on the first n.
                pairs = rivals.unshuffled(rivals.order(pairs, seed)[:size], 0)
                weights = rivals.first_weights(base, config, 2 * seed + side)
                adapter = folder / f"{name}-{seed}-{size}"

                def peft() -> None:
                    _, _, model = rivals.peft_loop(base, pairs, config, weights)  # noqa: B023
                    model.save_pretrained(adapter)  # noqa: B023
                    model.unload()

                trained, _ = common.seconds(peft)
                base.model.requires_grad_(False)
                took, _, tables[name] = rivals.harness(folder / "model", adapter, test, asking, options.batch)
                tools += trained + took

                def likra() -> Likelihoods:
                    stack = HeadStack(base, [name], seeds=[2 * seed + side])  # noqa: B023
                    Trainer(stack, {name: pairs}, config).run()  # noqa: B023
                    table = score(base, stack, test, asking, (BASE, name))  # noqa: B023
                    stack.remove()
                    return table

                took, single[name] = common.seconds(likra)
                alone += took
            theirs = common.table(table.questions, tables)
            own = {name: single[HEADS[0] if name == BASE else name].head(name) for name in (BASE, *HEADS)}
            ours = common.table(table.questions, own)
            for label, found in (("PEFT and the harness", theirs), ("likra alone", ours)):
                for method, value in Evaluation(found).methods.items():
                    gap = abs(value.value - expected[method].value)
                    differences[label] = max(differences[label], gap)
    noise = 1.96 * (0.25 / len(test)) ** 0.5
    print(f"\n| {2 * len(sizes) * len(seeds)} heads, each alone | s | together, s | times faster "
          "| largest difference of an accuracy |\n|---|---:|---:|---:|---:|")  # fmt: skip
    for label, took in (("PEFT and the harness", tools), ("likra alone", alone)):
        print(f"| {label} | {took:.1f} | {together:.1f} | {took / together:.1f} | {differences[label]:.4f} |")
    print(f"\nnoise of one accuracy on {len(test)} questions (95%): +-{noise:.4f}")
    if max(differences.values()) > noise:
        raise SystemExit("the curves differ by more than the noise")


if __name__ == "__main__":
    main()
