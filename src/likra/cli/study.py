"""`likra study`: the paper's experiments and ours, on any model and any data."""

import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likra.cli import options
from likra.study.about import STUDIES

if TYPE_CHECKING:
    from likra.study.plan import Plan
    from likra.study.results import Row

app = typer.Typer(
    help="The paper's experiments and ours, on any model and any data, with intervals, figures and a report.\n\n"
    "`likra study curve world --data world --out DIR` takes two minutes. A study that is killed goes on where it was "
    "when the same command is given again.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Out = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Folder for results.parquet, figures, report.html and the finished cells, which are never run again.",
        show_default=False,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Hand cells to a Ray cluster: auto, host:port or ray://host:port."),
]

#: Options that one study alone has.
_ONLY = {"kinds": "negatives", "unrelated_data": "negatives", "reworded": "paraphrase", "voices": "mechanism"}


def _command(name: str) -> Callable[..., None]:
    def run(
        models: Annotated[
            list[str],
            typer.Argument(
                metavar="MODEL...", help=options.MODEL_HELP + " Several are studied each.", show_default=False
            ),
        ],
        data: Annotated[
            list[str],
            typer.Option(
                "--data", metavar="SOURCE", help=options.DATA_HELP + " May be given again.", show_default=False
            ),
        ],
        out: Out,
        sizes: Annotated[
            str, typer.Option(help="Numbers of training questions; all but the last are multiples of the batch size.")
        ] = "0,8,16,32,64,128,256,512",
        seeds: Annotated[int, typer.Option(min=1, help="Number of seeds; each draws questions and first weights.")] = 3,
        limit: Annotated[
            int | None, typer.Option(min=1, help="Judge on so many test questions, drawn once. [default: all]")
        ] = None,
        shots: options.Shots = 0,
        lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-4,
        batch_size: Annotated[int, typer.Option(min=1, help="Examples per head and step.")] = 8,
        rank: Annotated[int, typer.Option(min=1, help="Rank of the low-rank updates.")] = 16,
        targets: Annotated[
            str, typer.Option(help="Linear layers that are adapted: all-linear, or names separated by commas.")
        ] = "all-linear",
        bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16 (autocast).")] = False,
        weight: Annotated[float, typer.Option(help="w in L+ - w * L-.")] = 1.0,
        normalisation: options.Norm = "raw",
        kinds: Annotated[
            str, typer.Option(help="Kinds to compare, separated by commas.")
        ] = "incorrect,irrelevant,unrelated,all,mined",
        unrelated_data: Annotated[
            str | None,
            typer.Option(metavar="SOURCE", help="Where `unrelated` ones come from. [default: an embedded one]"),
        ] = None,
        reworded: Annotated[
            str | None,
            typer.Option(
                metavar="SOURCE",
                help="The test questions with every choice in other words, by the same ids. "
                "[default for world: world-reworded]",
            ),
        ] = None,
        voices: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help='JSON {"reliable": [...], "unreliable": [...]}: texts that open a document in a voice to be '
                "trusted or not. [default for embedded models: their sources]",
            ),
        ] = None,
        ray: Ray = None,
        revision: options.Revision = None,
        dtype: options.Dtype = None,
        device: options.Device = None,
        quantize: options.Quantize = None,
        memory: options.Memory = None,
        trust_remote_code: options.TrustRemoteCode = False,
    ) -> None:
        from likra.builtin import WORLD
        from likra.layout import check_model

        for model in models:
            check_model(model)

        from likra.heads.recipe import Recipe
        from likra.judge.scores import check_normalisation, check_weight
        from likra.study.plan import Plan
        from likra.study.task import Task

        check_normalisation(normalisation)
        check_weight(weight)
        loading = options.loading(revision, dtype, device, trust_remote_code, quantize)
        if not trust_remote_code:
            del loading["trust_remote_code"]
        tasks = tuple(
            Task(
                model,
                source,
                loading,
                limit=limit,
                shots=shots,
                unrelated=unrelated_data or ("world-unrelated" if source == WORLD else WORLD),
                reworded=reworded or ("world-reworded" if source == WORLD else None),
                memory=options.in_bytes(memory),
            )
            for source in dict.fromkeys(data)
            for model in dict.fromkeys(models)
        )
        plan = Plan(
            tasks,
            sizes=options.numbers("--sizes", sizes),
            seeds=tuple(range(seeds)),
            recipe=Recipe(learning_rate=lr, batch_size=batch_size, rank=rank, targets=targets, bf16=bf16),
            weight=weight,
            normalisation=normalisation,
            kinds=tuple(kind.strip() for kind in kinds.split(",")),
            voices=str(voices) if voices else None,
        )
        finish([(name, plan)], out, ray)

    run.__doc__ = STUDIES[name]
    known = inspect.signature(run)
    kept = [p for option, p in known.parameters.items() if _ONLY.get(option, name) == name]
    run.__signature__ = known.replace(parameters=kept)  # type: ignore[attr-defined]
    return run


for _name in STUDIES:
    app.command(_name)(_command(_name))


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders that studies wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the joint report.", show_default=False)],
) -> None:
    """Join several studies into one report, without running anything."""
    from likra.errors import InputError
    from likra.files import check_writable
    from likra.report.facts import read_facts, write_facts
    from likra.report.study_page import write_report
    from likra.study.results import RESULTS, load_rows, save_rows, without

    rows: list[Row] = []
    facts: dict[str, Any] = {}
    check_writable(out / RESULTS)
    for folder in folders:
        found = load_rows(folder / RESULTS)
        if len(without(rows, found)) < len(rows):
            raise InputError(
                f"{folder}: has a study of a model on a source that an earlier folder has too; leave one of them out."
            )
        rows += found
        facts |= {f"{folder}: {label}": value for label, value in read_facts(folder).items()}
    save_rows(rows, out / RESULTS)
    write_facts(facts, out)
    write_report(rows, facts, out)
    options.console().print(f"The report is {out / 'report.html'}.", soft_wrap=True, markup=False)


def finish(plans: "Sequence[tuple[str, Plan]]", out: Path, ray: str | None) -> None:
    """Run studies, write their report and say what was found."""
    from likra.files import check_writable
    from likra.report.facts import facts_of, read_facts, write_facts
    from likra.report.sections import section
    from likra.report.study_page import write_report
    from likra.study.catalogue import run_studies
    from likra.study.results import RESULTS

    check_writable(out / RESULTS)
    start = time.perf_counter()
    rows, ran = run_studies(plans, out, ray=ray)
    facts = {**read_facts(out), **facts_of(plans)}
    write_facts(facts, out)
    write_report(rows, facts, out)
    console = options.console()
    for name in dict.fromkeys(name for name, _ in plans):
        for sentence in section(name, rows).sentences:
            console.print(f"{name}: {sentence}", soft_wrap=True, markup=False)
    console.print(
        f"\n{ran} cells were run in {time.perf_counter() - start:.0f} seconds. The report is {out / 'report.html'}, "
        f"the numbers are in {out / RESULTS}.",
        soft_wrap=True,
        markup=False,
    )
