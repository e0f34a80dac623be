"""The learning rate and the epochs that stand where nobody gives them."""

import json
from pathlib import Path
from typing import Any

import pytest

from likra import Example, InputError, Likra, Question, TrainingConfig, load
from likra.scoring.cross_validation import CrossValidation
from likra.training.recipe import are_labels, suited
from likra.utils.runtime import QUIET
from tests.cli.test_cli import invoke


def quiz(count: int) -> list[Question]:
    return [Question(str(n), f"{n} plus 1?", (str(n + 1), str(n)), 0) for n in range(count)]


def texts(count: int, *labels: str) -> list[Question]:
    return [Question(str(n), f"Text {n}", labels, n % len(labels)) for n in range(count)]


def thumbs(right: int, wrong: int) -> list[Example]:
    return [Example(f"{n}?", " yes", right=n < right) for n in range(right + wrong)]


def recipe(config: TrainingConfig) -> tuple[float, int]:
    return config.learning_rate, config.num_train_epochs


@pytest.mark.parametrize(
    ("counts", "labels", "expected"),
    [
        ([], False, (3e-4, 3)),
        ([1, 1], False, (3e-4, 3)),
        ([32, 32], False, (3e-4, 3)),  # 12 steps
        ([128, 128], False, (3e-4, 3)),  # 48 steps
        ([192, 192], False, (3e-4, 2)),
        ([384, 384], False, (3e-4, 1)),
        ([40, 192], False, (3e-4, 2)),  # the larger side counts
        ([512, 512], False, (3e-4, 1)),
        ([512, 513], False, (1e-4, 1)),
        ([60, 60], True, (1e-3, 5)),
        ([128, 128], True, (1e-3, 3)),
        ([513, 513], True, (3e-4, 1)),
    ],
)
def test_what_suits_data_of_a_size_and_kind(counts: list[int], labels: bool, expected: tuple[float, int]) -> None:
    assert recipe(suited(counts, labels, TrainingConfig())) == expected


def test_the_rest_of_the_configuration_stays_and_its_steps_count() -> None:
    rest: dict[str, Any] = {"gradient_accumulation_steps": 4, "adapt": "completion", "seed": 3}
    rest["per_device_train_batch_size"] = 4
    found = suited([384], False, TrainingConfig(**rest))
    assert found == TrainingConfig(learning_rate=3e-4, num_train_epochs=2, **rest)


DECISIONS = [
    {
        "state": f"Text {n}",
        "questions": {
            name: {"type": "choice", "instructions": f"Which {name}?", "criteria": dict.fromkeys(options)}
            for name, options in (("team", ["sales", "support", "other"]), ("tone", ["calm", "cross", "sad"]))
        },
        "answers": {"team": "sales", "tone": "calm"},
    }
    for n in range(20)
]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], False),
        (quiz(60), False),
        (texts(60, "sales", "support", "other"), True),
        (texts(9, "sales", "support", "other"), False),  # that so few share their choices may be chance
        (texts(60, "yes", "no"), False),
        (texts(60, "A", "B", "C", "D"), False),
        ([*texts(30, "sales", "support", "other"), *texts(30, "calm", "cross", "sad")], True),
        ([*texts(60, "sales", "support", "other"), *quiz(8)], False),
        (thumbs(20, 20), False),
        (load(DECISIONS), True),
        (load([{"text": f"Text {n}", "spam": "yn"[n % 2]} for n in range(20)], text="text", label="spam"), True),
        (load([{"prompt": f"{n}?", "completion": " a", "label": n % 2} for n in range(20)]), False),
    ],
)
def test_what_counts_as_labels(data: Any, expected: bool) -> None:
    assert are_labels(data) == expected


def test_a_likra_without_a_configuration_takes_what_suits_each_data() -> None:
    likra = Likra.from_base("world").fit("world", limit=16, runtime=QUIET)
    assert recipe(likra.training_config) == (3e-4, 3) and len(likra.losses) == 6
    likra.fit("world", limit=200, runtime=QUIET)
    assert recipe(likra.training_config) == (3e-4, 2) and len(likra.losses) == 50
    with pytest.raises(InputError):
        likra.fit([], runtime=QUIET)
    assert recipe(likra.training_config) == (3e-4, 2)  # a fit that failed changed nothing


def test_examples_of_a_head_are_counted_not_questions() -> None:
    likra = Likra.from_base("world").fit("world", limit=100, negatives="all", runtime=QUIET)  # 300 negatives
    assert recipe(likra.training_config) == (3e-4, 2)
    likra = Likra.from_base("world", role="sft").fit(thumbs(16, 200), runtime=QUIET)
    assert recipe(likra.training_config) == (3e-4, 3) and len(likra.losses) == 6


def test_a_configuration_is_kept_as_it_is() -> None:
    own = TrainingConfig(learning_rate=5e-4, num_train_epochs=2, seed=7)
    likra = Likra.from_base("world", training_config=own).fit("world", limit=16, runtime=QUIET)
    assert likra.training_config == own and len(likra.losses) == 4
    likra = Likra.from_base("world")
    likra.training_config = own  # assigned later
    assert likra.fit("world", limit=16, runtime=QUIET).training_config == own
    paper = Likra.from_base("world", training_config=own, recipe="paper").fit("world", limit=16, runtime=QUIET)
    assert paper.training_config == TrainingConfig(seed=7)
    with pytest.raises(InputError, match="recipe must be one of auto, paper, got 'best'"):
        Likra.from_base("world", recipe="best")


def test_loaded_heads_choose_anew_where_they_chose(tmp_path: Path) -> None:
    chose = Likra.from_base("world").fit("world", limit=16, runtime=QUIET)
    told = Likra.from_base("world", training_config=TrainingConfig()).fit("world", limit=16, runtime=QUIET)
    for name, likra, expected in (("chose", chose, (3e-4, 2)), ("told", told, (1e-4, 1))):
        likra.save_pretrained(tmp_path / name)
        loaded = Likra.from_pretrained(tmp_path / name)
        assert recipe(loaded.training_config) == recipe(likra.training_config)
        assert recipe(loaded.fit("world", limit=200, runtime=QUIET).training_config) == expected


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, (3e-4, 2)),  # as training on all 200 would take it; on the 100 of a fold, three
        ({"learning_rates": [1e-3, 1e-4]}, (1e-3, 1)),
        ({"epochs": [2]}, (1e-4, 2)),
    ],
)
def test_folds_take_what_training_on_all_of_the_data_would(how: dict[str, Any], expected: tuple[float, int]) -> None:
    found = Likra.from_base("world").cross_validate("world", folds=2, limit=200, runtime=QUIET, **how)
    assert isinstance(found, CrossValidation)
    assert (found.default.learning_rate, found.default.num_train_epochs) == expected
    tried = {expected[0], *how.get("learning_rates", ())}
    assert {one.learning_rate for one in found.tables} == tried


def test_folds_that_cannot_be_are_refused_before() -> None:
    with pytest.raises(InputError, match="folds must be 2 or more, got 0"):
        Likra.from_base("world").cross_validate("world", folds=0, runtime=QUIET)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "learning rate 0.0003, 3 epochs"),
        (("--lr", "1e-3"), "learning rate 0.001, 1 epoch,"),
        (("--epochs", "2"), "learning rate 0.0001, 2 epochs"),
        (("--try-lr", "1e-3,1e-4"), "learning rate 0.001, 1 epoch,"),
    ],
)
def test_folds_on_the_command_line(options: tuple[str, ...], says: str) -> None:
    shown = invoke("eval", "world", "--data", "world", "--folds", 2, "--limit", 16, "--no-cache", *options)
    assert shown.exit_code == 0 and says in " ".join(shown.stdout.split())


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
