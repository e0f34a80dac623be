"""Numbers that people write as text."""

from likra.errors import InputError


def rates_of(option: str, text: str) -> list[float]:
    """The learning rates of an option, in the order given, each once.

    >>> rates_of("--try-lr", "1e-3, 1e-4,0.001")
    [0.001, 0.0001]

    Raises:
        InputError: They are none.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < rate < float("inf") for rate in found):
        raise InputError(f"{option} {text}: give positive numbers separated by commas, such as 1e-4,3e-4,1e-3.")
    return list(dict.fromkeys(found))
