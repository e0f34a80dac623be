"""The paper's recipe, whole: two heads trained, and base, SFT, Base-Likra and Likra evaluated.

    python benchmarks/recipe.py --model MODEL --data arc-paper:FOLDER --out FOLDER

likra trains both heads in one pass and reads the questions once. The other side trains each head by a plain PEFT loop
and reads the questions three times by lm-evaluation-harness (the base, and each head as a PEFT adapter; for each reader
the fastest of some batch sizes, with `logits_cache` or without, found on a few questions first); what it read is put
together by hand. Both sides have the same first weights, examples, order and batches, in float32. As in `likra study`,
prompts have no solved examples in training; `--shots` is how many stand before each test question, so the same heads
serve all shots, and every total counts their training.

Both sides run in one process, part after part, in turns. A part is all of its side's work but loading models and
adapters and saving them, which count on neither side, nor does the search for a batch size. Every part is printed and
kept in `--out` as soon as it is done; the same command goes on from there.

Before a ratio is printed the sides must agree: losses step by step, what likra and the harness read from PEFT's
adapters, and the accuracies by two questions at most.
"""

import argparse
import gc
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from likra import Base, Likra, Question, TrainingConfig
from likra.data import Prompter, encode_pair, negatives, positives
from likra.lab.runner.task import Task
from likra.models.base import load_base
from likra.scoring.evaluation import Evaluation
from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE
from likra.scoring.scores import METHOD_TITLES
from likra.training.seeds import adapter_seed
from likra.utils.runtime import QUIET

import common
import rivals

HEADS = (POSITIVE, NEGATIVE)
BATCHES = (1, 4, 8, 16, 32)  # of the harness's model
TRIAL = 8  # questions on which its batch size is sought
LOSS, LIKELIHOOD, QUESTIONS = 1e-3, 1e-3, 2  # the largest differences that count as agreement

Found = dict[str, Any]  # what a part keeps, as JSON
Readings = dict[str, list[list[float]]]  # reader -> question -> log-likelihood of each choice


class Parts(common.Parts):
    """What was measured, and how long it took."""

    def __call__(self, name: str, run: Callable[[], Found]) -> Found:
        found = super().__call__(name, run)
        print(f"- {name}: {found['seconds']:.1f} s{found.get('note', '')}", flush=True)
        return found


def likra_training(base: Base, drawn: list[Question], style: str, config: TrainingConfig, out: Path) -> Found:
    """Both heads in one pass."""
    took, likra = common.seconds(
        lambda: Likra.from_base(base, training_config=config, style=style).fit(drawn, runtime=QUIET)
    )
    shutil.rmtree(out, ignore_errors=True)  # of a run that was stopped here
    likra.save_pretrained(out)
    likra.trained.remove()
    return {"seconds": took, "losses": {name: [step.losses[name] for step in likra.losses] for name in HEADS}}


def peft_training(base: Base, drawn: list[Question], style: str, config: TrainingConfig, head: str, out: Path) -> Found:
    """One head by a plain PEFT loop."""
    prompter, seed = Prompter(style), config.seed
    weights = rivals.first_weights(base, config, adapter_seed(seed, head == NEGATIVE))

    def run() -> Any:
        made = positives(drawn, prompter) if head == POSITIVE else negatives(drawn, prompter, "incorrect", seed=seed)
        pairs = [encode_pair(base.tokenizer, e.prompt, e.completion, base.max_length) for e in made]
        return rivals.peft_loop(base, pairs, config, weights, seed=seed)

    took, (_, losses, model) = common.seconds(run)
    model.save_pretrained(out)
    model.unload()
    base.model.requires_grad_(False)
    return {"seconds": took, "losses": losses}


def likra_reading(likra: Likra, test: list[Question], prompter: Prompter) -> Found:
    """Base and both heads on all questions, in one pass."""
    took, table = common.seconds(lambda: likra.likelihoods(test, prompter))
    likra.trained.remove()
    rows = {
        name: [row[: len(q.choices)].tolist() for row, q in zip(table.head(name), test, strict=True)]
        for name in table.heads
    }
    return {"seconds": took, "readings": rows}


def fastest(lm: Any, some: list[Question], prompter: Prompter) -> tuple[list[Any], str]:
    """[batch size, logits_cache] with which the harness is fastest, and what was tried."""
    took: dict[tuple[int, bool], float] = {}

    def best() -> tuple[int, bool]:
        return min(took, key=lambda how: took[how])

    def attempt(batch: int, cache: bool) -> None:
        lm.batch_size_per_gpu, lm.logits_cache = batch, cache
        took[batch, cache], _ = rivals.read(lm, some, prompter)

    for batch in BATCHES:
        attempt(batch, True)
    attempt(best()[0], False)
    tried = (f"{batch}{'' if cache else ' without'} {seconds:.1f} s" for (batch, cache), seconds in took.items())
    return list(best()), f"; on {len(some)} questions: {', '.join(tried)}"


def harness_reading(
    model: Path, adapter: Path | None, test: list[Question], prompter: Prompter, how: list[Any] | None
) -> Found:
    """One reader on all questions; `how` is [batch size, logits_cache], None to search them."""
    gc.collect()  # the reader before
    lm = rivals.hflm(model, adapter)
    some = test[:: max(1, len(test) // TRIAL)][:TRIAL]
    rivals.read(lm, some[:1], prompter)
    how, tried = (how, "") if how else fastest(lm, some, prompter)
    lm.batch_size_per_gpu, lm.logits_cache = how
    took, rows = rivals.read(lm, test, prompter)
    note = f" (batch size {how[0]}, logits_cache {'on' if how[1] else 'off'}{tried})"
    return {"seconds": took, "readings": rows, "how": how, "note": note}


def train(
    parts: Parts, base: Base, drawn: list[Question], style: str, config: TrainingConfig
) -> tuple[tuple[float, float], int, float]:
    """Seconds of likra and of PEFT, the number of steps, and the largest difference of a loss."""
    out = parts.folder
    ours = parts("likra, training", lambda: likra_training(base, drawn, style, config, out / "likra"))
    theirs = [
        parts(f"PEFT, training, {name}", partial(peft_training, base, drawn, style, config, name, out / "peft" / name))
        for name in HEADS
    ]
    mine = [ours["losses"][name] for name in HEADS]
    apart = max(abs(np.subtract(a, b["losses"])).max() for a, b in zip(mine, theirs, strict=True))
    return (ours["seconds"], sum(found["seconds"] for found in theirs)), len(mine[0]), float(apart)


def score(
    parts: Parts, base: Base, test: list[Question], prompter: Prompter
) -> tuple[tuple[float, float], tuple[Readings, Readings], float]:
    """Seconds of likra and of the harness, what each read, and how far their readings of PEFT's adapters differ."""
    out, label = parts.folder, f"{prompter.shots}-shot"
    adapters = {name: out / "peft" / name for name in HEADS}

    def own() -> Found:
        return likra_reading(Likra.from_pretrained(out / "likra", model=base), test, prompter)

    def others() -> Found:
        return likra_reading(Likra.from_adapters(base, style=prompter.style, **adapters), test, prompter)

    ours = parts(f"likra, scoring, {label}", own)
    readers: dict[str, Found] = {}
    for name in (BASE, *HEADS):
        how = readers[POSITIVE]["how"] if name == NEGATIVE else None  # the two heads cost the same
        run = partial(harness_reading, out / "model", adapters.get(name), test, prompter, how)
        readers[name] = parts(f"the harness, scoring, {label}, {name}", run)
    theirs = {name: found["readings"] for name, found in readers.items()}
    same = parts(f"likra on PEFT's adapters, {label} (not counted)", others)["readings"]
    seconds = ours["seconds"], sum(found["seconds"] for found in readers.values())
    return seconds, (ours["readings"], theirs), difference(same, theirs)


def difference(one: Readings, other: Readings) -> float:
    """The largest difference of a log-likelihood."""
    return max(float(abs(np.concatenate(one[name]) - np.concatenate(other[name])).max()) for name in one)


def chosen(found: Evaluation, method: str) -> np.ndarray:
    """[Q] what a method takes for the answer."""
    return np.nanargmax(found.scores[method], axis=1)


def accuracies(label: str, test: list[Question], sides: tuple[Readings, Readings]) -> tuple[list[str], float]:
    """Rows of the table of accuracies, and by how many questions those of the two sides differ at most."""
    ours, theirs = (Evaluation(common.table(test, side)) for side in sides)
    rows, worst = [], 0.0
    for method, one in ours.methods.items():
        other = theirs.methods[method]
        worst = max(worst, abs(one.value - other.value) * len(test))
        cells = [f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})" for found in (one, other)]
        differ = int((chosen(ours, method) != chosen(theirs, method)).sum())
        rows.append(f"| {label} | {METHOD_TITLES[method]} | {' | '.join(cells)} | {differ} |")
    return rows, worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a pretrained model (a folder, a hub id, a GGUF file)")
    parser.add_argument("--data", default="arc-paper", help="a source of questions, as `likra train --data` takes it")
    parser.add_argument("--questions", type=int, default=256, help="training questions")
    parser.add_argument("--test", type=int, default=300, help="test questions")
    parser.add_argument("--shots", default="0,5", help="solved examples before each test question, the same for all")
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for what is measured, to go on from; default: a new one")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if options.threads:
        torch.set_num_threads(options.threads)

    tasks = [Task(options.model, options.data, limit=options.test, shots=int(n)) for n in options.shots.split(",")]
    test, drawn, style = tasks[0].test(), tasks[0].drawn(options.questions, options.seed), tasks[0].source.style
    config = TrainingConfig(seed=options.seed)
    versions = common.versions("likra", "transformers", "peft", "lm_eval")
    out = options.out or common.scratch()
    named = {name: getattr(options, name) for name in ("model", "data", "questions", "test", "seed")}
    parts = Parts(
        out, {**named, "machine": common.processor(), "threads": torch.get_num_threads(), "versions": versions}
    )
    print(
        f"{common.machine()}, {versions}; {Path(options.model).name} on {Path(options.data).name} in float32, "
        f"{len(drawn)} training questions, {len(test)} test questions, seed {options.seed}\n",
        flush=True,
    )

    base = load_base(options.model, dtype="float32", device="cpu", precision="float32")
    if not (out / "model" / "tokenizer_config.json").exists():  # written last
        common.saved(base, out / "model")
    trained, steps, apart = train(parts, base, drawn, style, config)
    said = [f"{steps} steps: losses of likra and PEFT differ by at most {apart:.1e}"]
    failures = ["losses"] if apart > LOSS else []
    times, table = [], []
    for asking in tasks:
        label = f"{asking.shots}-shot"
        read, sides, same = score(parts, base, test, asking.test_prompter)
        rows, questions = accuracies(label, test, sides)
        table += rows
        said.append(
            f"{label}: log-likelihoods under PEFT's adapters, read by likra and by the harness, differ by at most "
            f"{same:.1e}, those under each side's own heads by {difference(*sides):.1e}; accuracies by "
            f"{questions:.1f} questions"
        )
        failures += [label] if same > LIKELIHOOD or questions > QUESTIONS else []
        whole = trained[0] + read[0], trained[1] + read[1]
        for what, (ours, theirs) in {"training": trained, "scoring": read, "both": whole}.items():
            times.append(f"| {label} | {what} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.1f} |")

    print("", *(f"- {sentence}." for sentence in said), sep="\n")
    print("\n| prompt | method | likra | PEFT and the harness | choices that differ |\n|---|---|---|---|---:|")
    print("\n".join(table), flush=True)
    if failures:
        raise SystemExit(f"the sides do not agree: {', '.join(failures)}")
    print("\n| prompt | part | PEFT and the harness, s | likra, s | times faster |\n|---|---|---:|---:|---:|")
    print("\n".join(times), flush=True)


if __name__ == "__main__":
    main()
