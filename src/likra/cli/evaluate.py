"""`likra eval`: how good heads are on questions with known answers."""

import datetime
import json as jsonlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from likra.cli import options, verification
from likra.cli.tracking import ReportTo, log, tracking
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
    heads: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A folder that `likra train` wrote, or owner/name on the Hugging Face hub. With --folds: the base "
            "model.",
            show_default=False,
        ),
    ],
    data: options.Data,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validate instead: train heads on all folds but one and judge that one, so that every question "
            "is judged by heads that never saw it. The first argument is then the base model.",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="--folds: learning rate. [default: the first of --try-lr; else what suits the data, or 1e-4 with "
            "--epochs]"
        ),
    ] = None,
    try_lr: Annotated[
        str | None,
        typer.Option(
            metavar="RATE,...", help="--folds: learning rates to choose from, by the other folds. [default: --lr alone]"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="--folds: passes over the training questions. [default: what suits the data, or 1 with --lr or "
            "--try-lr]",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="--folds: seed of the folds, the first weights, the draws and the order. [default: 0]"),
    ] = None,
    more: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="--folds: also train on a quarter and a half of the records, and say what accuracy to expect with N "
            "more of them.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, validation, test or all. [default: test, or validation where there is no test; all of data "
            "that names no splits and did not train the heads]"
        ),
    ] = None,
    template: options.Template = None,
    text: options.Text = None,
    label: options.Label = None,
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
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Evaluate on only the first so many questions; with --folds on so many, drawn by --seed."
        ),
    ] = None,
    weight: options.Weight = None,
    normalization: options.Norm = "raw",
    min_confidence: options.MinConfidence = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Also evaluate without the question (blind), with another one's (shuffled), and by a classifier of "
            "the answers alone (shallow): how much of the accuracy comes from reading the question.",
        ),
    ] = False,
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
    report_to: ReportTo = None,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Evaluate heads on questions with known answers: base, SFT, Base-Likra and Likra, with 95% intervals.

    On unpaired data (prompt, completion, label): how well they, and PMI, tell right completions from wrong ones.

    On several GPUs: `accelerate launch -m likra eval ...` (or torchrun); each process reads its share of the questions.
    """
    from likra.data.controls import CONTROLS
    from likra.data.overlap import overlaps
    from likra.data.sources import in_style_of
    from likra.data.templates import TEMPLATES
    from likra.data.unpaired import LoneCandidates, in_template_of
    from likra.errors import InputError
    from likra.scoring.scores import NORMALIZATIONS
    from likra.utils.files import check_writable, locked

    scoring = options.scoring(weight, normalization)
    training: dict[str, Any] = {"--lr": lr, "--try-lr": try_lr, "--epochs": epochs, "--seed": seed, "--more": more}
    if not folds and (given := [name for name, value in training.items() if value is not None]):
        raise InputError(f"{given[0]}: is for --folds, which trains heads; these are trained.")
    if save_likelihoods:
        if save_likelihoods.suffix != ".parquet":
            raise InputError(f"{save_likelihoods}: the table is a Parquet file; let its name end in .parquet.")
        for file in [save_likelihoods, *(_beside(save_likelihoods, name) for name in CONTROLS if controls)]:
            check_writable(file)
            if file.is_dir():
                raise InputError(f"{file}: is a folder; --save-likelihoods takes a file name.")
    if record and not heads.is_dir():
        raise InputError(f"--record: writes to a folder of heads, and {heads} is none here.")
    tracked = tracking(report_to, heads)
    number = _number_of(orders)
    if orders and (record or controls or min_confidence is not None):
        raise InputError(
            "--orders: probabilities, records and controls are of one order; leave out --min-confidence, --record and "
            "--controls."
        )
    if folds:
        unlike: dict[str, Any] = {
            "--split": split,
            "--orders": orders,
            "--shots": shots,
            "--sampled-shots": sampled_shots,
        }
        unlike |= {"--min-confidence": min_confidence, "--controls": controls, "--record": record}
        unlike |= {"--base": how.base, "--base-revision": how.base_revision}
        if given := [
            name for name, value in unlike.items() if value or (name == "--min-confidence" and value is not None)
        ]:
            raise InputError(f"{given[0]}: is not for --folds; train heads, and evaluate them with it.")
        source = options.load(data, template, text, label)
        from likra.cli.folds import cross_validation, show_folds
        from likra.scoring.cross_verification import CrossVerification

        recipe: dict[str, Any] = {
            "folds": folds,
            "lr": lr,
            "try_lr": try_lr,
            "epochs": epochs,
            "seed": seed,
            "limit": limit,
            "more": more,
        }
        runtime = options.runtime(memory, not no_cache, tracked)
        found = cross_validation(heads, source, scoring, runtime, how, **recipe)
        if parallel.rank() == 0 and save_likelihoods:
            found.likelihoods.save(save_likelihoods)
            if isinstance(found, CrossVerification):
                found.found.alone.save(_beside(save_likelihoods, "alone"))
        show_folds(found, source.name, more, json=json)
        log(tracked, {"data": source.name, **found.as_json()})
        return
    saved = how.read(heads)
    source = options.load(data, template, text, label, saved.training)
    source.items(split or "all")
    if source.unpaired and record:
        raise InputError("--record: keeps accuracies, which unpaired data (prompt, completion, label) does not have.")

    parallel.start()
    source = (in_template_of if source.unpaired else in_style_of)(source, saved.style)
    if orders and not TEMPLATES[source.style].lists_options:
        raise InputError("--orders: is for prompts that list the options; add --template options.")

    from likra.data.few_shot import with_few_shot
    from likra.scoring.abstention import abstention_on
    from likra.scoring.orders import EvaluationInOrders, in_orders
    from likra.training.provenance import answers, remarks, split_to_judge

    (judged, said), judge = split_to_judge(saved.training, source, split), saved.judge
    if json and said != judged:
        options.note(f"judged are {said}")
    for remark in remarks(saved.training, saved.style, source, judged, limit):
        options.note(remark)
    probable = judge.probable(scoring, shots, source.style, lone=source.unpaired)
    if min_confidence is not None and not probable:
        raise InputError(
            "--min-confidence: calibrate these heads (`likra calibrate`) at this weight, normalization, --shots, "
            "and on data of this prompt template"
            f"{' without choices (unpaired)' if source.unpaired else ''}."
        )
    fitted = saved.lone_calibration if source.unpaired else saved.calibration
    if fitted and probable and overlaps(fitted.asked, source.items(judged)[:limit]):
        options.note(
            "these heads were calibrated on the questions judged here; they look better calibrated than they are"
        )
    read_all = partial(tables, heads, saved, options.runtime(memory, not no_cache, tracked), how)
    if source.unpaired:
        records = LoneCandidates.of(
            source, saved.style, split=judged, limit=limit, shots=shots, sampled_shots=sampled_shots
        )
        lone = judge.verify(records, read_all, scoring)
        if parallel.rank() > 0:
            return
        if save_likelihoods:
            lone.likelihoods.save(save_likelihoods)
            lone.alone.save(_beside(save_likelihoods, "alone"))
        found_lone = verification.as_json(lone, min_confidence, controls)
        if json:
            typer.echo(jsonlib.dumps(found_lone))
        else:
            verification.show(lone, said, NORMALIZATIONS[normalization], min_confidence, controls)
        log(tracked, {"data": source.name, "split": judged, **found_lone}, len(saved.losses))
        return
    asked, prompter = with_few_shot(
        source, saved.style, split=judged, shots=shots, sampled_shots=sampled_shots, limit=limit
    )
    if orders:
        each = [in_orders(question, number) for question in asked]
        asked, probable = [question for some in each for question in some], None
    read = partial(read_all, asked)
    learned = answers(saved.training, source, asked, saved.training_config.seed) if controls else None
    result = judge.evaluate(asked, prompter, read, scoring, learned)
    if orders:
        result = EvaluationInOrders.of(result, [len(some) for some in each])
    if parallel.rank() > 0:
        return
    if save_likelihoods:
        result.likelihoods.save(save_likelihoods)
        for name, one in result.controlled.items():
            one.likelihoods.save(_beside(save_likelihoods, name))
    if record:
        from likra.hub.evaluations_file import record_evaluation
        from likra.hub.model_card import write_card

        about: dict[str, Any] = {"data": source.name, "split": judged, "shots": shots, "template": template}
        about["seen"] = overlaps(saved.training.get("asked", ""), result.likelihoods.questions)
        with locked(heads, seconds=60):  # who else records meanwhile must not overwrite this
            record_evaluation({**about, "sampled_shots": sampled_shots, "limit": limit, **_known(result)}, heads)
            write_card(heads)
    known = abstention_on(result, probable, min_confidence)
    if json:
        if controls:
            options.note(_of_shallow(result))
        calibrated = {"calibration": known.as_json()} if known else {}
        typer.echo(jsonlib.dumps(result.as_json() | calibrated))
    else:
        _show(result, said, NORMALIZATIONS[normalization])
        if known:
            _show_sure(known)
        if isinstance(result, EvaluationInOrders):
            _show_orders(result)
    log(tracked, {"data": source.name, "split": judged, **result.as_json()}, len(saved.losses))


def _number_of(orders: str | None) -> int | None:
    """How many orders `--orders` asks for; None for all."""
    from likra.errors import InputError

    if orders in (None, "all"):
        return None
    if not orders.isdecimal() or int(orders) < 2:
        raise InputError(f"--orders {orders}: give all, or a whole number of 2 or more.")
    return int(orders)


def _beside(file: Path, control: str) -> Path:
    """Where the table of a control is kept."""
    return file.with_suffix(f".{control}{file.suffix}")


def tables(
    heads: Path,
    saved: "Saved",
    runtime: "Runtime",
    how: options.Loading,
    questions: "Sequence[Question]",
    prompters: "Sequence[Prompter]",
) -> "list[Likelihoods]":
    """The table of each wording: from the cache, where it has them for these very files; else by the model."""
    kept = how.kept_tables(saved, runtime.cache_folder)
    found = [kept.get(questions, one) if kept else None for one in prompters]
    if all(found):
        return [table for table in found if table]
    from likra.hub.kept import warnings_of_likra

    with warnings_of_likra() as said:
        likra = how.open(heads)
        tables = [
            table or likra.likelihoods(questions, one, runtime=runtime)
            for table, one in zip(found, prompters, strict=True)
        ]
    # Not where something was said that is to be said each time, nor where a file was changed meanwhile.
    if kept and not said and kept == how.kept_tables(saved, runtime.cache_folder):
        for before, table, one in zip(found, tables, prompters, strict=True):
            if not before:
                kept.put(table, one)
    return tables


def _show(result: "Evaluation", split: str, divided_by: str) -> None:
    from likra.scoring.scores import METHOD_TITLES

    console = options.console()
    table = Table(box=None, pad_edge=False)
    more = [*result.controlled, "reading gain", "95% interval"] if result.controls else []
    for column in ("method", "accuracy", "95% interval", *more):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, value in result.methods.items():
        row = [METHOD_TITLES[method], f"{value.value:.4f}", f"{value.low:.4f} to {value.high:.4f}"]
        row += [f"{one.methods[method].value:.4f}" for one in result.controlled.values()]
        if gain := result.reading_gain.get(method):
            row += [f"{gain.value:+.4f}", f"{gain.low:+.4f} to {gain.high:+.4f}"]
        table.add_row(*row)
    if shallow := result.shallow:
        table.add_row("Shallow", f"{shallow.value:.4f}", f"{shallow.low:.4f} to {shallow.high:.4f}")
    options.show_table(table)
    if result.controls:
        console.print(_conclusion(result))
        console.print(_of_shallow(result), markup=False)
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


def _conclusion(result: "Evaluation") -> str:
    """What the controls say of the method that ranks, in points."""
    from likra.data.controls import BLIND
    from likra.scoring.scores import METHOD_TITLES

    title, chance = METHOD_TITLES[result.best], 100 * result.chance
    accuracy, blind = (100 * one.methods[result.best].value for one in (result, result.controlled[BLIND]))
    gain = result.reading_gain[result.best]
    adds = f"reading it adds {100 * gain.value:.1f} ({100 * gain.low:.1f} to {100 * gain.high:.1f})"
    unclear = "" if gain.low > 0 or gain.high < 0 else ", which may be none"
    if accuracy <= chance:
        return f"{title} is not above chance ({chance:.1f}%); without the question it has {blind:.1f}%."
    share = "none is" if blind <= chance else "all are" if blind >= accuracy else f"{blind - chance:.1f} are"
    over = f"Of {title}'s {accuracy - chance:.1f} points over chance ({chance:.1f}%)"
    return f"{over}, {share} reached without the question; {adds}{unclear}."


def _of_shallow(result: "Evaluation") -> str:
    """What the shallow control learned from."""
    if result.controls is None or not result.shallow:
        return f"There is no shallow control: {result.controls.answers.origin if result.controls else ''}."
    answers = result.controls.answers
    return f"Shallow learned from {answers.origin}: {len(answers.right)} right, {len(answers.wrong)} wrong."


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
