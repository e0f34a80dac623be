"""`likra eval` on unpaired data: what is printed of it."""

from typing import TYPE_CHECKING, Any

from rich.table import Table

from likra.cli import options

if TYPE_CHECKING:
    from likra.scoring.estimate import Estimate
    from likra.scoring.verification import Verification


def as_json(result: "Verification", min_confidence: float | None, controls: bool) -> dict[str, Any]:
    """What `--json` prints."""
    found = result.as_json()
    if min_confidence is not None:
        share, right = result.accepted(min_confidence)
        accepted = {"min_confidence": min_confidence, "coverage": share, "right": right and right.as_json()}
        found["calibration"] = accepted
    if controls:
        blind = {method: {"auroc": value.as_json()} for method, value in result.blind.items()}
        found["controls"] = {"blind": blind}
    return found


def show(result: "Verification", said: str, divided_by: str, min_confidence: float | None, controls: bool) -> None:
    """Print it for people."""
    from likra.scoring.verification import VERIFICATION_TITLES

    console = options.console()
    columns = {"AUROC": "auroc", "average precision": "average_precision", "accuracy": "accuracy"}
    columns |= {"Brier score": "brier", "calibration error": "ece"}
    shown = {title: name for title, name in columns.items() if any(getattr(v, name) for v in result.methods.values())}
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for title in (*shown, *(["AUROC, blind"] if controls else [])):
        table.add_column(title, justify="right")
    for method, one in result.methods.items():
        row = [_with_interval(getattr(one, name)) for name in shown.values()]
        row += [_with_interval(result.blind.get(method))] if controls else []
        table.add_row(VERIFICATION_TITLES[method], *row)
    options.show_table(table)
    console.print("(in parentheses: 95% intervals over prompts)")
    console.print(
        f"{result.count} records of {result.prompts} prompts, {int(result.right_N.sum())} of them right ({said}), "
        f"weight {result.weight:g}, scores divided by {divided_by}"
    )
    if cut := result.likelihoods.questions_cut:
        console.print(f"{cut} records overran the model's context; their prompts were cut from the left")
    if rounding := result.likelihoods.rounding:
        console.print(rounding)
    if result.threshold_of:
        console.print(f"Accuracy: at the score from which {result.threshold_of}.")
    else:
        console.print(
            "No accuracy: there are no training records here to choose a threshold on, and the heads are not "
            "calibrated on unpaired data (`likra calibrate`)."
        )
    best, rival = result.best, "sft" if result.best == "likra" else "base"
    if best != rival:
        more = result.compare(best, rival)
        console.print(
            f"{VERIFICATION_TITLES[best]} against {VERIFICATION_TITLES[rival]}: AUROC {more.value:+.3f} "
            f"({more.low:+.3f} to {more.high:+.3f})"
        )
    if min_confidence is not None:
        share, right = result.accepted(min_confidence)
        text = f"P(right) of at least {min_confidence:g}: {100 * share:.1f}% of the records"
        console.print(text + (f", {_with_interval(right)} of those right" if right else ""))


def _with_interval(value: "Estimate | None") -> str:
    return "" if value is None else f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"
