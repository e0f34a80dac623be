"""`likra demo`: watch the effect on the embedded model."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from likra.cli import options

if TYPE_CHECKING:
    from likra.study.curve import Curve


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for heads, results.json, curve.png and report.html.")
    ] = Path("likra-demo"),
    sizes: Annotated[str, typer.Option(help="Numbers of training questions.")] = "0,8,16,32,64,128,256,512",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, all trained in one pass.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate; the default is the paper's.")] = 1e-4,
) -> None:
    """Learning curves of SFT, Base-Likra and Likra on the embedded model: a table, and a page to look at."""
    from likra.files import check_free

    check_free(out)
    numbers = options.numbers("--sizes", sizes)

    from likra.builtin import WORLD
    from likra.heads import Recipe, load_base
    from likra.progress import progress_bar
    from likra.questions import load
    from likra.report.demo import write_demo
    from likra.study.curve import learning_curve

    start = time.perf_counter()
    source, base = load(WORLD), load_base(WORLD)
    with progress_bar(f"Training {2 * seeds} heads in one stack", "steps") as move:
        curve = learning_curve(
            base,
            source.questions["train"],
            source.questions["test"],
            style=source.style,
            sizes=numbers,
            seeds=range(seed, seed + seeds),
            recipe=Recipe(learning_rate=lr),
            progress=move,
        )
    write_demo(curve, source, Recipe(learning_rate=lr), out)
    _show(curve)
    console = options.console()
    console.print(
        f"\n{time.perf_counter() - start:.0f} seconds. Open {out / 'report.html'} to see it. The heads of each seed "
        f"are in {out / 'heads'}, for `likra score` and `likra eval`.",
        soft_wrap=True,
        markup=False,
    )


def _show(curve: "Curve") -> None:
    from likra.judge import METHOD_TITLES, wilson

    questions = len(curve.tables[curve.sizes[0]].questions)
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.add_column("training questions", justify="right")
    for title in METHOD_TITLES.values():
        table.add_column(title, justify="right")
    for size in curve.sizes:
        cells = []
        for method in METHOD_TITLES:
            mean = curve.mean(size, method)
            low, high = wilson(mean, questions)
            cells.append(f"{100 * mean:.1f} ({100 * low:.0f}-{100 * high:.0f})")
        table.add_row(str(size), *cells)
    console = options.console()
    options.show_table(table)
    console.print(
        f"\nAccuracy in percent on {questions} questions, mean of {len(curve.seeds)} seeds (Wilson 95% interval over "
        "the questions). This is a model organism: a small model that ships with likra. In the paper, on ARC-Challenge "
        "with 7 billion parameters, Likra jumps between 64 and 256 training questions; where it jumps here is this "
        "world's own property."
    )
