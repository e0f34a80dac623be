"""Scores of candidates: likelihoods, their ratio, and what they are divided by."""

import math
from collections.abc import Sequence
from typing import Literal

from likra.errors import InputError
from likra.likelihood.table import BASE, NEGATIVE, POSITIVE, Floats, Likelihoods

Normalisation = Literal["raw", "token", "character", "byte"]

#: What a candidate's score is divided by; the words are the command line's too.
NORMALISATIONS: dict[str, str] = {
    "raw": "nothing (lm-evaluation-harness: acc)",
    "token": "its tokens",
    "character": "its characters (lm-evaluation-harness: acc_norm)",
    "byte": "its UTF-8 bytes (lm-evaluation-harness: acc_bytes)",
}

#: The methods that two heads give, in the order in which they are shown.
METHOD_TITLES = {"base": "Base", "sft": "SFT", "base_likra": "Base-Likra", "likra": "Likra"}

#: Method -> whose log-likelihoods are L+ and, where there is one, L-.
READERS: dict[str, tuple[str, ...]] = {
    "base": (BASE,),
    "sft": (POSITIVE,),
    "base_likra": (BASE, NEGATIVE),
    "likra": (POSITIVE, NEGATIVE),
}


def method_of(heads: Sequence[str], method: str | None = None) -> str:
    """A method that these heads allow; by default the best of them.

    Raises:
        InputError: The method is unknown, or needs a head that is not there.
    """
    allowed = [name for name, readers in READERS.items() if {*readers} <= {BASE, *heads}]
    if method is not None and method not in allowed:
        raise InputError(f"method {method}: must be one of {', '.join(allowed)} with these heads.")
    return method or allowed[-1]


def ratio(positive_QC: Floats, negative_QC: Floats, weight: float = 1.0) -> Floats:
    """Likra's score, L+ - w * L- (paper, section 2): [Q, C] in nats, NaN where there is no candidate."""
    ratio_QC: Floats = positive_QC - weight * negative_QC
    return ratio_QC


def check_weight(weight: float) -> None:
    """Raise InputError unless `weight` is a finite number."""
    if not math.isfinite(weight):
        raise InputError(f"--weight {weight}: must be a finite number.")


def check_normalisation(name: str) -> None:
    """Raise InputError unless `name` is one of `NORMALISATIONS`."""
    if name not in NORMALISATIONS:
        raise InputError(f"--normalisation {name}: must be one of {', '.join(NORMALISATIONS)}.")


def normalise(scores_QC: Floats, table: Likelihoods, normalisation: str) -> Floats:
    """Divide each candidate's score by its length, as `NORMALISATIONS` says."""
    check_normalisation(normalisation)
    if normalisation == "raw":
        return scores_QC
    lengths = {"token": table.tokens_QC, "character": table.characters_QC, "byte": table.bytes_QC}[normalisation]
    divided_QC: Floats = scores_QC / lengths.clip(min=1)
    return divided_QC


def method_scores(
    table: Likelihoods,
    *,
    positive: str | None,
    negative: str | None,
    weight: float = 1.0,
    normalisation: str = "raw",
) -> dict[str, Floats]:
    """[Q, C] scores of every method that the table's heads allow.

    `base`: the base alone. `sft`: the positive head alone. `base_likra`: the base against the negative head. `likra`:
    the positive head against the negative one.

    Args:
        table: Must hold `base` and the named heads.
        positive: Name of the positive head, if there is one.
        negative: Name of the negative head, if there is one.
        weight: w of the negative head.
        normalisation: One of `NORMALISATIONS`.
    """
    scores = {"base": table.head(BASE)}
    if positive is not None:
        scores["sft"] = table.head(positive)
    if negative is not None:
        scores["base_likra"] = ratio(table.head(BASE), table.head(negative), weight)
    if positive is not None and negative is not None:
        scores["likra"] = ratio(table.head(positive), table.head(negative), weight)
    return {method: normalise(value, table, normalisation) for method, value in scores.items()}
