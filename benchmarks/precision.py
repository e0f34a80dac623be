"""What half precision costs the ratio: every way of reading a real model, its error against float64, and its time.

    python benchmarks/precision.py --model FILE.gguf --data arc-paper:FOLDER

Trains both heads on few and on many questions (or takes `--heads`, folders of `likra train`), and reads test questions
in each way. "error" is the root mean square, over candidates, of what is off in L+ - L-, with each question's mean
taken out, as a share of the ratio's own spread within questions. Seconds are of base and both heads together; those of
`auto`, which is what `--precision auto` chooses, include its measuring.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from likra import Likra
from likra.data.few_shot import loaded
from likra.engine import loglikelihood
from likra.engine.precision import (
    DIFFERENCE,
    DIFFERENCE_FROM_EXACT,
    FLOAT32,
    FLOAT64,
    ROUNDED,
    SPLIT,
    STORED,
    TF32,
    Way,
    computes_in_float32,
)
from likra.models.lora import StackedLora
from likra.scoring.accuracy import accuracy, credit
from likra.scoring.likelihoods import NEGATIVE, POSITIVE, Likelihoods
from likra.scoring.rounding import rounding

import common

TITLES = {
    FLOAT32: "float32",
    DIFFERENCE: "difference products in half precision (`fast`)",
    DIFFERENCE_FROM_EXACT: "the same, the base's own in float32",
    SPLIT: "two half-precision products of split activations",
    TF32: "float32, products in TF32",
    ROUNDED: "activations in float32, products in half precision",
}


def read(likra: Likra, questions: list, way: Way | None) -> Likelihoods:
    """The table of base and heads by one way; None: by what `auto` chooses."""
    chosen = loglikelihood._chosen
    if way is not None:
        loglikelihood._chosen = lambda work, folder: (way.name, None)
    try:
        return likra.likelihoods(questions)
    finally:
        loglikelihood._chosen = chosen


def autocast(likra: Likra, questions: list) -> Likelihoods:
    """Under bfloat16 autocast, the model's own code deciding what is computed in it."""
    with torch.autocast(likra.base.device.type, dtype=torch.bfloat16):
        return read(likra, questions, STORED)


def rows(exact: Likelihoods, runs: dict[str, Callable[[], Likelihoods]]) -> None:
    """Run everything in turn, and print a row for each."""
    right = exact.head(POSITIVE) - exact.head(NEGATIVE)
    for title, run in runs.items():
        took, table = common.seconds(run)
        ratio = table.head(POSITIVE) - table.head(NEGATIVE)
        same = (np.nanargmax(ratio, 1) == np.nanargmax(right, 1)).mean()
        pair = Likelihoods((POSITIVE, NEGATIVE), *fields(table)), Likelihoods((POSITIVE, NEGATIVE), *fields(exact))
        value = accuracy(credit(ratio, table.answers_Q))
        way = f" ({table.meta['precision']})" if "auto" in title else ""
        print(f"| {title}{way} | {rounding(*pair):.3g} | {100 * same:.0f}% | {value.value:.3f} "
              f"({value.low:.3f}-{value.high:.3f}) | {took:.1f} |", flush=True)  # fmt: skip


def fields(table: Likelihoods) -> tuple:
    return table.questions, np.stack([table.head(POSITIVE), table.head(NEGATIVE)]), table.tokens_QC, table.cut_QC


def stored_in(likra: Likra, dtype: torch.dtype) -> None:
    """Round the base's weights in place; the heads stay as they are."""
    heads = {id(side) for m in likra.base.model.modules() if isinstance(m, StackedLora) for side in (m.a, m.b)}
    for parameter in likra.base.model.parameters():
        if id(parameter) not in heads:
            parameter.data = parameter.data.to(dtype)


def measure(likra: Likra, questions: list, *, stored: bool) -> None:
    """All ways, with the weights as they were loaded, and rounded to bfloat16."""
    print("| read | error / spread | same choice as float64 | accuracy | s |\n|---|---:|---:|---:|---:|", flush=True)
    exact = read(likra, questions, FLOAT64)
    cuda = likra.base.device.type == "cuda"
    read(likra, questions[:2], FLOAT32)
    runs = {
        title: partial(read, likra, questions, way) for way, title in TITLES.items() if cuda or way not in (SPLIT, TF32)
    }
    if stored:
        runs["bfloat16 autocast"] = partial(autocast, likra, questions)
    runs["auto"] = partial(read, likra, questions, None)
    rows(exact, runs)
    stored_in(likra, torch.bfloat16)
    assert computes_in_float32(likra.base.model)
    exact = read(likra, questions, FLOAT64)  # of the same rounded weights
    ways = {"as they are, activations too": STORED} if stored else {}
    ways |= {"float32": FLOAT32, "`fast`": DIFFERENCE, "`auto`": None}
    rows(exact, {f"weights in bfloat16: {title}": partial(read, likra, questions, way) for title, way in ways.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_model(parser)
    parser.add_argument("--data", default="arc-challenge", help="a source of questions")
    parser.add_argument("--sizes", default="64,1024", help="training questions of the heads")
    parser.add_argument("--heads", default="", help="folders of heads trained on so many questions, with commas")
    parser.add_argument("--questions", type=int, default=100, help="test questions")
    parser.add_argument(
        "--without-stored",
        action="store_true",
        help="leave out bfloat16 as torch computes it, which takes CPUs without such products ten times as long",
    )
    options = parser.parse_args()
    source = loaded(options.data)
    questions = source.questions["test"][: options.questions]
    print(f"{common.machine()}; {Path(options.model or 'world').name}, {len(questions)} test questions, seed 0\n")
    sizes = options.sizes.split(",")
    folders = options.heads.split(",") if options.heads else [""] * len(sizes)
    for size, folder in zip(sizes, folders, strict=True):
        if folder:
            likra = Likra.from_pretrained(folder)
        else:
            likra = Likra.from_base(options.model or "world", recipe="paper").fit(source, limit=int(size))
        print(f"Heads trained on {size} questions\n")
        measure(likra, questions, stored=not options.without_stored)
        likra.trained.remove()
        print()


if __name__ == "__main__":
    main()
