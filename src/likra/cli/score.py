"""`likra score`: rank candidate answers to one question."""

import dataclasses
import json as jsonlib
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from likra.cli import options


def score(
    heads: options.Heads,
    question: Annotated[str, typer.Option(help="The question.", show_default=False)],
    choice: Annotated[
        list[str], typer.Option(help="A candidate answer; give one --choice for each.", show_default=False)
    ],
    weight: options.Weight = None,
    normalisation: options.Norm = "raw",
    json: options.Json = False,
    base: options.BaseModel = None,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    quantize: options.Quantize = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Rank candidate answers to one question, best first.

    `score` is L+ - w * L-: how much likelier the head that learned right answers finds a candidate than the head that
    learned wrong ones. L+, L- and base are log-likelihoods in nats.
    """
    from likra.judge.scores import check_normalisation

    check_normalisation(normalisation)

    from likra.model import Likra

    likra = Likra.from_pretrained(
        heads, model=base, **options.loading(revision, dtype, device, trust_remote_code, quantize)
    )
    if weight is not None:
        likra.weight = weight
    ranked = likra.rank(question, choice, normalisation=normalisation)
    if json:
        typer.echo(jsonlib.dumps([dataclasses.asdict(candidate) for candidate in ranked], ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("", "candidate", "score", "L+", "L-", "base"):
        table.add_column(column, justify="left" if column in ("", "candidate") else "right")
    for place, candidate in enumerate(ranked, start=1):
        negative = "" if candidate.negative is None else f"{candidate.negative:.3f}"
        numbers = (f"{candidate.score:+.4f}", f"{candidate.positive:.3f}", negative, f"{candidate.base:.3f}")
        table.add_row(f"{place}.", Text(candidate.text), *numbers)
    options.console().print(table)
