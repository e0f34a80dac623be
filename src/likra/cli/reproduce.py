"""`likra reproduce`: a preset of studies, one report, and a verdict on each of the paper's claims."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from likra.cli import options
from likra.cli.study import Ray, finish

if TYPE_CHECKING:
    from likra.lab.presets import Preset


def reproduce(
    preset: Annotated[
        str,
        typer.Option(
            help="world: every study on the embedded model. real: SmolLM2-135M on ARC and "
            "HellaSwag, with controls, rivals and transfer, some hours on two cores. blimp: curve, likelihoods, "
            "weights and rivals on BLiMP and a small language model. paper: the paper itself, for a GPU and the hub.",
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
        str | None,
        typer.Option(
            help="blimp, real: another model, or a file of the same, in place of the preset's own.", metavar="MODEL"
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds. [default: the preset's]")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the jobs, models and sources of the preset, and do nothing.")
    ] = False,
    ray: Ray = None,
) -> None:
    """Re-measure the paper: a preset of studies, one report, and a verdict per claim, which can be "not reproduced".

    A run that is killed goes on where it was when the same command is given again.
    """
    from dataclasses import replace

    from likra.errors import InputError
    from likra.lab.presets import preset as find

    pairs = [text.partition("=") for text in replaced or []]
    for name, equals, path in pairs:
        if not (name and equals and path):
            raise InputError(f"--with {name}{equals}{path}: give NAME=PATH.")
    found = find(preset, {name: path for name, _, path in pairs}, model)
    if seeds is not None:
        found = replace(
            found, plans=tuple((name, replace(plan, seeds=tuple(range(seeds)))) for name, plan in found.plans)
        )
    if found.missing:
        options.note(found.missing)
    if dry_run:
        _show_plan(found)
        return
    out = out or Path(f"likra-{preset}")
    finish(found.plans, out, ray)
    _show_verdicts(out)


def _show_verdicts(out: Path) -> None:
    from likra.lab.claims import verdicts
    from likra.lab.report.text import short
    from likra.lab.runner.results import RESULTS, load_table

    table = Table("on", "where", "the paper says", "we measure", "verdict", box=None, pad_edge=False)
    for verdict in verdicts(load_table(out / RESULTS)):
        on = f"{short(verdict.model)}, {short(verdict.data)}"
        table.add_row(on, verdict.source, verdict.claim, verdict.measured, verdict.verdict)
    options.show_table(table)


def _show_plan(preset: "Preset") -> None:
    """Print the jobs of each study, and the models and sources that they read."""
    from dataclasses import replace

    from likra.lab.run import together
    from likra.lab.study import STUDIES

    console = options.console()
    console.print(f"{preset.about}\n(shared: jobs that a study above has too)\n", soft_wrap=True, markup=False)
    seen: set[str] = set()
    table = Table("study", "jobs", "shared", "adapters", box=None, pad_edge=False)
    plans = together([(name, replace(plan, dry=True)) for name, plan in preset.plans])
    for name in dict.fromkeys(name for name, _ in plans):
        jobs = {job.key: job for other, plan in plans if other == name for job in STUDIES[name].jobs(plan)}
        shared = len(seen & set(jobs))
        seen |= set(jobs)
        kinds = Counter(", ".join(job["heads"]) if job["name"] == "heads" else job["name"] for job in jobs.values())
        trained = "; ".join(f"{count} x {kind}" for kind, count in kinds.items())
        table.add_row(name, str(len(jobs)), str(shared), trained)
    options.show_table(table)
    tasks = [task for _, plan in plans for task in plan.tasks]
    for label, names in (("models", [task.model for task in tasks]), ("sources", [task.data for task in tasks])):
        console.print(f"{label}: {', '.join(dict.fromkeys(names))}", soft_wrap=True, markup=False)
    console.print(f"{len(seen)} different jobs. With --ray, they run beside each other.", soft_wrap=True, markup=False)
