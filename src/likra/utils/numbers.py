"""Numbers that people write as text."""

from collections.abc import Callable
from typing import TypeVar

from likra.errors import InputError

_Number = TypeVar("_Number", int, float)


def rates_of(option: str, text: str) -> list[float]:
    """The learning rates of an option, in the order given, each once.

    >>> rates_of("--try-lr", "1e-3, 1e-4,0.001")
    [0.001, 0.0001]

    Raises:
        InputError: They are none.
    """
    found = _listed(text, float)
    if not all(0 < rate < float("inf") for rate in found or [0.0]):
        raise InputError(f"{option} {text}: give positive numbers separated by commas, such as 1e-4,3e-4,1e-3.")
    return found


def counts_of(option: str, text: str) -> list[int]:
    """The whole numbers above 0 of an option, in the order given, each once.

    >>> counts_of("--try-epochs", "3,1,3")
    [3, 1]

    Raises:
        InputError: They are none.
    """
    found = _listed(text, int)
    if min(found, default=0) < 1:
        raise InputError(f"{option} {text}: give whole numbers of 1 or more separated by commas, such as 3,1,5.")
    return found


def _listed(text: str, number: Callable[[str], _Number]) -> list[_Number]:
    """The numbers of a list with commas, in the order given, each once; none where one of them is not a number."""
    try:
        return list(dict.fromkeys(number(part) for part in text.split(",")))
    except ValueError:
        return []
