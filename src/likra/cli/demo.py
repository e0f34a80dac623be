"""`likra demo`: watch the effect, on the embedded model or on any other."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from likra.cli import options

if TYPE_CHECKING:
    import pandas as pd

_WORLD = (
    "This is a model organism: a small model that ships with likra. In the paper, on ARC-Challenge with 7 billion "
    "parameters, Likra jumps between 64 and 256 training questions, most from 64 to 128; where it jumps here is this "
    "world's own property."
)


def demo(
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help=options.MODEL_HELP + " Takes --data too. [default: the embedded model]"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="SOURCE", help=options.DATA_HELP + " [default: the embedded model's own]")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge on so many test questions, drawn once. [default: all]")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for heads, results.parquet, figures and report.html.")
    ] = Path("likra-demo"),
    sizes: Annotated[str, typer.Option(help="Numbers of training questions.")] = "0,8,16,32,64,128,256,512",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, all trained in one pass.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate; the default is the paper's.")] = 1e-4,
) -> None:
    """Learning curves of SFT, Base-Likra and Likra, with controls: a table, and a page to look at.

    On the embedded model it takes three minutes. On another one, for example `likra demo --model
    HuggingFaceTB/SmolLM2-135M-Instruct --data arc-paper --limit 300 --seeds 1`, it takes as long as its training; when
    it is killed, the same command goes on where it was.
    """
    from likra.errors import InputError
    from likra.lab.runner.results import RESULTS
    from likra.utils.files import check_free, check_writable
    from likra.utils.locations import check_model

    if (model is None) != (data is None):
        raise InputError("--model and --data: give both, or neither for the embedded model and its data.")
    if model is None:
        check_free(out)
    else:
        check_writable(out / RESULTS)
        check_model(model)
    numbers = options.numbers("--sizes", sizes)

    from likra.lab.demo import EMBEDDED, run_demo
    from likra.lab.runner.task import Task

    task = EMBEDDED if model is None or data is None else Task(model, data)
    task = replace(task, limit=limit)
    start = time.perf_counter()
    table = run_demo(out, numbers, range(seed, seed + seeds), lr, task)
    _show(table)
    if model is None:
        options.console().print(_WORLD)
    console = options.console()
    console.print(
        f"\n{time.perf_counter() - start:.0f} seconds. Open {out / 'report.html'} to see it. The heads of each seed "
        f"are in {out / 'heads'}, for `likra score` and `likra eval`.",
        soft_wrap=True,
        markup=False,
    )


def _show(results: "pd.DataFrame") -> None:
    from likra.scoring.accuracy import wilson
    from likra.scoring.scores import METHOD_TITLES

    accuracy = results[(results["study"] == "curve") & (results["quantity"] == "accuracy") & (results["seed"] >= 0)]
    questions, seeds = int(accuracy["count"].iloc[0]), accuracy["seed"].nunique()
    table = Table(box=None, pad_edge=False, title_justify="left")
    for title in ("training questions", *METHOD_TITLES.values()):
        table.add_column(title, justify="right")
    for size, of_size in accuracy.groupby("size"):
        cells = []
        for method in METHOD_TITLES:
            mean = sum(of_size["value"][of_size["method"] == method].tolist()) / seeds
            low, high = wilson(mean, questions)
            cells.append(f"{100 * mean:.1f} ({100 * low:.0f}-{100 * high:.0f})")
        table.add_row(str(size), *cells)
    options.show_table(table)
    options.console().print(
        f"\nAccuracy in percent on {questions} questions, mean of {seeds} seeds (Wilson 95% interval over "
        "the questions)."
    )
    _show_controls(results)


def _show_controls(results: "pd.DataFrame") -> None:
    """What of Likra's accuracy is reached without the question."""
    from likra.lab.report.text import points, share
    from likra.lab.runner.results import one, pick

    curve = pick(results, study="curve", method="likra")
    gains = pick(curve, quantity="reading_gain")
    if gains.empty:
        return
    last = gains["size"].max()
    blind, gain = one(curve, quantity="control", test="blind", size=last), one(gains, size=last)
    options.console().print(
        f"With the question hidden, Likra reaches {share(blind)} percent after {last} training questions: reading the "
        f"question gains it {points(gain)} points (95% intervals)."
    )
