"""`likra tune`: heads from few records in one command, with an honest figure beside what one would do instead."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from likra.cli import options
from likra.cli.tracking import ReportTo, log, tracking
from likra.utils import parallel

if TYPE_CHECKING:
    from likra.scoring.calibration_error import CalibrationRecord


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP, show_default=False)],
    data: options.Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder to write the heads to; must not exist or be empty.", show_default=False
        ),
    ],
    folds: Annotated[int, typer.Option(min=2, help="Parts of the data; each is judged by heads of the others.")] = 5,
    try_lr: Annotated[
        str, typer.Option(metavar="RATE,...", help="Learning rates to try; of equally good ones the first.")
    ] = "1e-3,3e-4",
    try_epochs: Annotated[
        str,
        typer.Option(metavar="N,...", help="Passes over the data to try, in one run; of equally good ones the first."),
    ] = "3,1,5",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only so many records, drawn by --seed.")] = None,
    template: options.Template = None,
    text: options.Text = None,
    label: options.Label = None,
    error_budget: options.ErrorBudget = None,
    adapt: Annotated[
        str,
        typer.Option(
            help="completion: the base reads the prompts, once for all folds and epochs, and the heads act on what "
            "follows: some ten times as fast. everywhere: plain LoRA."
        ),
    ] = "completion",
    keep_data: options.KeepData = False,
    seed: Annotated[int, typer.Option(help="Seed of the folds, the first weights, the draws and the order.")] = 0,
    report_to: ReportTo = None,
    json: options.Json = False,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    quantize: options.Quantize = None,
    memory: options.Memory = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Find out what to train on your records, say how good it is, train it on all of them, and calibrate it.

    Meant for 40 to 500 records. Every record is judged by heads that never saw it, at settings (learning rate, epochs,
    weight, which heads) that the other folds chose. Beside Likra stand SFT, the base, PMI, and two classifiers on the
    same folds: logistic regressions on TF-IDF and on the base's hidden states. If one of those is better, this is said
    first. Thumbs (prompt, completion, label) cannot be tuned yet: `likra eval MODEL --folds 5` judges them.

    A run that was killed goes on where it stopped when the same command is given again.
    """
    from likra.data.folds import foldable, folds_of
    from likra.errors import InputError
    from likra.scoring.budget import check_error_budget
    from likra.training.dataset import drawn
    from likra.utils.files import check_free, claimed, unfinished
    from likra.utils.locations import check_model
    from likra.utils.numbers import counts_of, rates_of

    check_free(out)
    check_model(model)
    tracked = tracking(report_to, out, new=True)
    parallel.start()
    if parallel.world() > 1:
        raise InputError("likra tune runs in one process; start it without a launcher.")
    rates, epochs = rates_of("--try-lr", try_lr), counts_of("--try-epochs", try_epochs)
    if error_budget is not None:
        check_error_budget(error_budget)
    source = options.load(data, template, text, label)
    if source.unpaired:
        raise InputError(
            f"{source.name}: unpaired data (prompt, completion, label) cannot be tuned yet; `likra eval MODEL --folds "
            "5` judges it, and `likra train` trains on it."
        )
    folds_of(drawn(foldable(source), limit, seed), folds, seed)  # refuses before a model is loaded

    from likra.training.config import TrainingConfig
    from likra.training.fit import Run
    from likra.tuning import tune as find

    config = TrainingConfig(adapt=adapt, seed=seed)
    with claimed(out):
        state = unfinished(out)
        if (state / "folds" / "run.json").exists():
            sys.stderr.write(f"likra: going on with the unfinished run in {state}\n")
        likra, found = find(
            model,
            source,
            learning_rates=rates,
            epochs=epochs,
            folds=folds,
            limit=limit,
            error_budget=error_budget,
            training_config=config,
            keep_data=keep_data,
            run=Run(state, runtime=options.runtime(memory, tracking=tracked)),
            **options.loading(revision, dtype, device, trust_remote_code, quantize),
        )
        likra.save_pretrained(out)
        shutil.rmtree(state, ignore_errors=True)
    log(tracked, {**found.as_json(), "expected": found.honest.as_accuracy()}, len(likra.losses))
    if json:
        options.echo_json(found.as_json())
        return
    from likra.scoring.tuning import title_of

    console = options.console()
    for sentence in found.conclusion:
        console.print(sentence, markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("method", "accuracy", "95% interval"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, value in found.rows.items():
        table.add_row(title_of(method), f"{value.value:.4f}", f"{value.low:.4f} to {value.high:.4f}")
    options.show_table(table)
    honest, count = found.honest, len(found.found.fold_Q)
    console.print(
        f"{count} records, {folds} folds. What to expect of these heads on new records: {honest.value:.4f} "
        f"({honest.low:.4f} to {honest.high:.4f}), the choice of heads and settings included."
    )
    if kept := likra.calibration:
        for sentence in kept.automation.sentences if kept.automation else ():
            console.print(sentence, markup=False)
        error = f"expected calibration error {kept.before:.4f}"
        console.print(
            f"Calibrated: no correction of the scores' own probabilities is better ({error})."
            if kept.calibration.is_plain
            else f"Calibrated: {error} before, {kept.after:.4f} after{_briers(kept)}."
        )
    else:
        nothing = "" if error_budget is None else ", so nothing can be automated"
        console.print(f"Not calibrated: these records give no calibration that is better than none{nothing}.")
    if cut := found.found.likelihoods.questions_cut:
        console.print(f"{cut} records overran the model's context; their prompts were cut from the left.")
    console.print(f"Heads are in {out}. Next: likra score {out} --question ... --choice ...", markup=False)


def _briers(kept: "CalibrationRecord") -> str:
    """The Brier scores, by which a calibration is kept."""
    return f"; Brier score {kept.briers[0]:.4f} before, {kept.briers[1]:.4f} after" if kept.briers else ""
