"""`likra pick`: the best of n."""

import dataclasses
from typing import Annotated

import typer

from likra.cli import options


@options.opens_heads
def pick(
    heads: options.Heads,
    prompt: Annotated[str, typer.Option(help="The question.", show_default=False)],
    n: Annotated[int, typer.Option("--n", min=1, help="Answers drawn from the base.")] = 16,
    temperature: Annotated[float, typer.Option(help="Of the draws; above 0.")] = 1.0,
    max_tokens: options.MaxTokens = 64,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    weight: options.Weight = None,
    normalization: options.Norm = "raw",
    min_confidence: options.MinConfidence = None,
    json: options.Json = False,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Best of n: draw answers from the untrained base and rank them by the heads' ratio.

    Answers that are drawn twice are ranked once. A probability (calibrated heads) is that of being the right one, if
    one of the answers drawn is right: right answers in several wordings share it among them. Of heads that were
    calibrated on unpaired data alone it is that of being right, for each answer by itself.
    """
    from likra.errors import InputError

    scoring = options.scoring(weight, normalization, min_confidence)
    if temperature <= 0:
        raise InputError(f"--temperature {temperature}: must be above 0, or all answers are the same.")
    from likra.generation import Decoding

    decoding = Decoding(max_tokens, n, temperature, seed=seed)

    from likra.cli.score import show

    likra = how.open(heads)
    ranked = likra.pick(
        prompt,
        decoding=decoding,
        scoring=scoring,
        runtime=options.runtime(memory),
    )
    if json:
        found = [dataclasses.asdict(candidate) for candidate in ranked]
        options.echo_json(found)
    else:
        show(ranked)
