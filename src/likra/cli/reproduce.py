"""`likra reproduce`: a preset of studies, one report, and a verdict on each of the paper's claims."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from likra.cli import options
from likra.cli.study import Ray, finish

if TYPE_CHECKING:
    from likra.study.cells import Cell

GPU_SPEED = 1.5e14  # operations per second that are reckoned with: about a third of what a current GPU does in bfloat16
CPU_SPEED = 3e11  # likewise, on two CPU cores: what the preset `world` came to, by this reckoning, in 890 seconds


def reproduce(
    preset: Annotated[
        str,
        typer.Option(
            help="world: every study on the embedded model, 20 minutes on two cores. blimp: curve, likelihoods, "
            "weights and "
            "rivals on BLiMP and a small language model. paper: the paper itself, for a GPU and the hub.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for everything. [default: likra-PRESET]")
    ] = None,
    replaced: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=PATH",
            help="Read a model or source of the preset from elsewhere; may be given again. For example "
            "--with arc-paper=arc-paper:FOLDER (with ARC-Challenge and ARC-Easy in it), --with hellaswag=FOLDER, "
            "--with mistralai/Mistral-7B-v0.1=FOLDER.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="blimp: another model, in place of the preset's own.", metavar="MODEL")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds. [default: the preset's]")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, downloaded and needed, and do nothing.")
    ] = False,
    ray: Ray = None,
) -> None:
    """Re-measure the paper: a preset of studies, one report, and a verdict per claim, which can be "not reproduced".

    A run that is killed goes on where it was when the same command is given again.
    """
    from dataclasses import replace

    from likra.errors import InputError
    from likra.study.catalogue import study, together
    from likra.study.presets import preset as find

    pairs = [text.partition("=") for text in replaced or []]
    for name, equals, path in pairs:
        if not (name and equals and path):
            raise InputError(f"--with {name}{equals}{path}: give NAME=PATH.")
    found = find(preset, {name: path for name, _, path in pairs}, model)
    plans = list(found.plans)
    if seeds is not None:
        plans = [(name, replace(plan, seeds=tuple(range(seeds)))) for name, plan in plans]
    if dry_run:
        cells: dict[str, list[Cell]] = {}
        for name, plan in together([(name, replace(plan, dry=True)) for name, plan in plans]):
            cells.setdefault(name, []).extend(study(name).cells(plan))
        _show_plan(found.about, cells)
        return
    out = out or Path(f"likra-{preset}")
    finish(plans, out, ray)
    _show_verdicts(out)


def _show_verdicts(out: Path) -> None:
    from likra.report.figures import short
    from likra.study.claims import verdicts
    from likra.study.results import load_rows

    table = Table(box=None, pad_edge=False)
    for column in ("on", "where", "the paper says", "we measure", "verdict"):
        table.add_column(column)
    for verdict in verdicts(load_rows(out / "results.parquet")):
        on = f"{short(verdict.model)}, {short(verdict.data)}"
        table.add_row(on, verdict.source, verdict.claim, verdict.measured, verdict.verdict)
    options.show_table(table)


def _show_plan(about: str, cells: "dict[str, list[Cell]]") -> None:
    from likra.study.estimate import at_hand, bytes_of, data_of, operations, parameters_of
    from likra.study.task import Task

    console = options.console()
    console.print(f"{about}\n(shared: cells that a study above has too)\n", soft_wrap=True, markup=False)
    seen: set[str] = set()
    table = Table("study", "cells", "shared", "heads", box=None, pad_edge=False)
    for name, some in cells.items():
        distinct = dict.fromkeys(some)
        shared = sum(cell.key in seen for cell in distinct)
        seen |= {cell.key for cell in distinct}
        kinds = Counter(", ".join(cell["heads"]) if cell.work == "heads" else cell.work for cell in distinct)
        table.add_row(
            name, str(len(distinct)), str(shared), "; ".join(f"{count} x {kind}" for kind, count in kinds.items())
        )
    options.show_table(table)
    every = list({cell.key: cell for some in cells.values() for cell in some}.values())
    tasks = list({json.dumps(cell["task"], sort_keys=True): Task(**cell["task"]) for cell in every}.values())
    sources = Table("source", "training questions", "test questions", "", box=None, pad_edge=False)
    for name in dict.fromkeys(task.data for task in tasks):
        data = data_of(name)
        if data is None:
            sources.add_row(name, "?", "?", "not at hand")
        else:
            note = "" if data.known else "to be downloaded from the hub; numbers as published"
            sources.add_row(name, f"{data.train:,}", f"{data.test:,}", note)
    options.show_table(sources)
    models = Table(
        Column("model", overflow="fold"), "parameters", "loaded", "with heads in training", "", box=None, pad_edge=False
    )
    for task in {task.model: task for task in tasks}.values():
        parameters, size = parameters_of(task.model), bytes_of(task)
        if parameters is None or size is None:
            models.add_row(task.model, "?", "?", "?", "not at hand")
            continue
        note = "" if at_hand(task.model) else f"to be downloaded: {2 * parameters / 2**30:.0f} GiB"
        # Two heads with Adam's two moments, about 0.6% of the base each at rank 16, and activations.
        training = size + 2 * 0.006 * parameters * 16 + 0.5 * size
        count = f"{parameters / 1e9:.3g} billion" if parameters > 1e9 else f"{parameters / 1e6:.3g} million"
        models.add_row(task.model, count, _gib(size), _gib(training), note)
    options.show_table(models)
    total = operations(every)
    if total is None:
        console.print("operations: not known, for a model or source is not at hand")
        return
    speed, where = (GPU_SPEED, "one GPU") if total > 1e16 else (CPU_SPEED, "two CPU cores")
    hours = total / speed / 3600
    time = f"{hours:.0f} hours" if hours > 2 else f"{60 * hours:.0f} minutes"
    console.print(
        f"{len(every)} different cells, {total:.2g} operations: about {time} on {where} at {speed:.1g} operations per "
        "second. With --ray, cells run beside each other. This is reckoned, not measured.",
        soft_wrap=True,
        markup=False,
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
