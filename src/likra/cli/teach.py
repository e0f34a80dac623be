"""`likra teach`: trained heads learn corrections, and it is said what that gained and what it lost."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from likra.cli import options
from likra.utils import parallel

WORSE = 1  # exit code


@options.opens_heads
def teach(
    heads: options.Heads,
    data: options.Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder to write the new heads to; must not exist or be empty.", show_default=False
        ),
    ],
    old: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Old records that the heads have never learned, to see on them what is lost. [default: those that "
            "were held out and kept; where they are fewer than 100, the old training is repeated without parts of "
            "the old records]",
        ),
    ] = None,
    replay: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Learn so many old records again, once each, drawn by the heads' seed. [default: as many as there are "
            "corrections, of those that `likra train --keep-data` kept]",
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate for the corrections. [default: that of the old training]")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over corrections and replay. [default: those of the old training]"),
    ] = None,
    parts: Annotated[  # not `folds`, by which `opens_heads` knows that there are no heads yet
        int,
        typer.Option(
            "--folds", min=2, help="Parts of the corrections; each is judged by heads that learned the others."
        ),
    ] = 5,
    even_if_worse: Annotated[
        bool, typer.Option("--even-if-worse", help="Write the new heads even if they are worse beyond the interval.")
    ] = False,
    text: options.Text = None,
    label: options.Label = None,
    json: options.Json = False,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Go on from trained heads with corrections: new records with their right answers, in any form that train reads.

    What is gained on the corrections is judged by heads that learned the other folds, what is lost on old records by
    heads that never learned these; each is a paired difference with its interval. Heads that were trained with
    `--keep-data` learn some old records again, against forgetting. The recipe is that of the old training.

    Exit code 1 says that the new heads are worse than the old ones beyond the interval, on the corrections or on the
    old records, and were not written; `--even-if-worse` writes them, without training again. 2 is bad input.

    A run that was killed goes on where it stopped when the same command is given again.
    """
    from likra.errors import InputError
    from likra.training.corrections import Corrections, recipe_of
    from likra.utils.files import check_free, claimed, unfinished

    check_free(out)
    parallel.start()
    if parallel.world() > 1:
        raise InputError("likra teach runs in one process; start it without a launcher.")
    saved = how.read(heads)
    source = options.load(data, None, text, label, saved.training)
    of_old = options.load(old, None, text, label, saved.training) if old else None
    # Refuses before a model is loaded.
    Corrections.of(
        source,
        saved.style,
        saved.training,
        saved.records,
        config=saved.training_config,
        recipe=recipe_of(saved.training_config, lr, epochs),
        replay=replay,
        old=of_old,
        folds=parts,
    )
    likra = how.open(heads)

    from likra.teaching import teach as go_on
    from likra.training.fit import Run

    with claimed(out):
        state = unfinished(out)
        if (state / "run.json").exists():
            sys.stderr.write(f"likra: going on with the unfinished run in {state}\n")
        found = go_on(
            likra,
            source,
            old=of_old,
            replay=replay,
            folds=parts,
            learning_rate=lr,
            num_train_epochs=epochs,
            run=Run(state, runtime=options.runtime(memory)),
        )
        written = even_if_worse or not found.worse
        if written:
            likra.save_pretrained(out)
            shutil.rmtree(state, ignore_errors=True)
    if json:
        options.echo_json({**found.as_json(), "written": written})
    else:
        console = options.console()
        for sentence in found.sentences:
            console.print(sentence, markup=False)
        if found.worse:
            console.print(f"The new heads are worse on {' and on '.join(found.worse)}, beyond the interval.")
        then = f"Heads are in {out}. Next: likra eval {out} --data ..., likra score {out} --question ... --choice ..."
        if not written:
            then = (
                f"Nothing was written. The same command with --even-if-worse writes them from what is kept in {state}; "
                "remove that folder if you do not want them."
            )
        console.print(then, soft_wrap=True, markup=False)
    if not written:
        raise typer.Exit(WORSE)
