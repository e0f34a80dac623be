"""What `likra data` warns of, and what it does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from likra import load
from likra.data.advice import advice
from likra.models.lora_config import LoraShape
from likra.training.config import TrainingConfig
from tests.cli.test_cli import invoke

STEPS = TrainingConfig(lora=LoraShape()).steps


def said(records: list[dict[str, Any]], **columns: str) -> list[str]:
    return advice(load([one | {"split": "train"} for one in records], **columns), STEPS)  # type: ignore[arg-type]


def pairs(prompt: str, chosen: str, rejected: str, count: int = 160) -> list[dict[str, Any]]:
    return [{"id": n, "prompt": prompt, "chosen": chosen, "rejected": rejected} for n in range(count)]


def test_completions_that_are_glued_to_their_prompts() -> None:
    [sentence] = said(pairs("Does it work offline?", "Sure, it does.", "No."))
    assert sentence.startswith(
        '320 of 320 completions are glued to their prompts ("oes it work offline?Sure, it does.")'
    )
    thumbs = [{"prompt": "Offline?", "completion": "Sure", "label": n % 2} for n in range(400)]
    assert len(said(thumbs)) == 1


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("Offline?", " Sure.", "\nNo."),
        ("Offline? ", "Sure.", "No."),
        ("[INST] Offline? [/INST]", "Sure.", "No."),
        ("It works", ", of course.", "."),
        ("离线吗", "是的", "不"),
        ("", "Sure.", "No."),
    ],
)
def test_completions_that_stand_apart(prompt: str, chosen: str, rejected: str) -> None:
    assert said(pairs(prompt, chosen, rejected)) == []


def test_a_text_that_was_one_is_not_glued() -> None:
    assert said([{"id": n, "chosen": "The sky is blue.", "rejected": "The sky is black."} for n in range(160)]) == []


def test_labels_that_are_descriptions() -> None:
    names = ["everything that has to do with charges and refunds", "whatever the program does that it should not do"]
    rows = [{"t": f"Text {n}", "y": names[n % 2]} for n in range(160)]
    [sentence] = said(rows, text="t", label="y")
    assert sentence.startswith("the 2 choices that 160 questions share have 9 words on average: give each (")
    assert said([row | {"y": row["y"].split()[0]} for row in rows], text="t", label="y") == []
    quiz = [{"question": f"Q{n}?", "choices": [f"{n} {name}" for name in names], "answer": 0} for n in range(160)]
    assert said(quiz) == []


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (54, "54 training examples a head make 7 optimisation steps with the default recipe: let `likra tune`"),
        (3, "3 training examples a head make 1 optimisation step with"),
        (152, "152 training examples a head make 19 optimisation steps"),
        (153, None),
    ],
)
def test_few_steps(count: int, sentence: str | None) -> None:
    found = said([{"question": f"Q{n}?", "choices": ["a", "b"], "answer": 0} for n in range(count)])
    assert [one.startswith(sentence or "") for one in found] == ([] if sentence is None else [True])


def test_the_steps_are_those_of_the_default_for_the_data(tmp_path: Path) -> None:
    table, quiz = tmp_path / "t.csv", tmp_path / "q.jsonl"
    table.write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(20)), encoding="utf-8")
    asked = [{"question": f"Q{n}?", "choices": ["a", f"b{n}"], "answer": 0, "split": "train"} for n in range(20)]
    quiz.write_text("".join(json.dumps(one) + "\n" for one in asked), encoding="utf-8")
    assert "make 9 optimisation steps" in invoke("data", quiz).stderr
    found = invoke("data", table, "--text", "text", "--label", "label")
    assert "make 15 optimisation steps" in found.stderr  # five epochs of three


def test_the_command_prints_them_and_loads_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in pairs("Offline?", "Sure", "No", 8)), encoding="utf-8")
    shown = invoke("data", path)
    assert shown.exit_code == 0
    assert "likra: note: 16 of 16 completions are glued" in shown.stderr and "make 3 optimisation steps" in shown.stderr
