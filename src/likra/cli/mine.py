"""`likra mine`: find wrong answers for questions that have right ones only."""

import json
import random
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likra.cli import options

if TYPE_CHECKING:
    from likra.mining import KindLikelihood, Mined
    from likra.scoring.estimate import Estimate


def mine(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=options.MODEL_HELP, show_default=False)],
    data: options.Data,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The JSONL file to write, for `likra train --data`.", show_default=False),
    ],
    kind: Annotated[
        list[str],
        typer.Option(
            help="sampled: what the model itself answers. similar: right answers of the most similar other questions. "
            "Give it twice for both."
        ),
    ] = ["sampled"],  # noqa: B006  # Typer copies it
    per_question: Annotated[int, typer.Option(min=1, help="Wrong answers wanted per question and kind.")] = 3,
    tries: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Answers looked at per question and kind before giving up. [default: three times --per-question]",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Of sampling: below 1 likelier answers, above 1 odder ones.")
    ] = 1.0,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tokens of a sampled answer at most. [default: those of the longest right answer, at most 64]"
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="The questions to mine for: train, validation or test.")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="Mine for only so many questions, drawn by --seed.")] = None,
    shots: options.Shots = 0,
    seed: Annotated[int, typer.Option(help="Seed of all draws: the same command finds the same answers.")] = 0,
    revision: options.Revision = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    quantize: options.Quantize = None,
    precision: options.Precision = "auto",
    memory: options.Memory = None,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Find wrong answers for data that has right ones only, so that it can train a negative head.

    The model's own answers are sampled, or right answers of similar questions taken; those that say the same as a right
    answer (in other words, case or order) are dropped. Only right answers are used: wrong choices in the source are
    ignored. FILE has the questions with their mined choices, and where each comes from (`origins`); data that is not
    worded as questions becomes preference pairs.

    The table says how likely each kind is under the model, beside the right answers: wrong answers that the model finds
    likely teach the most. Look at a few of them before you train; a right answer that slipped through teaches the wrong
    thing.
    """
    # In this order, so that what is quick to check is refused before the model is loaded.
    from likra.data import Prompter, load
    from likra.data.sources import SPLITS, right_answers
    from likra.errors import InputError
    from likra.utils.files import check_writable, locked, new_file, unfinished
    from likra.utils.locations import check_model
    from likra.utils.progress import progress_bar

    if out.suffix != ".jsonl":
        raise InputError(f"{out}: is written as one JSON object a line; let its name end in .jsonl.")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; --out takes a file name.")
    given = Path(data)
    if given.exists() and out.resolve() in (given.resolve(), given.resolve() / out.name) and not out.parent.is_file():
        raise InputError(f"{out}: is the data that is mined for, or would become a part of it; choose another --out.")
    check_writable(out)
    check_model(model)
    if split not in SPLITS:
        raise InputError(f"--split {split}: must be one of {', '.join(SPLITS)}.")
    source = load(data)
    if source.unpaired:
        raise InputError(
            f"{data}: is unpaired data (prompt, completion, label); give right completions without a label."
        )
    found = source.questions.get(split)
    if not found:
        raise InputError(f"{data}: has no questions in its {split} split; choose another with --split.")
    questions = random.Random(seed).sample(found, limit) if limit is not None and limit < len(found) else found
    prompter = Prompter(source.style, shots, source.questions.get("train", []))

    from likra.mining import MiningConfig, check_style, kind_likelihoods
    from likra.mining import mine as mine_answers
    from likra.models.base import load_base

    check_style(source.style)
    config = MiningConfig(tuple(kind), per_question, tries, temperature, max_tokens, seed)
    with locked(unfinished(out)):
        base = load_base(model, **options.loading(revision, dtype, device, trust_remote_code, quantize, precision))
        in_bytes = options.in_bytes(memory)
        with progress_bar("Sampling", "answers", shown="sampled" in kind) as move:
            mined = mine_answers(
                base, questions, prompter, config, answers=right_answers(found), memory=in_bytes, progress=move
            )
        with progress_bar("Scoring", "questions") as move:
            rows = kind_likelihoods(base, mined, prompter, memory=in_bytes, progress=move)
        with new_file(out) as work, work.open("w", encoding="utf-8") as file:
            file.writelines(
                json.dumps(record, ensure_ascii=False) + "\n" for record in _records(mined, source.style, split)
            )
    _show(mined, rows)
    console = options.console()
    if mined.without:
        console.print(f"Nothing was found for {mined.without} of {len(questions)} questions; they are left out.")
    console.print(
        f"{len(mined.questions)} questions are in {out}. Next: likra train {shlex.quote(model)} --data "
        f"{shlex.quote(str(out))} --out heads",
        soft_wrap=True,
        markup=False,
    )


def _records(mined: "Mined", style: str, split: str) -> Iterator[dict[str, Any]]:
    """Records that are worded, when they are read again, as the source is."""
    from likra.data.conversation import Conversation
    from likra.data.templates import template
    from likra.mining import RIGHT

    for question, origins in zip(mined.questions, mined.origins, strict=True):
        assert question.answer is not None
        if style == "qa":
            group = {"group": question.group} if question.group is not None else {}
            yield {
                "id": question.id,
                "question": question.text,
                "choices": list(question.choices),
                "answer": question.answer,
                **group,
                "split": split,
                "origins": list(origins),
            }
            continue
        context = template(style).pairs(question)[question.answer][0]
        answers: list[Any] = [text for _, text in template(style).pairs(question)]
        if isinstance(context, Conversation):
            answers = [[{"role": "assistant", "content": text}] for text in answers]
        wrong = [place for place, origin in enumerate(origins) if origin != RIGHT]
        for number, place in enumerate(wrong, start=1):
            yield {
                # An id of its own: few-shot examples are told apart by it.
                "id": f"{question.id} #{number}",
                "prompt": context.messages if isinstance(context, Conversation) else context,
                "chosen": answers[question.answer],
                "rejected": answers[place],
                "split": split,
                "origin": origins[place],
            }


def _show(mined: "Mined", rows: "list[KindLikelihood]") -> None:
    from rich.table import Table

    from likra.mining import RIGHT, tally

    table = Table(box=None, pad_edge=False)
    for column in ("kind", "answers", "kept", "nats per answer", "nats per token"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    likely = {row.kind: (_interval(row.per_answer), _interval(row.per_token)) for row in rows}
    count = str(len(mined.questions))
    table.add_row(RIGHT, count, count, *likely[RIGHT])
    for name, kind in mined.kinds.items():
        table.add_row(name, str(kind.found), str(kind.kept), *likely.get(name, ("", "")))
    console = options.console()
    options.show_table(table)
    console.print("nats: log-likelihood under the model, mean over questions (95% interval, normal approximation)")
    for name, kind in mined.kinds.items():
        console.print(f"dropped of {name}: {kind.found - kind.kept} ({tally(kind)})")


def _interval(value: "Estimate") -> str:
    known = value.low == value.low  # not a number where there is one question
    return f"{value.value:.2f}" + (f" ({value.low:.2f} to {value.high:.2f})" if known else "")
