"""`likra score`: rank candidate answers to one question, or score a file of them."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from likra.cli import options

if TYPE_CHECKING:
    from likra.scoring.candidates import Candidate


@options.opens_heads
def score(
    heads: options.Heads,
    question: Annotated[str | None, typer.Option(help="The question.", show_default=False)] = None,
    choice: Annotated[
        list[str] | None, typer.Option(help="A candidate answer; give one --choice for each.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Score all candidates of a file (JSONL, CSV, Parquet, JSON), of a folder of them, or of another "
            "source of `likra data`. Right answers need not be known: `question` and `choices` do, `prompt` and "
            "`completion`, `state` and `questions`, or the texts alone where the heads learned texts and labels.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="--data: the file of scores, a row for each candidate: Parquet or JSONL, by the end of its name.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="--data: score on a Ray cluster: auto, host:port or ray://host:port; local starts one here.",
        ),
    ] = None,
    template: options.Template = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="--data: the column (or JSON field) of the texts, for heads that learned texts and labels. "
            "[default: the one that they learned]",
        ),
    ] = None,
    weight: options.Weight = None,
    normalization: options.Norm = "raw",
    min_confidence: options.MinConfidence = None,
    memory: options.Memory = None,
    json: options.Json = False,
    *,
    how: options.Loading,
) -> None:
    """Rank candidate answers to one question, best first; or score all candidates of a file.

    `score` is L+ - w * L-: how much likelier the head that learned right answers finds a candidate than the head that
    learned wrong ones. L+, L- and base are log-likelihoods in nats. Calibrated heads (`likra calibrate`) also say how
    probable it is that a candidate is the right one, if one of them is; calibrated on unpaired data, that a lone
    candidate is right (or each of several, where there is no other calibration). With --min-confidence, a candidate
    that is less probably right is withheld: --json says so for each.

    With --data and --out, any number of questions are read as a stream and scored in constant memory, in the heads'
    prompt template. A bad record is refused, by file, line and field, before the model is loaded. A run that was killed
    goes on where it was when it is repeated: finished parts are kept beside FILE, in FILE.partial, until they become
    FILE.
    """
    from likra.data.templates import template as check_template
    from likra.errors import InputError

    scoring = options.scoring(weight, normalization, min_confidence)
    if template:
        check_template(template)
    if data is not None or out is not None:
        if data is None or out is None or question is not None or choice:
            raise InputError("give --question and a --choice for each candidate, or else --data and --out.")
        from likra.cli.score_file import score_file

        about: dict[str, Any] = {"template": template, "text": text, "scoring": scoring, "memory": memory, "ray": ray}
        score_file(heads, data, out, json=json, how=how, **about)
        return
    if ray is not None or text is not None:
        raise InputError(
            f"{'--ray' if ray is not None else '--text'}: is for a file of questions; give --data and --out."
        )
    if question is None or not choice:
        raise InputError("give --question and a --choice for each candidate, or --data and --out for a file of them.")
    from likra.data.canonical import same_texts
    from likra.data.sources.loading import learned_columns

    likra = how.open(heads)
    if template and template != likra.style:
        options.note(f"these heads learned prompts of the template {likra.style!r}, and are asked in {template!r}")
    likra.style = template or likra.style
    columns = learned_columns(likra.training)
    if columns and not same_texts(choice, columns.labels):
        options.note(
            f"these heads learned to choose between {columns.listed}, all of them: between others their scores "
            "may mean little, and no probability is given"
        )
    ranked = likra.rank(question, choice, scoring=scoring, runtime=options.runtime(memory).quiet())
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
