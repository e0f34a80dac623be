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
    probable it is that a candidate is the right one, if one of them is; calibrated on unpaired data, that a lone
    candidate is right (or each of several, where there is no other calibration). With --min-confidence, a candidate
    that is less probably right is withheld: --json says so for each.
    """
    from likra.data.templates import template as check_template

    scoring = options.scoring(weight, normalization, min_confidence)
    if template:
        check_template(template)
    likra = how.open(heads)
    if template and template != likra.style:
        options.note(f"these heads learned prompts of the template {likra.style!r}, and are asked in {template!r}")
    likra.style = template or likra.style
    ranked = likra.rank(question, choice, scoring=scoring)
    if json:
        options.echo_json([dataclasses.asdict(candidate) for candidate in ranked])
    else:
        show(ranked)


def show(ranked: "list[Candidate]") -> None:
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
    if ranked[0].withheld:
        options.console().print(
            f"No answer: the best guess is right with {ranked[0].probability:.3f}, less than asked for (withheld)."
        )
