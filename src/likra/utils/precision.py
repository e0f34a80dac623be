"""The names of the precisions in which a base and its adapters can be read (`likra.engine.precision`)."""

from likra.errors import InputError

#: In which precision a base and its adapters are read.
PRECISIONS: dict[str, str] = {
    "auto": "the fastest way whose rounding moves the ratio by at most 5% of its spread, found by measuring",
    "float32": "float32 throughout, whatever the weights are stored in",
    "faithful": "the fastest way whose rounding needs no measuring: likelihoods that are read apart may be compared",
    "fast": "half-precision products of what base and adapters differ in, without measuring first",
}


def check_precision(precision: str) -> None:
    """Raise InputError where there is no such precision."""
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
