"""In the miniature world an answer's wording says nothing about its truth: without the question there is only chance."""

import pytest

from likra import Likra, TrainingConfig
from likra.utils.runtime import QUIET


@pytest.fixture(scope="module")
def likra() -> Likra:
    return Likra.from_base("world", training_config=TrainingConfig(learning_rate=1e-3)).fit(
        "world", limit=256, runtime=QUIET
    )


def test_blind_accuracy_is_chance(likra: Likra) -> None:
    """Of base, SFT and Likra, and that of the shallow classifier of the same answers; with the question they have more."""
    result = likra.evaluate("world", controls=True, runtime=QUIET)
    assert result.chance == 0.25
    blind = result.controlled["blind"].methods
    for method, value in blind.items():
        assert value.low <= result.chance <= value.high, (method, value)
        assert result.reading_gain[method].low > 0.1, method
    assert result.shallow is not None and result.shallow.low <= result.chance <= result.shallow.high
