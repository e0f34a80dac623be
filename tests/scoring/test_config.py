"""`Scoring` refuses what no table can be scored by, and names the argument."""

import math

import pytest

from likra.errors import InputError
from likra.scoring import METHOD_TITLES, NORMALIZATIONS, Scoring


def test_every_method_and_normalization_is_taken() -> None:
    for method in METHOD_TITLES:
        for normalization in NORMALIZATIONS:
            assert Scoring(method, 0.5, normalization).method == method
    assert Scoring() == Scoring(None, None, "raw")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "ppo"}, "^method must be one of base, sft, base_likra, likra, got 'ppo'.$"),
        ({"weight": math.inf}, "^weight must be a finite number, got inf.$"),
        ({"normalization": "word"}, "^normalization must be one of raw, token, character, byte, got 'word'.$"),
    ],
)
def test_what_it_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scoring(**arguments)  # type: ignore[arg-type]
