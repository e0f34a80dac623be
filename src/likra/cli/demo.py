"""`likra demo`: watch the effect on the embedded model."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from likra.cli import options

if TYPE_CHECKING:
    import pandas as pd


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for heads, results.parquet, figures and report.html.")
    ] = Path("likra-demo"),
    sizes: Annotated[str, typer.Option(help="Numbers of training questions.")] = "0,8,16,32,64,128,256,512",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, all trained in one pass.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate; the default is the paper's.")] = 1e-4,
) -> None:
    """Learning curves of SFT, Base-Likra and Likra on the embedded model: a table, and a page to look at."""
    from likra.utils.files import check_free

    check_free(out)
    numbers = options.numbers("--sizes", sizes)

    from likra.lab.demo import run_demo

    start = time.perf_counter()
    table = run_demo(out, numbers, range(seed, seed + seeds), lr)
    _show(table)
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
        "the questions). This is a model organism: a small model that ships with likra. In the paper, on ARC-Challenge "
        "with 7 billion parameters, Likra jumps between 64 and 256 training questions, most from 64 to 128; where it "
        "jumps here is this world's own property."
    )
