"""`likra push`: heads on the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from likra.cli import options


def push(
    heads: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that `likra train` wrote.", show_default=False)
    ],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Where to; made if there is none.", show_default=False)
    ],
    private: Annotated[bool, typer.Option("--private", help="Let only you see a new repository.")] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="Branch to commit to, made if there is none. [default: main]")
    ] = None,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request, for repositories of others.")
    ] = False,
    with_data: Annotated[
        bool,
        typer.Option("--with-data", help="Send the records too that the heads learned, where --keep-data kept them."),
    ] = False,
    curve: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Show the learning curve that `likra study curve` or `likra demo` left in this folder on the card.",
        ),
    ] = None,
) -> None:
    """Publish heads on the Hugging Face hub, with a model card.

    Log in first: `hf auth login`, or set HF_TOKEN. Only what belongs to the heads is sent: the adapters, likra.json,
    losses.jsonl, what `likra calibrate` and `likra eval --record` found, and a card, README.md, which is written
    for its readers there. Others load them with `likra score OWNER/NAME ...`, or `Likra.from_pretrained("OWNER/NAME")`.
    """
    from likra.errors import InputError
    from likra.utils.locations import RECORDS, check_heads

    check_heads(heads)

    from likra.hub.folder import read_manifest
    from likra.hub.model_card import push as publish

    base = read_manifest(heads)["base"]
    if curve:
        from likra.lab.report.card_curve import keep_curve

        keep_curve(curve, base["name"], heads)
    if Path(base["name"]).exists():
        options.note(f"the base of these heads, {base['name']}, is a folder here; who loads them needs a copy of it")
    if (heads / RECORDS).is_file():
        options.note(
            f"the records that these heads learned ({RECORDS}) are "
            + ("sent too" if with_data else "not sent; --with-data sends them")
        )
    elif with_data:
        raise InputError(f"{heads}: keeps no records to send (`likra train --keep-data`); leave out --with-data.")
    how = {"private": private or None, "revision": revision, "create_pr": create_pr}
    address = publish(heads, repository, with_data=with_data, **how)
    options.console().print(address, soft_wrap=True, markup=False)
