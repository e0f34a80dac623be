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
            help="temperature: one number, fitted. isotonic: an isotonic regression (piecewise linear) besides; wants "
            "hundreds of questions."
        ),
    ] = "temperature",
    split: Annotated[
        str | None,
        typer.Option(
            help="Questions to calibrate on: train, validation, test or all; best ones that neither trained the heads "
            "nor will evaluate them. [default: validation; without one, what `train --limit` left over]"
        ),
    ] = None,
    template: options.Template = None,
    text: options.Text = None,
    label: options.Label = None,
    shots: options.Shots = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many questions.")] = None,
    weight: options.Weight = None,
    normalization: options.Norm = "raw",
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Let heads say how probable it is that an answer is right; kept in DIR/calibration.json.

    Scores of candidates are log-likelihood ratios, which rank; a calibration turns them into probabilities that hold:
    of the answers that are given with 80%, about 80% are right. It changes no ranking. `likra score`, `likra eval`,
    `likra pick` and `likra serve` then show probabilities. `likra score` and `likra eval` answer only when sure with
    --min-confidence, the server with a request's `min_confidence`.
    """
    from likra.data.sources import in_style_of
    from likra.errors import InputError
    from likra.hub.calibration_file import write_calibration
    from likra.hub.model_card import write_card
    from likra.scoring.calibration import check_calibration
    from likra.utils.files import locked

    if not heads.is_dir():
        raise InputError(f"{heads}: is no folder here; a calibration is kept with the heads.")
    check_calibration(method)
    scoring = options.scoring(weight, normalization)
    source = options.load(data, template, text, label, how.read(heads).training)

    likra = how.open(heads)
    source = in_style_of(source, likra.style)

    from likra.training.provenance import remarks

    # Without a validation split, what training left over is used.
    if split or source.questions.get("validation"):
        for remark in remarks(likra.training, likra.style, source, split or "validation", limit):
            options.note(remark)
    fitted = likra.calibrate(
        source,
        method=method,
        split=split,
        shots=shots,
        limit=limit,
        scoring=scoring,
        runtime=options.runtime(memory),
    )
    with locked(heads, seconds=60):
        write_calibration(fitted, heads)
        write_card(heads)
    console = options.console()
    console.print(
        f"Expected calibration error: {fitted.before:.4f} before, {fitted.after:.4f} after ({fitted.questions} "
        f"questions of {fitted.split or 'the data'}, each judged by a calibration fitted to others)."
    )
    if fitted.read:
        console.print(fitted.read)
    if fitted.after >= fitted.before:
        options.note(f"that is no better than without; {fitted.questions} questions may be too few")
    if fitted.calibration.temperature >= 1000:
        options.note("on these questions the scores say nothing; all candidates become equally probable")
    console.print(f"Temperature {fitted.calibration.temperature:.3g}. Kept in {heads}.", soft_wrap=True, markup=False)
