"""`likra merge` and `likra distill`: one ordinary adapter of two heads."""

from pathlib import Path
from typing import Annotated

import typer

from likra.cli import options

Out = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder for the adapter; must not exist or be empty.", show_default=False)
]
_NEXT = "{out} is an ordinary PEFT adapter: PeftModel.from_pretrained(base, '{out}'), or any server that takes one."


@options.opens_heads
def merge(
    heads: options.Heads,
    out: Out,
    contrast: options.Contrast = 1.0,
    *,
    how: options.Loading,
) -> None:
    """Make one adapter of two by arithmetic on weights: (1 + a) times the positive update minus a times the negative.

    That is what `likra generate` does with next-token scores, had the model been linear in its weights. It costs
    nothing and is a rough stand-in: where the updates are large (a high learning rate) it may write nonsense. Look at
    what it writes, lower --contrast, or take `likra distill`.
    """
    from likra.utils.files import check_free, claimed

    check_free(out)

    from likra.generation.contrast import Contrast

    way = Contrast(contrast)

    with claimed(out):
        how.open(heads).merge(out, contrast=way)
    options.console().print(_NEXT.format(out=out), soft_wrap=True, markup=False)


@options.opens_heads
def distill(
    heads: options.Heads,
    data: options.Data,
    out: Out,
    text: options.Text = None,
    label: options.Label = None,
    contrast: options.Contrast = 1.0,
    plausibility: options.Plausibility = 0.1,
    n: Annotated[int, typer.Option("--n", min=1, help="Answers that the two heads write to each prompt.")] = 4,
    max_tokens: options.MaxTokens = 64,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only so many training prompts, drawn by --seed.")
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 3e-4,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers per optimisation step.")] = 8,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the answers.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the draws and the order.")] = 0,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Train one adapter to say by itself what the two heads say together, on the training prompts of SOURCE.

    The two write answers to each prompt (no right or wrong answers are read), and the new adapter learns their combined
    next-token distribution at every token. It starts from the merged one.
    """
    from likra.utils.files import check_free, claimed

    check_free(out)
    source = options.load(data, None, text, label, how.read(heads).training)

    from likra.generation import Contrast, Decoding
    from likra.training.config import TrainingConfig

    training_config = TrainingConfig(
        learning_rate=lr, per_device_train_batch_size=batch_size, num_train_epochs=epochs, seed=seed
    )
    decoding = Decoding(max_tokens, n, 1.0, seed=seed)
    with claimed(out):
        likra = how.open(heads)
        losses = likra.distill(
            source,
            out,
            contrast=Contrast(contrast, plausibility),
            training_config=training_config,
            decoding=decoding,
            limit=limit,
            runtime=options.runtime(memory),
        )
    some = max(1, len(losses) // 4)
    first, last = sum(losses[:some]) / some, sum(losses[-some:]) / some
    console = options.console()
    console.print(
        f"{len(losses)} steps, mean divergence from the two heads {first:.3f} in the first quarter, {last:.3f} in the "
        "last (nats per token)"
    )
    console.print(_NEXT.format(out=out), soft_wrap=True, markup=False)
