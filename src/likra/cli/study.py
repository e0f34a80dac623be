"""`likra study`: the paper's experiments and ours, on any model and any data."""

import inspect
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from likra.cli import options

if TYPE_CHECKING:
    from likra.lab.runner.plan import Plan


class Studies(TyperGroup):
    """The registered studies as commands: each is imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        from likra.lab.study import STUDIES

        return [*STUDIES.names(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from likra.lab.study import STUDIES

        own = super().get_command(ctx, cmd_name)
        return own if own or cmd_name not in STUDIES.names() else _command(cmd_name)


app = typer.Typer(
    cls=Studies,
    help="The paper's experiments and ours, on any model and any data, with intervals, figures and a report.\n\n"
    "`likra study curve world --data world --out DIR` takes a few minutes. A study that is killed goes on where it was "
    "when the same command is given again.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Out = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Folder for results.parquet, figures, report.html and the finished jobs, which are never run again.",
        show_default=False,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Hand jobs to a Ray cluster: auto, host:port or ray://host:port; local starts one here."
    ),
]


def _command(name: str) -> TyperCommand:
    """The command of one study: the options of all studies, and those of its own `configure`."""
    from likra.lab.study import STUDIES

    study = STUDIES[name]
    own = [one for one in inspect.signature(study.configure).parameters.values() if one.kind is one.KEYWORD_ONLY]

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
            int | None, typer.Option(min=1, help="Evaluate on so many test questions, drawn once. [default: all]")
        ] = None,
        template: options.Template = None,
        text: options.Text = None,
        label: options.Label = None,
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
        ray: Ray = None,
        revision: options.Revision = None,
        dtype: options.Dtype = None,
        device: options.Device = None,
        quantize: options.Quantize = None,
        precision: options.Precision = "faithful",
        memory: options.Memory = None,
        trust_remote_code: options.TrustRemoteCode = False,
        **of_study: Any,
    ) -> None:
        from likra.utils.locations import check_model

        for model in models:
            check_model(model)

        from likra.lab.runner.plan import Plan
        from likra.lab.runner.task import Task
        from likra.models.lora_config import lora_config
        from likra.scoring.scores import check_normalization, check_weight
        from likra.training.config import TrainingConfig

        check_normalization(normalisation)
        check_weight(weight)
        loading = options.loading(
            revision, dtype, device, trust_remote_code, quantize, None if precision == "faithful" else precision
        )
        if not trust_remote_code:
            del loading["trust_remote_code"]
        tasks = tuple(
            Task(
                model,
                source,
                loading,
                limit=limit,
                shots=shots,
                style=template,
                columns=options.columns(text, label),
                memory=options.in_bytes(memory),
            )
            for source in dict.fromkeys(data)
            for model in dict.fromkeys(models)
        )
        plan = Plan(
            tasks,
            sizes=options.numbers("--sizes", sizes),
            seeds=tuple(range(seeds)),
            config=TrainingConfig(
                lora=lora_config(r=rank, target_modules=options.targets(targets)),
                learning_rate=lr,
                per_device_train_batch_size=batch_size,
                bf16=bf16,
            ),
            weight=weight,
            normalisation=normalisation,
        )
        finish([(name, study.configure(plan, **of_study))], out, ray)

    common = [one for one in inspect.signature(run).parameters.values() if one.kind is not one.VAR_KEYWORD]
    run.__signature__ = inspect.Signature([*common, *own])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*common, *own)}
    alone = typer.Typer(rich_markup_mode="markdown", add_completion=False)
    alone.command(name, help=study.about)(run)
    command = typer.main.get_command(alone)
    assert isinstance(command, TyperCommand)
    return command


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders that studies wrote.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the joint report.", show_default=False)],
) -> None:
    """Join several studies into one report, without running anything."""
    import pandas as pd

    from likra.errors import InputError
    from likra.lab.report.page import write_report
    from likra.lab.run import read_facts, write_facts
    from likra.lab.runner.results import RESULTS, load_table, save_table, without
    from likra.utils.files import check_writable

    tables: list[pd.DataFrame] = []
    facts: dict[str, Any] = {}
    check_writable(out / RESULTS)
    for folder in folders:
        found = load_table(folder / RESULTS)
        if any(len(without(earlier, found)) < len(earlier) for earlier in tables):
            raise InputError(
                f"{folder}: has a study of a model on a source that an earlier folder has too; leave one of them out."
            )
        tables.append(found)
        facts |= {f"{folder}: {label}": value for label, value in read_facts(folder).items()}
    table = pd.concat(tables, ignore_index=True)
    save_table(table, out / RESULTS)
    write_facts(facts, out)
    write_report(table, facts, out)
    options.console().print(f"The report is {out / 'report.html'}.", soft_wrap=True, markup=False)


def finish(plans: "Sequence[tuple[str, Plan]]", out: Path, ray: str | None) -> None:
    """Run studies, write their report and print their sentences."""
    from likra.lab.report.page import write_report
    from likra.lab.run import facts_of, read_facts, run_studies, worst_rounding, write_facts
    from likra.lab.runner.results import RESULTS, pick
    from likra.lab.study import STUDIES
    from likra.utils.files import check_writable

    check_writable(out / RESULTS)
    start = time.perf_counter()
    table, ran = run_studies(plans, out, ray=ray)
    facts = {**read_facts(out), **facts_of(plans)}
    write_facts(facts, out)
    write_report(table, facts, out)
    console = options.console()
    for name in dict.fromkeys(name for name, _ in plans):
        for sentence in STUDIES[name].section(pick(table, study=name)).sentences:
            console.print(f"{name}: {sentence}", soft_wrap=True, markup=False)
    if (share := worst_rounding(out)) is not None:
        console.print(f"rounding: at most {100 * share:.2g}% of a ratio's spread, where it was measured")
    console.print(
        f"\n{ran} jobs were run in {time.perf_counter() - start:.0f} seconds. The report is {out / 'report.html'}, "
        f"the numbers are in {out / RESULTS}.",
        soft_wrap=True,
        markup=False,
    )
