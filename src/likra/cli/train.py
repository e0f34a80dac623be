"""`likra train`: train heads on right and wrong answers."""

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from likra.cli import options
from likra.cli.tracking import ReportTo, tracking
from likra.utils import parallel


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP, show_default=False)],
    data: options.Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder to write the heads to; must not exist or be empty.", show_default=False
        ),
    ],
    role: Annotated[
        str,
        typer.Option(
            help="sft-likra: both heads. base-likra: only the negative one; the base is the positive. "
            "sft: only the positive one."
        ),
    ] = "sft-likra",
    negatives: Annotated[
        str,
        typer.Option(
            help="What the negative head learns from. incorrect: one of the question's own wrong choices; all: every "
            "one; irrelevant: another question's answer; unrelated: an answer from --unrelated-data."
        ),
    ] = "incorrect",
    unrelated_data: Annotated[
        str, typer.Option(metavar="SOURCE", help="Where `unrelated` negatives come from.")
    ] = "world",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only so many training questions, drawn by --seed.")
    ] = None,
    template: options.Template = None,
    text: options.Text = None,
    label: options.Label = None,
    shots: options.Shots = 0,
    recipe: Annotated[
        str,
        typer.Option(
            help="Where neither --lr nor --epochs is given. auto: a learning rate and epochs that did well on as much "
            "data of this kind; paper: 1e-4, one epoch."
        ),
    ] = "auto",
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate of Adam. [default: that of --recipe; 1e-4 where --epochs is given]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per head in one forward pass.")] = 8,
    grad_accum: Annotated[int, typer.Option(min=1, help="Forward passes per optimisation step.")] = 1,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data. [default: those of --recipe; 1 where --lr is given]"),
    ] = None,
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank.")] = 16,
    alpha: Annotated[float, typer.Option(help="LoRA alpha; updates are scaled by alpha / rank.")] = 32,
    targets: Annotated[
        str, typer.Option(help="Layers to adapt: all-linear, or names such as q_proj,v_proj.")
    ] = "all-linear",
    adapt: Annotated[
        str,
        typer.Option(
            "--adapt",
            "--activation",
            help="everywhere: plain LoRA (the paper). completion (or answer): the heads leave the prompt, all but its "
            "last token or tokens, to the base, which reads it once for all: faster, most with long prompts; 0.5 to "
            "3.3 points less accurate where measured.",
        ),
    ] = "everywhere",
    schedule: Annotated[
        str, typer.Option(help="Learning rate after the warm-up: constant, linear or cosine.")
    ] = "constant",
    warmup: Annotated[
        float, typer.Option(help="Share of the optimisation steps in which the learning rate rises.")
    ] = 0.0,
    loss: Annotated[
        str, typer.Option(help="Train on the tokens of the completion, or of the whole text (prompt too).")
    ] = "completion",
    weight: Annotated[float, typer.Option(help="w in L+ - w * L-, kept with the heads.")] = 1.0,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bfloat16; weights stay in float32. About twice as fast.")
    ] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Save memory by computing activations twice.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the first weights, the draws and the order.")] = 0,
    keep_data: options.KeepData = False,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Optimisation steps between two states on disk.")] = 50,
    report_to: ReportTo = None,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    quantize: options.Quantize = None,
    memory: options.Memory = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Train heads on right and wrong answers.

    Up to 512 examples a head, the learning rate and the number of epochs are those that did well on so few
    (`--recipe paper` is the paper's way, for thousands); `likra tune` finds out what suits your own.

    A run that was killed goes on where it stopped when the same command is given again: its state is kept beside DIR,
    in DIR.partial, until the heads are written.

    On several GPUs: `accelerate launch -m likra train ...` (or torchrun). Each process takes its share of every batch;
    the result is the same as from one process, up to rounding.
    """
    # In this order, so that what is quick to check is refused before torch is loaded.
    from likra.data import load
    from likra.data.sources import answers
    from likra.training.recipe import check_recipe
    from likra.utils.files import check_free, claimed, unfinished
    from likra.utils.locations import check_model

    check_recipe(recipe)
    check_free(out)
    check_model(model)
    tracked = tracking(report_to, out, new=True)
    source = options.load(data, template, text, label)
    unrelated = answers(load(unrelated_data)) if negatives == "unrelated" else ()

    parallel.start()
    from likra.likra import Likra
    from likra.models.lora_config import lora_config
    from likra.scoring.cross_validation import Recipe
    from likra.training.config import TrainingConfig

    given = {"learning_rate": lr, "num_train_epochs": epochs}
    training_config = TrainingConfig(
        lora=lora_config(r=rank, lora_alpha=alpha, target_modules=options.targets(targets)),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=grad_accum,
        adapt=_completion(adapt),
        lr_scheduler_type=schedule,
        warmup_ratio=warmup,
        loss=_completion(loss),
        bf16=bf16,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    # One process writes, and no other run meanwhile.
    with claimed(out) if parallel.rank() == 0 else contextlib.nullcontext():
        likra = Likra.from_base(
            model,
            role=role,
            training_config=training_config,
            recipe=recipe if lr is None and epochs is None else None,
            weight=weight,
            **options.loading(revision, dtype, device, trust_remote_code, quantize),
        )
        state = unfinished(out)
        if (state / "state.json").exists() and parallel.rank() == 0:
            sys.stderr.write(f"likra: going on with the unfinished run in {state}\n")
        likra.fit(
            source,
            negatives=negatives,
            unrelated=unrelated,
            limit=limit,
            shots=shots,
            keep_data=keep_data,
            state=state,
            checkpoint_every=checkpoint_every,
            runtime=options.runtime(memory, tracking=tracked),
        )
        if parallel.rank() == 0:
            likra.save_pretrained(out)
            shutil.rmtree(state, ignore_errors=True)
    parallel.wait()
    console = options.console()
    for name, count in likra.training["examples"].items():
        steps = [step.losses[name] for step in likra.losses if name in step.losses]
        some = max(1, len(steps) // 4)
        first, last = sum(steps[:some]) / some, sum(steps[-some:]) / some
        cut = likra.training["prompts_cut"][name]
        console.print(
            f"{name} head: {count} examples, {len(steps)} steps, mean loss {first:.3f} in the first quarter, "
            f"{last:.3f} in the last (nats per token)" + (f", {cut} prompts cut from the left" if cut else "")
        )
    chosen = Recipe(likra.training_config.learning_rate, likra.training_config.num_train_epochs)
    console.print(f"Recipe: {chosen.words}.")
    held_out = any((source.examples or source.questions).get(split) for split in ("test", "validation"))
    then = (
        f"eval {shlex.quote(str(out))} --data {shlex.quote(data)}"
        if held_out
        else f"score {shlex.quote(str(out))} --question ... --choice ... --choice ..."
    )
    again = "".join(f" --{name} {given}" for name, given in (("template", template), ("quantize", quantize)) if given)
    console.print(f"Heads are in {out}. Next: likra {then}{again}", soft_wrap=True, markup=False)


def _completion(value: str) -> str:
    """`answer` is the name that `completion` had at first."""
    return "completion" if value == "answer" else value
