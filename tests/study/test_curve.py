"""A learning curve in one pass against heads trained one by one."""

from typing import Any

import numpy as np
import pytest

from likra import InputError, Likra, Question, Recipe
from likra.study.curve import learning_curve
from tests.conftest import tiny_base

RECIPE = Recipe(learning_rate=1e-3, batch_size=2, rank=4)


def test_one_pass_gives_every_size(tokenizer: Any, questions: list[Question]) -> None:
    seen: list[tuple[int, int, str]] = []
    curve = learning_curve(
        tiny_base(tokenizer),
        questions[:8],
        questions[8:],
        style="qa",
        sizes=[0, 4, 8],
        seeds=[0, 5],
        recipe=RECIPE,
        progress=lambda *call: seen.append(call),
    )
    assert seen[-1] == (4, 4, "") and (2, 4, "(judging at 4 questions)") in seen
    untrained = curve.tables[0]
    np.testing.assert_array_equal(untrained.head("seed5-negative"), untrained.head("base"))
    # The largest size is what training alone gives: same draw, same order, same first weights.
    import random

    drawn = random.Random(5).sample(questions[:8], 8)
    alone = Likra.from_base(tiny_base(tokenizer), recipe=Recipe(learning_rate=1e-3, batch_size=2, rank=4, seed=5))
    table = alone.fit(drawn, progress=False).likelihoods(questions[8:])
    for side in ("positive", "negative"):
        np.testing.assert_allclose(curve.tables[8].head(f"seed5-{side}"), table.head(side), atol=1e-3)
        assert not np.allclose(
            np.nan_to_num(curve.tables[4].head(f"seed5-{side}")), np.nan_to_num(table.head(side)), atol=1e-3
        )
    results = curve.as_json()
    assert [(r["size"], r["seed"]) for r in results] == [(0, 0), (0, 5), (4, 0), (4, 5), (8, 0), (8, 5)]
    assert set(results[0]["methods"]) == {"base", "sft", "base_likra", "likra"}
    assert curve.mean(8, "sft") == pytest.approx(
        np.mean([r["methods"]["sft"]["accuracy"] for r in results if r["size"] == 8])
    )
    assert curve.mean(8, "likra", weight=0.0) == curve.mean(8, "sft")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [0, 3, 8]}, "--sizes 3: every size but the last must be a multiple of 2"),
        ({"sizes": [16]}, "--sizes 16: there are only 8 training questions"),
        ({"sizes": [-2]}, "0 or more"),
        ({"recipe": Recipe(schedule="cosine")}, "needs a constant learning rate"),
        ({"kind": "all"}, "one negative per question"),
    ],
)
def test_what_one_pass_cannot_give_is_refused(
    change: dict[str, Any], message: str, tokenizer: Any, questions: list[Question]
) -> None:
    options: dict[str, Any] = {"style": "qa", "sizes": [0, 4], "seeds": [0], "recipe": RECIPE, **change}
    with pytest.raises(InputError, match=message):
        learning_curve(tiny_base(tokenizer), questions[:8], questions[8:], **options)
