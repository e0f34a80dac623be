"""`likra generate`: what heads say by themselves."""

from typing import Annotated

import typer

from likra.cli import options


@options.opens_heads
def generate(
    heads: options.Heads,
    prompt: Annotated[
        list[str],
        typer.Option(help="A question, worded as in training; may be given several times.", show_default=False),
    ],
    method: options.Method = None,
    contrast: options.Contrast = 1.0,
    plausibility: options.Plausibility = 0.1,
    max_tokens: options.MaxTokens = 64,
    n: Annotated[int, typer.Option("--n", min=1, help="Texts per prompt; several need --temperature or --beams.")] = 1,
    temperature: Annotated[
        float, typer.Option(min=0, help="0: the likeliest token at each place; above: draws.")
    ] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens with this share of probability.")] = 1.0,
    beams: Annotated[int, typer.Option(min=1, help="Beams of a search for the likeliest text.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    json: options.Json = False,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Write answers with both heads: each next token is scored log p+ + a (log p+ - log p-).

    p+ is the head that learned right answers, p- the one that learned wrong ones. They are scorers first: `likra pick`
    draws answers from the base and ranks them. `likra merge` and `likra distill` make one ordinary adapter of the two.
    """
    from likra.generation.contrast import Contrast

    way = Contrast(contrast, plausibility)

    from likra.generation import Decoding

    decoding = Decoding(max_tokens, n, temperature, top_p, beams, seed)

    likra = how.open(heads)
    found = likra.generate(prompt, method=method, decoding=decoding, contrast=way, runtime=options.runtime(memory))
    if (fewest := min(map(len, found))) < n:
        options.note(f"the search found {fewest} different texts, not {n}")
    if json:
        records = [{"prompt": text, "texts": texts} for text, texts in zip(prompt, found, strict=True)]
        options.echo_json(records)
        return
    for text, texts in zip(prompt, found, strict=True):
        if len(prompt) > 1:
            typer.echo(f"{text}")
        for one in texts:
            typer.echo(one.strip())
