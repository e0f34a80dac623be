"""`likra eval`: how good heads are on questions with known answers."""

import datetime
import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from likra.cli import options
from likra.utils import parallel

if TYPE_CHECKING:
    from likra.data.question import Question
    from likra.data.templates import Prompter
    from likra.hub.saved import Saved
    from likra.scoring.abstention import AbstentionReport
    from likra.scoring.evaluation import Evaluation
    from likra.scoring.likelihoods import Likelihoods
    from likra.scoring.orders import EvaluationInOrders
    from likra.utils.runtime import Runtime


@options.opens_heads
def evaluate(
    heads: options.Heads,
    data: options.Data,
    split: Annotated[
        str | None,
        typer.Option(help="train, validation, test or all. [default: test, or validation where there is no test]"),
    ] = None,
    template: options.Template = None,
    orders: Annotated[
        str | None,
        typer.Option(
            metavar="all|N",
            help="With --template options: judge each question in all, or N, cyclic orders of its options. Accuracy "
            "is the mean over the orders; the share of answers that change with the order is shown beside it.",
        ),
    ] = None,
    shots: options.Shots = 0,
    sampled_shots: options.SampledShots = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate on only the first so many questions.")] = None,
    weight: options.Weight = None,
    normalization: options.Norm = "raw",
    min_confidence: options.MinConfidence = None,
    json: options.Json = False,
    save_likelihoods: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep every candidate's likelihoods as Parquet.")
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Keep the result in DIR/evaluations.json and on the model card, in place of an earlier one of the "
            "same data and settings.",
        ),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Neither use nor keep likelihoods on disk ($LIKRA_CACHE, ~/.cache/likra), where a repetition or "
            "another --weight finds them.",
        ),
    ] = False,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Evaluate heads on questions with known answers: base, SFT, Base-Likra and Likra, with 95% intervals.

    On several GPUs: `accelerate launch -m likra eval ...` (or torchrun); each process reads its share of the questions.
    """
    from likra.data import load
    from likra.data.overlap import overlaps
    from likra.data.sources import in_style_of
    from likra.data.templates import TEMPLATES
    from likra.errors import InputError
    from likra.scoring.scores import NORMALIZATIONS
    from likra.utils.files import check_writable, locked

    scoring = options.scoring(weight, normalization)
    if save_likelihoods:
        check_writable(save_likelihoods)
        if save_likelihoods.suffix != ".parquet":
            raise InputError(f"{save_likelihoods}: the table is a Parquet file; let its name end in .parquet.")
        if save_likelihoods.is_dir():
            raise InputError(f"{save_likelihoods}: is a folder; --save-likelihoods takes a file name.")
    if record and not heads.is_dir():
        raise InputError(f"--record: writes to a folder of heads, and {heads} is none here.")
    number = _number_of(orders)
    if orders and (record or min_confidence is not None):
        raise InputError(
            "--orders: probabilities and records are of one order; leave out --min-confidence and --record."
        )
    source = load(data, template)
    source.split(split)

    parallel.start()
    saved = how.read(heads)
    source = in_style_of(source, saved.style)
    if orders and not TEMPLATES[source.style].lists_options:
        raise InputError("--orders: is for prompts that list the options; add --template options.")

    from likra.data.few_shot import with_few_shot
    from likra.scoring.abstention import abstention_on
    from likra.scoring.orders import EvaluationInOrders, in_orders
    from likra.training.provenance import remarks

    judged, judge = split or source.default_split, saved.judge
    for remark in remarks(saved.training, saved.style, source, split, limit):
        options.note(remark)
    probable = judge.probable(scoring, shots, source.style)
    if min_confidence is not None and not probable:
        raise InputError(
            "--min-confidence: calibrate these heads (`likra calibrate`) at this weight, normalization, --shots, "
            "and on data of this prompt template."
        )
    fitted = saved.calibration
    if fitted and probable and overlaps(fitted.asked, source.split(split)[:limit]):
        options.note(
            "these heads were calibrated on the questions judged here; they look better calibrated than they are"
        )
    asked, prompter = with_few_shot(
        source, saved.style, split=split, shots=shots, sampled_shots=sampled_shots, limit=limit
    )
    runtime = options.runtime(memory, cache=not no_cache)
    if orders:
        each = [in_orders(question, number) for question in asked]
        asked, probable = [question for some in each for question in some], None
    result = judge.evaluation(_likelihoods(heads, saved, asked, prompter, runtime, how), scoring)
    if orders:
        result = EvaluationInOrders.of(result, [len(some) for some in each])
    if parallel.rank() > 0:
        return
    if save_likelihoods:
        result.likelihoods.save(save_likelihoods)
    if record:
        from likra.hub.evaluations_file import record_evaluation
        from likra.hub.model_card import write_card

        about: dict[str, Any] = {"data": source.name, "split": judged, "shots": shots}
        about["seen"] = overlaps(saved.training.get("asked", ""), result.likelihoods.questions)
        with locked(heads, seconds=60):  # who else records meanwhile must not overwrite this
            record_evaluation({**about, "sampled_shots": sampled_shots, "limit": limit, **_known(result)}, heads)
            write_card(heads)
    known = abstention_on(result, probable, min_confidence)
    if json:
        more = {"calibration": known.as_json()} if known else {}
        typer.echo(jsonlib.dumps(result.as_json() | more))
        return
    _show(result, judged, NORMALIZATIONS[normalization])
    if known:
        _show_sure(known)
    if isinstance(result, EvaluationInOrders):
        _show_orders(result)


def _number_of(orders: str | None) -> int | None:
    """How many orders `--orders` asks for; None for all."""
    from likra.errors import InputError

    if orders in (None, "all"):
        return None
    if not orders.isdecimal() or int(orders) < 2:
        raise InputError(f"--orders {orders}: give all, or a whole number of 2 or more.")
    return int(orders)


def _likelihoods(
    heads: Path,
    saved: "Saved",
    questions: "list[Question]",
    prompter: "Prompter",
    runtime: "Runtime",
    how: options.Loading,
) -> "Likelihoods":
    """From the cache, where it has them for these very files, without a model; else by the model."""
    kept = how.kept_tables(saved, runtime.cache_folder)
    if kept and (found := kept.get(questions, prompter)):
        return found
    from likra.hub.kept import warnings_of_likra

    with warnings_of_likra() as said:
        table = how.open(heads).likelihoods(questions, prompter, runtime=runtime)
    # Not where something was said that is to be said each time, nor where a file was changed meanwhile.
    if kept and not said and kept == how.kept_tables(saved, runtime.cache_folder):
        kept.put(table, prompter)
    return table


def _show(result: "Evaluation", split: str, divided_by: str) -> None:
    from likra.scoring.scores import METHOD_TITLES

    console = options.console()
    table = Table(box=None, pad_edge=False)
    for column in ("method", "accuracy", "95% interval"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, value in result.methods.items():
        table.add_row(METHOD_TITLES[method], f"{value.value:.4f}", f"{value.low:.4f} to {value.high:.4f}")
    options.show_table(table)
    console.print(f"{result.count} questions ({split}), weight {result.weight:g}, scores divided by {divided_by}")
    if cut := result.likelihoods.questions_cut:
        console.print(f"{cut} questions overran the model's context; their prompts were cut from the left")
    if rounding := result.likelihoods.rounding:
        console.print(rounding)
    best, rival = _rivals(result)
    test = result.compare(best, rival)
    console.print(
        f"{METHOD_TITLES[best]} against {METHOD_TITLES[rival]}: better on {test.first_only} questions, worse on "
        f"{test.second_only} (McNemar's exact test, p = {test.p_value:.2g})"
    )


def _show_orders(result: "EvaluationInOrders") -> None:
    from likra.scoring.scores import METHOD_TITLES

    shares = ", ".join(
        f"{METHOD_TITLES[method]} {100 * one.value:.1f}% ({100 * one.low:.1f} to {100 * one.high:.1f})"
        for method, one in result.changed.items()
    )
    most = max(result.orders)
    options.console().print(f"Means over up to {most} orders of the options. Answers that change with it: {shares}")


def _show_sure(sure: "AbstentionReport") -> None:
    console = options.console()
    console.print(f"Expected calibration error {sure.error:.4f} ({sure.plain:.4f} without the calibration)")
    if sure.threshold is None:
        return
    text = (
        f"Answering only when sure ({sure.threshold:g} or more): {100 * sure.coverage:.1f}% of the questions answered"
    )
    if one := sure.answered:
        text += f", {one.value:.4f} of those rightly ({one.low:.4f} to {one.high:.4f})"
    console.print(text)


def _rivals(result: "Evaluation") -> tuple[str, str]:
    """The best method that the heads allow, and the one to hold it against."""
    return result.best, "sft" if result.best == "likra" else "base"


def _known(result: "Evaluation") -> dict[str, Any]:
    """What is recorded of a result."""
    best, rival = _rivals(result)
    test = result.compare(best, rival)
    compared = {"first": best, "second": rival, "better": test.first_only, "worse": test.second_only}
    today = datetime.date.today().isoformat()
    return {**result.as_json(), "test": {**compared, "p_value": test.p_value}, "date": today}
