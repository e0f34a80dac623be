"""`likra score`: rank candidate answers to one question."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from likra.cli import options

if TYPE_CHECKING:
    from likra.scoring.candidates import Candidate


@options.opens_heads
def score(
    heads: options.Heads,
    question: Annotated[str, typer.Option(help="The question.", show_default=False)],
    choice: Annotated[
        list[str], typer.Option(help="A candidate answer; give one --choice for each.", show_default=False)
    ],
    template: options.Template = None,
    weight: options.Weight = None,
    normalization: options.Norm = "raw",
    min_confidence: options.MinConfidence = None,
    json: options.Json = False,
    *,
    how: options.Loading,
) -> None:
    """Rank candidate answers to one question, best first.

    `score` is L+ - w * L-: how much likelier the head that learned right answers finds a candidate than the head that
    learned wrong ones. L+, L- and base are log-likelihoods in nats. Calibrated heads (`likra calibrate`) also say how
    probable it is that a candidate is the right one, if one of them is.
    """
    from likra.data.templates import template as check_template

    scoring = options.scoring(weight, normalization)
    if template:
        check_template(template)
    likra = how.open(heads)
    if template and template != likra.style:
        options.note(f"these heads learned prompts of the template {likra.style!r}, and are asked in {template!r}")
    likra.style = template or likra.style
    ranked = likra.rank(question, choice, scoring=scoring)
    sure = ranked[0].is_sure(min_confidence)
    if json:
        found = [dataclasses.asdict(candidate) for candidate in ranked]
        options.echo_json(found if sure else [])
    else:
        show(ranked, sure)


def show(ranked: "list[Candidate]", sure: bool = True) -> None:
    """Print ranked candidates, and whether the best of them is no answer."""
    probable = ranked[0].probability is not None
    table = Table(box=None, pad_edge=False)
    for column in ("", "candidate", "score", "L+", "L-", "base", *(["probability"] if probable else [])):
        table.add_column(column, justify="left" if column in ("", "candidate") else "right")
    for place, candidate in enumerate(ranked, start=1):
        negative = "" if candidate.negative is None else f"{candidate.negative:.3f}"
        numbers = [f"{candidate.score:+.4f}", f"{candidate.positive:.3f}", negative, f"{candidate.base:.3f}"]
        if probable:
            numbers.append(f"{candidate.probability:.3f}")
        table.add_row(f"{place}.", Text(candidate.text), *numbers)
    options.show_table(table)
    if not sure:
        options.console().print(f"No answer: the best is right with {ranked[0].probability:.3f}, less than asked for.")
