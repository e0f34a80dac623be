"""Scores of candidates: log-likelihoods, their ratio, and the lengths that they are divided by."""

import math
from collections.abc import Sequence

from likra.errors import InputError
from likra.scoring.likelihoods import BASE, NEGATIVE, POSITIVE, Floats, Likelihoods

#: Normalization -> what a candidate's score is divided by; the command line shows these words.
NORMALIZATIONS: dict[str, str] = {
    "raw": "nothing (lm-evaluation-harness: acc)",
    "token": "its tokens",
    "character": "its characters (lm-evaluation-harness: acc_norm)",
    "byte": "its UTF-8 bytes (lm-evaluation-harness: acc_bytes)",
}

#: Method, as columns of tables spell it -> its title, in the order in which they are shown.
METHOD_TITLES = {"base": "Base", "sft": "SFT", "base_likra": "Base-Likra", "likra": "Likra"}

#: Method -> the columns that are L+ and, where there is one, L-.
READERS: dict[str, tuple[str, ...]] = {
    "base": (BASE,),
    "sft": (POSITIVE,),
    "base_likra": (BASE, NEGATIVE),
    "likra": (POSITIVE, NEGATIVE),
}


def method_of(heads: Sequence[str], method: str | None = None) -> str:
    """A method that these adapters allow; by default the best of them.

    >>> method_of(["positive", "negative"]), method_of(["positive"])
    ('likra', 'sft')

    Raises:
        InputError: The method is unknown, or needs an adapter that is not there.
    """
    allowed = [name for name, readers in READERS.items() if {*readers} <= {BASE, *heads}]
    if method is not None and method not in allowed:
        raise InputError(f"method must be one of {', '.join(allowed)} with these adapters, got {method!r}.")
    return method or allowed[-1]


def ratio(positive_QC: Floats, negative_QC: Floats, weight: float = 1.0) -> Floats:
    """Likra's score, L+ - w * L- (paper, section 2): [Q, C] in nats, NaN where there is no candidate.

    >>> import numpy as np
    >>> ratio(np.array([[-1.0, -4.0]]), np.array([[-2.0, -2.0]]), weight=0.5).tolist()
    [[0.0, -3.0]]
    """
    ratio_QC: Floats = positive_QC - weight * negative_QC
    return ratio_QC


def check_weight(weight: float) -> None:
    """Raise InputError unless `weight` is a finite number."""
    if not math.isfinite(weight):
        raise InputError(f"weight must be a finite number, got {weight}.")


def check_normalization(name: str) -> None:
    """Raise InputError unless `name` is one of `NORMALIZATIONS`."""
    if name not in NORMALIZATIONS:
        raise InputError(f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {name!r}.")


def normalise(scores_QC: Floats, table: Likelihoods, normalization: str) -> Floats:
    """[Q, C] scores, each divided by the candidate's length (at least 1) as `NORMALIZATIONS` says.

    Raises:
        InputError: The normalization is unknown.
    """
    check_normalization(normalization)
    if normalization == "raw":
        return scores_QC
    lengths = {"token": table.tokens_QC, "character": table.characters_QC, "byte": table.bytes_QC}[normalization]
    divided_QC: Floats = scores_QC / lengths.clip(min=1)
    return divided_QC


def method_scores(
    table: Likelihoods, *, positive: str | None, negative: str | None, weight: float = 1.0, normalization: str = "raw"
) -> dict[str, Floats]:
    """[Q, C] scores of every method (see `READERS`) that the table's adapters allow.

    Args:
        table: Must hold `base` and the named adapters.
        positive: Name of the positive adapter, if there is one.
        negative: Name of the negative adapter, if there is one.
        weight: w of the negative adapter.
        normalization: One of `NORMALIZATIONS`.
    """
    names = {BASE: BASE, POSITIVE: positive, NEGATIVE: negative}
    scores = {}
    for method, roles in READERS.items():
        columns = [table.head(name) for role in roles if (name := names[role]) is not None]
        if len(columns) == len(roles):
            score_QC = columns[0] if len(columns) == 1 else ratio(columns[0], columns[1], weight)
            scores[method] = normalise(score_QC, table, normalization)
    return scores
