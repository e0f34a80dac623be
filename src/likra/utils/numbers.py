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


def counts_of(option: str, text: str) -> list[int]:
    """The whole numbers above 0 of an option, in the order given, each once.

    >>> counts_of("--try-epochs", "3,1,3")
    [3, 1]

    Raises:
        InputError: They are none.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise InputError(f"{option} {text}: give whole numbers of 1 or more separated by commas, such as 3,1,5.")
    return list(dict.fromkeys(found))
