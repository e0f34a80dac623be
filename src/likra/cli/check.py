"""`likra check`: whether a promise about automated answers still holds."""

from typing import TYPE_CHECKING, Annotated

import typer

from likra.cli import options
from likra.utils import parallel

if TYPE_CHECKING:
    from likra.scoring.calibration_error import CalibrationRecord
    from likra.scoring.promise import Kept

BROKEN = 1  # exit code


@options.opens_heads
def check(
    heads: options.Heads,
    data: options.Data,
    error_budget: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Largest share of wrong ones among automated answers. [default: what the threshold was chosen for]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, validation, test or all. [default: as in eval: all of data that names no splits and did not "
            "train the heads, else test, or validation where there is no test]"
        ),
    ] = None,
    template: options.Template = None,
    text: options.Text = None,
    label: options.Label = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many questions.")] = None,
    json: options.Json = False,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Check on new questions with known answers that automated answers are still right often enough.

    `likra calibrate --error-budget 0.05` chose a probability from which answers are taken without a look. Exit code 1
    says that of such answers to the new questions more are wrong than the budget allows and chance explains (exact
    binomial test at level 0.05); 0 that there is no sign of it, or that there are too few to tell; 2 is bad input.
    """
    from functools import partial

    from likra.cli.evaluate import tables
    from likra.data.few_shot import with_few_shot
    from likra.data.overlap import overlaps
    from likra.data.sources import in_style_of, restyled
    from likra.errors import InputError
    from likra.scoring.budget import check_error_budget
    from likra.scoring.config import Scoring
    from likra.scoring.promise import check_on
    from likra.training.provenance import remarks, split_to_judge

    if error_budget is not None:
        check_error_budget(error_budget)
    parallel.start()
    saved = how.read(heads)
    record = saved.calibration
    if record is None or record.automation is None:
        raise InputError(
            f"{heads}: keeps no threshold to check; choose one first, by records that did not train these heads: "
            f"`likra calibrate {heads} --data FILE --error-budget 0.05`; or tune again with --error-budget."
        )
    if record.automation.average is None:
        raise InputError(
            f"{heads}: nothing is automated, so there is nothing to check; with more questions, or a larger "
            "--error-budget, `likra calibrate` may find a threshold."
        )
    fitted = record.calibration
    source = in_style_of(options.load(data, template, text, label, saved.training), saved.style)
    if fitted.style not in (None, source.style):
        source = restyled(source, str(fitted.style))
    split, _ = split_to_judge(saved.training, source, split)
    for remark in remarks(saved.training, saved.style, source, split, limit):
        options.note(remark)
    if overlaps(record.asked, source.split(split)[:limit]):
        options.note("the threshold was chosen by some of the questions judged here; new ones would tell more")
    asked, prompter = with_few_shot(source, saved.style, split=split, shots=fitted.shots, limit=limit)
    read = partial(tables, heads, saved, options.runtime(memory), how, asked)
    scoring = Scoring(fitted.scored_by, fitted.weight, fitted.normalization)
    kept = check_on(saved.judge.evaluate(asked, prompter, read, scoring), record, error_budget)
    if parallel.rank() == 0:
        if json:
            options.echo_json({"questions": len(asked), **kept.as_json()})
        else:
            _show(kept, record)
    if not kept.holds:
        raise typer.Exit(BROKEN)


def _show(kept: "Kept", record: "CalibrationRecord") -> None:
    console = options.console()
    automation = record.automation
    console.print(f"From a probability of {kept.automated.threshold:.4f} on, of {kept.automated.share.count}:")
    console.print(f"  {kept.automated.sentence}")
    if automation and automation.average:
        console.print(f"  when it was chosen ({automation.decisions} questions): {automation.average.sentence}")
    console.print(kept.sentence)
