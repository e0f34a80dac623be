"""`likra calibrate`: how sure is sure."""

from pathlib import Path
from typing import Annotated

import typer

from likra.cli import options


@options.opens_heads
def calibrate(
    heads: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that `likra train` wrote.", show_default=False)
    ],
    data: options.Data,
    method: Annotated[
        str,
        typer.Option(
            help="temperature: one number, fitted (of unpaired data a bias too: Platt scaling). isotonic: an isotonic "
            "regression (piecewise linear) besides; wants hundreds of questions. plain: the scores as they are."
        ),
    ] = "temperature",
    split: Annotated[
        str | None,
        typer.Option(
            help="Questions to calibrate on: train, validation, test or all; best ones that neither trained the heads "
            "nor will evaluate them. [default: validation; or all of data that names no splits and did not train the "
            "heads; or what `train --limit` left over]"
        ),
    ] = None,
    template: options.Template = None,
    text: options.Text = None,
    label: options.Label = None,
    shots: options.Shots = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many questions.")] = None,
    weight: options.Weight = None,
    normalization: options.Norm = "raw",
    error_budget: options.ErrorBudget = None,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Let heads say how probable it is that an answer is right; kept in DIR/calibration.json if it helps.

    Scores of candidates are log-likelihood ratios, which rank; a calibration turns them into probabilities that hold:
    of the answers that are given with 80%, about 80% are right. It changes no ranking. `likra score`, `likra eval`,
    `likra pick` and `likra serve` then show probabilities. `likra score` and `likra eval` answer only when sure with
    --min-confidence, the server with a request's `min_confidence`.

    With --error-budget 0.05 it also finds the confidence from which at most 5% of the answers are wrong, and what share
    of the decisions that is. `likra check` tells whether that still holds on new data.
    On unpaired data (prompt, completion, label): how probable it is that a candidate is right by itself, whatever
    stands beside it; kept in DIR/lone_calibration.json. With it a lone candidate has a probability.

    A calibration is kept if probabilities are better with it than without, on data that it was not fitted to: the
    expected calibration error is lower than that of the scores as they are, and the Brier score lower than without a
    look at the scores. Else an earlier one stays as it is.
    """
    from likra.data.sources import in_style_of
    from likra.data.unpaired import in_template_of
    from likra.errors import InputError
    from likra.hub.calibration_file import write_calibration
    from likra.hub.model_card import write_card
    from likra.scoring.budget import check_error_budget
    from likra.scoring.calibration import check_calibration
    from likra.utils.files import locked

    if not heads.is_dir():
        raise InputError(f"{heads}: is no folder here; a calibration is kept with the heads.")
    if error_budget is not None:
        check_error_budget(error_budget)
    scoring = options.scoring(weight, normalization)
    source = options.load(data, template, text, label, how.read(heads).training)
    check_calibration(method, lone=source.unpaired)
    if error_budget is not None and source.unpaired:
        raise InputError("--error-budget: is about questions with choices; this data is unpaired.")

    likra = how.open(heads)
    source = (in_template_of if source.unpaired else in_style_of)(source, likra.style)

    from likra.training.provenance import held_out, remarks

    on, own, place = held_out(likra.training, source, split, likra.training_config.seed)
    for remark in remarks(likra.training, likra.style, on, own, limit):
        options.note(remark)
    fitted = likra.calibrate(
        on if place == "all" else source,  # what is left out of all is said once
        method=method,
        error_budget=error_budget,
        split=split,
        shots=shots,
        limit=limit,
        scoring=scoring,
        runtime=options.runtime(memory),
    )
    if fitted.helps:
        with locked(heads, seconds=60):
            write_calibration(fitted, heads)
            write_card(heads)
    console, kind = options.console(), "records" if source.unpaired else "questions"
    console.print(
        f"Expected calibration error: {fitted.before:.4f} before, {fitted.after:.4f} after ({fitted.questions} {kind} "
        f"of {place}, each judged by a calibration fitted to others)."
    )
    if fitted.briers:
        before, after, even = fitted.briers
        console.print(f"Brier score: {before:.4f} before, {after:.4f} after; {even:.4f} without a look at the scores.")
    if fitted.read:
        console.print(fitted.read)
    if fitted.helps:
        bias = f", bias {fitted.calibration.bias:+.3g}" if source.unpaired else ""
        told = f"Temperature {fitted.calibration.temperature:.3g}{bias}. Kept in {heads}"
        told += (
            "." if fitted.after <= fitted.before else ", for the Brier score: as they are, the scores claim too little."
        )
    else:
        earlier = likra.lone_calibration if source.unpaired else likra.calibration
        why = "the scores as they are do as well"
        if fitted.says_nothing:
            why = f"the scores say nothing about these {kind}"
        told = f"It does not help ({why}), so it is not kept"
        told += "; the earlier calibration stays." if earlier else ". There are no probabilities."
        told += "" if fitted.says_nothing else " (--method plain takes the scores as they are.)"
        told += "" if error_budget is None else " Nothing can be automated."
    console.print(told, soft_wrap=True, markup=False)
    for sentence in fitted.automation.sentences if fitted.automation and fitted.helps else ():
        console.print(sentence, markup=False)
