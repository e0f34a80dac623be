"""`likra eval --folds`: an honest figure from few records, before any heads are kept."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from likra.cli import options, verification
from likra.utils import parallel

if TYPE_CHECKING:
    from likra.data.sources import Source
    from likra.scoring.config import Scoring
    from likra.scoring.cross_validation import CrossValidation
    from likra.scoring.cross_verification import CrossVerification
    from likra.utils.runtime import Runtime


def cross_validation(
    model: Path,
    source: "Source",
    scoring: "Scoring",
    runtime: "Runtime",
    how: options.Loading,
    *,
    folds: int,
    lr: float | None,
    try_lr: str | None,
    epochs: int | None,
    seed: int | None,
    limit: int | None,
    more: int | None,
) -> "CrossValidation | CrossVerification":
    """Cross-validate heads on a base."""
    from likra.data.folds import foldable, folds_of
    from likra.errors import InputError
    from likra.training.dataset import drawn
    from likra.utils.numbers import rates_of

    rates = rates_of("--try-lr", try_lr) if try_lr else []
    folds_of(drawn(foldable(source), limit, seed or 0), folds, seed or 0)  # refuses before a model is loaded
    if source.unpaired and (rates or more):
        raise InputError("--try-lr, --more: are for questions with choices; this data is unpaired.")
    parallel.start()
    from likra.likra import Likra
    from likra.training.config import TrainingConfig

    rate = lr if lr is not None else next(iter(rates), None)
    given = {"learning_rate": rate, "num_train_epochs": epochs, "seed": seed}
    config = TrainingConfig(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    recipe = "auto" if rate is None and epochs is None else None
    weight: dict[str, Any] = {} if scoring.weight is None else {"weight": scoring.weight}
    loading = options.loading(how.revision, how.dtype, how.device, how.trust_remote_code, how.quantize, how.precision)
    likra = Likra.from_base(str(model), training_config=config, recipe=recipe, **weight, **loading)
    how_judged: dict[str, Any] = {"folds": folds, "normalization": scoring.normalization, "limit": limit}
    shares = (0.25, 0.5) if more else ()
    return likra.cross_validate(source, runtime=runtime, learning_rates=rates, shares=shares, **how_judged)


def show_folds(found: "CrossValidation | CrossVerification", name: str, more: int | None, *, json: bool) -> None:
    """Print what was found, from the first process; and what to expect with so many more records."""
    from likra.scoring.cross_validation import BESIDE_TITLES, CrossValidation
    from likra.scoring.cross_verification import CrossVerification
    from likra.scoring.scores import METHOD_TITLES, NORMALIZATIONS

    if parallel.rank() > 0:
        return
    if json:
        known = found.as_json()
        if isinstance(found, CrossValidation) and more:
            known["expected"] = {"more": more, **found.expected(more).as_accuracy()}
        options.echo_json(known)
        return
    if isinstance(found, CrossVerification):
        _show_verification(found, name)
        return
    titles = METHOD_TITLES | BESIDE_TITLES
    table = Table(box=None, pad_edge=False)
    for column in ("method", "accuracy", "95% interval", "settings chosen", "worth", "95% interval"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, value in found.methods.items():
        row = [titles[method], f"{value.value:.4f}", f"{value.low:.4f} to {value.high:.4f}"]
        if choice := found.chosen.get(method):
            worth = choice.worth
            row += [f"{choice.accuracy.value:.4f}", f"{worth.value:+.4f}", f"{worth.low:+.4f} to {worth.high:+.4f}"]
        table.add_row(*row)
    options.show_table(table)
    console = options.console()
    count, best = len(found.fold_Q), found.best
    console.print(
        f"{count} questions of {name}, each judged by heads that learned from the other folds ({found.folds} folds); "
        f"{found.default.words}, weight {found.weight:g}, scores divided by {NORMALIZATIONS[found.normalization]}.",
        markup=False,
    )
    console.print(
        f"Settings chosen: for each fold the settings that were best on the other folds; on all folds, for "
        f"{titles[best]}: {found.chosen[best].setting.words}.",
        markup=False,
    )
    rival = max((method for method in found.methods if method != best), key=lambda name: found.methods[name].value)
    lead = found.difference(best, rival)
    console.print(
        f"{titles[best]} minus {titles[rival]}, the best of the others: {100 * lead.value:+.1f} points "
        f"({100 * lead.low:+.1f} to {100 * lead.high:+.1f})."
    )
    if cut := found.likelihoods.questions_cut:
        console.print(f"{cut} questions overran the model's context; their prompts were cut from the left")
    if more:
        points = ", ".join(f"{point.size}: {100 * point.credit_SQ.mean():.1f}" for point in found.points)
        expected = found.expected(more)
        console.print(
            f"{titles[best]} by number of training records, in percent: {points}. With {more} more records expect "
            f"{100 * expected.value:.1f} ({100 * expected.low:.1f} to {100 * expected.high:.1f})."
        )
    if rounding := found.likelihoods.rounding:
        console.print(rounding)


def _show_verification(found: "CrossVerification", name: str) -> None:
    """Print what was found of unpaired data."""
    from likra.scoring.cross_validation import BESIDE_TITLES
    from likra.scoring.verification import VERIFICATION_TITLES

    verification.show_methods(found.methods, VERIFICATION_TITLES | BESIDE_TITLES)
    console = options.console()
    console.print("(in parentheses: 95% intervals over prompts, wider because folds share training records)")
    console.print(
        f"{found.found.count} records of {found.found.prompts} prompts of {name}, each judged by heads that learned "
        f"from the other folds ({found.folds} folds). Accuracy: at thresholds that the other folds choose; calibration "
        "error: of P(right) fitted to other prompts.",
        markup=False,
    )
