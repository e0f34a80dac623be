"""`likra world`: the miniature world and the model that was pretrained on it."""

import itertools
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from likra.cli import options

app = typer.Typer(help="The miniature world: look at it, or build its model anew.", no_args_is_help=True)


@app.command()
def show(
    documents: Annotated[int, typer.Option(min=0, help="Documents of pretraining text to show.")] = 4,
) -> None:
    """Show the card of the embedded model, and some of the text that it was pretrained on."""
    from likra.lab.world import WORLD
    from likra.lab.world.generator import World
    from likra.utils.embedded import embedded_models

    console = options.console()
    card = embedded_models()[WORLD] / "README.md"
    console.print(Text(card.read_text(encoding="utf-8")))
    console.rule("text")
    for document in itertools.islice(World().documents(), documents):
        console.print(Text(document))
        console.rule()


@app.command()
def build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the model and its questions to.")],
    seed: Annotated[int, typer.Option(help="Seed of the facts, the text and the model's first weights.")] = 0,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Optimisation steps; fewer for a quick look. [default: as the embedded model]"),
    ] = None,
    variant: Annotated[
        str,
        typer.Option(
            help="world; world-small, world-tiny: smaller models of the same text; world-truthful: no unreliable "
            "sources; world-voiceless: as many rumours, but no sources who tell them."
        ),
    ] = "world",
) -> None:
    """Generate a world and pretrain its model: 10 to 30 minutes on two cores.

    The folder then holds `model` (for MODEL) and `questions.jsonl` (for --data), and beside them the same questions
    reworded, unrelated ones, and the voices of the sources.
    """
    from likra.utils.files import check_free, claimed

    check_free(out)

    from likra.lab.world.build import build_world

    with claimed(out):
        build_world(out, seed=seed, steps=steps, variant=variant)
    model, data = shlex.quote(str(out / "model")), shlex.quote(str(out / "questions.jsonl"))
    options.console().print(
        f"The world is in {out}. Next: likra train {model} --data {data} --out DIR",
        soft_wrap=True,
        markup=False,
    )
