"""The learning rate and the epochs that stand where nobody gives them."""

import json
from pathlib import Path

import pytest

from likra import Example, InputError, Likra, Question, TrainingConfig
from likra.training.recipe import asked_for, suited
from likra.utils.runtime import QUIET
from tests.cli.test_cli import invoke


def quiz(count: int) -> list[Question]:
    return [Question(str(n), f"{n} plus 1?", (str(n + 1), str(n)), 0) for n in range(count)]


def texts(count: int) -> list[Question]:
    return [Question(str(n), f"Text {n}", ("sales", "support"), n % 2) for n in range(count)]


def thumbs(right: int, wrong: int) -> list[Example]:
    return [Example(f"{n}?", " yes", right=n < right) for n in range(right + wrong)]


def recipe(config: TrainingConfig) -> tuple[float, int]:
    return config.learning_rate, config.num_train_epochs


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (quiz(1), (3e-4, 3)),
        (quiz(32), (3e-4, 3)),  # 12 steps
        (quiz(128), (3e-4, 3)),  # 48 steps
        (quiz(136), (3e-4, 3)),
        (quiz(192), (3e-4, 2)),
        (quiz(384), (3e-4, 1)),
        (quiz(512), (3e-4, 1)),
        (quiz(513), (1e-4, 1)),
        (texts(9), (3e-4, 3)),  # that so few share their choices may be chance
        (texts(60), (1e-3, 5)),
        (texts(128), (1e-3, 3)),
        (texts(513), (1e-4, 1)),
        (thumbs(40, 8), (3e-4, 3)),  # the larger side counts: 5 steps an epoch
        (thumbs(100, 256), (3e-4, 2)),
        (thumbs(513, 1), (1e-4, 1)),
    ],
)
def test_what_suits_data_of_a_size_and_kind(items: list[Question] | list[Example], expected: tuple[float, int]) -> None:
    assert recipe(suited(items, TrainingConfig())) == expected


def test_what_is_left_out_does_not_count() -> None:
    assert recipe(suited(quiz(5000), TrainingConfig(), limit=128)) == (3e-4, 3)
    assert recipe(suited(thumbs(900, 900), TrainingConfig(), limit=32)) == (3e-4, 3)
    assert recipe(suited(quiz(600), TrainingConfig(), share=0.8)) == (3e-4, 1)
    larger = TrainingConfig(per_device_train_batch_size=4, gradient_accumulation_steps=4, adapt="completion", seed=3)
    found = suited(quiz(384), larger)
    assert found == TrainingConfig(
        learning_rate=3e-4,
        num_train_epochs=2,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        adapt="completion",
        seed=3,
    )


def test_what_is_given_stands_beside_the_papers() -> None:
    config = TrainingConfig()
    assert recipe(asked_for(quiz(32), config, learning_rate=1e-3)) == (1e-3, 1)
    assert recipe(asked_for(quiz(32), config, epochs=4)) == (1e-4, 4)
    assert recipe(asked_for(quiz(32), config, learning_rate=2e-4, epochs=2)) == (2e-4, 2)
    assert recipe(asked_for(quiz(32), config, recipe="paper")) == (1e-4, 1)
    assert recipe(asked_for(quiz(32), config)) == (3e-4, 3)
    with pytest.raises(InputError, match="recipe must be one of auto, paper, got 'best'"):
        asked_for(quiz(32), config, recipe="best")


def test_a_likra_without_a_configuration_takes_what_suits_each_data() -> None:
    likra = Likra.from_base("world").fit("world", limit=16, runtime=QUIET)
    assert recipe(likra.training_config) == (3e-4, 3) and len(likra.losses) == 6
    likra.fit("world", limit=200, runtime=QUIET)
    assert recipe(likra.training_config) == (3e-4, 2) and len(likra.losses) == 50
    with pytest.raises(InputError):
        likra.fit([], runtime=QUIET)
    assert recipe(likra.training_config) == (3e-4, 2)  # a fit that failed changed nothing
    paper = Likra.from_base("world", training_config=TrainingConfig()).fit("world", limit=16, runtime=QUIET)
    assert recipe(paper.training_config) == (1e-4, 1) and len(paper.losses) == 2


def test_folds_take_what_suits_their_part_of_the_data() -> None:
    found = Likra.from_base("world").cross_validate("world", folds=2, limit=40, runtime=QUIET)
    assert vars(found.default) == {"learning_rate": 3e-4, "num_train_epochs": 3}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (3e-4, 3)),
        (("--recipe", "paper"), (1e-4, 1)),
        (("--lr", "1e-3"), (1e-3, 1)),
        (("--epochs", "2"), (1e-4, 2)),
    ],
)
def test_the_command_line_says_which_it_took(
    tmp_path: Path, options: tuple[str, ...], expected: tuple[float, int]
) -> None:
    shown = invoke("train", "world", "--data", "world", "--limit", 8, "--out", tmp_path / "heads", *options)
    assert shown.exit_code == 0
    rate, epochs = expected
    assert f"Recipe: learning rate {rate:g}, {epochs} epoch" in shown.stdout
    kept = json.loads((tmp_path / "heads" / "likra.json").read_text(encoding="utf-8"))["training_config"]
    assert (kept["learning_rate"], kept["num_train_epochs"]) == expected


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    shown = invoke("train", "world", "--data", "world", "--out", tmp_path / "heads", "--recipe", "best")
    assert str(shown.exception) == "recipe must be one of auto, paper, got 'best'."
    assert not (tmp_path / "heads").exists()
