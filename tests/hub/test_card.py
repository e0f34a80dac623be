"""The model card: what it says, that its code runs and gives likra's own numbers, and `likra eval --record`."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from likra import Example, InputError, Likra, Question, TrainingConfig, load
from likra.cli import app as app_module
from likra.hub.evaluations_file import read_evaluations, record_evaluation
from likra.hub.folder import read_manifest
from likra.hub.model_card import model_card, write_card
from likra.lab.report.card_curve import keep_curve
from likra.lab.runner.results import save_table
from likra.models.lora_config import lora_config
from likra.utils.runtime import QUIET
from tests.conftest import PATIENCE, write_questions
from tests.data.test_chosen_templates import TEMPLATE
from tests.hub.test_hub import REPOSITORY, commit_of, put

FAST = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4)


def blocks(card: ModelCard, language: str) -> list[str]:
    """The code of a card, as a reader of its page would copy it."""
    return [
        token.content for token in MarkdownIt().parse(card.text) if token.type == "fence" and token.info == language
    ]


def page(card: ModelCard) -> str:
    """The card as HTML. Every table is a table, and nothing of the template is left."""
    html = str(MarkdownIt().enable("table").render(card.text))
    prose = re.sub(r"<pre>.*?</pre>", "", html, flags=re.DOTALL)
    assert not re.search(r"[{}]|None|\bnan\b|<p>\|", prose) and html.count("<h1>") == 1
    return html


def numbers(printed: str) -> list[float]:
    return [float(line.rsplit(" ", 1)[1]) for line in printed.strip().splitlines()]


@pytest.fixture(scope="module")
def world_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "world-heads"
    Likra.from_base("world", training_config=TrainingConfig(learning_rate=1e-3)).fit(
        "world", limit=16, runtime=QUIET
    ).save_pretrained(folder)
    return folder


def test_code_pasted_from_the_card_gives_likras_numbers(world_heads: Path, tmp_path: Path) -> None:
    """Heads in the hub's cache; the page's Python runs in a process of its own, the shell command here."""
    write_card(world_heads, repository=REPOSITORY)
    put(tmp_path / "hub", world_heads, commit_of(1), "main")
    card = ModelCard.load(world_heads / "README.md")
    with_likra, with_peft = blocks(card, "python")
    assert "import likra" not in with_peft and "from likra import" not in with_peft
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    script = "import sys\nfor code in sys.stdin.read().split('\\0'):\n    exec(code, {})\n    print('--')\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="\0".join((with_likra, with_peft)),
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    ranked, pasted, _ = done.stdout.split("--\n")
    likra = Likra.from_pretrained(world_heads)
    first = load("world").split("test")[0]
    choices = list(first.choices[:2])
    scored = likra.score(first.text, choices)
    assert abs(scored[0].score - scored[1].score) > 0.1
    assert numbers(pasted) == pytest.approx([candidate.score for candidate in scored], abs=1e-4)
    assert [line.rsplit(" ", 1)[0].strip() for line in pasted.splitlines()] == choices
    assert numbers(ranked) == pytest.approx(sorted((c.score for c in scored), reverse=True), abs=1e-4)
    [shell] = blocks(card, "bash")
    install, command = shell.strip().splitlines()
    assert install == "pip install likra"
    program, *arguments = shlex.split(command.replace(REPOSITORY, str(world_heads)))
    shown = CliRunner().invoke(app_module.app, arguments)
    assert program == "likra" and shown.exit_code == 0 and all(choice in shown.stdout for choice in choices)


@pytest.mark.parametrize(
    ("role", "style", "weight"),
    [
        ("sft-likra", "verbatim", 0.5),
        ("sft-likra", "plain", 1.0),
        ("base-likra", "cloze", 1.0),
        ("base-likra", "qa", 0.25),
        ("sft", "empty", 1.0),
        ("sft-likra", "options", 1.0),
        ("sft-likra", "chat", 0.5),
    ],
)
def test_every_role_and_style_has_code_that_runs(
    role: str, style: str, weight: float, model_folder: Path, tmp_path: Path
) -> None:
    examples = [Example("Hi.", f" {name}", name < "c") for name in "abcd"]
    base = shutil.copytree(model_folder, tmp_path / "base")
    if style == "chat":
        (base / "chat_template.jinja").write_text(TEMPLATE)
    likra = Likra.from_base(str(base), role=role, training_config=FAST, style=style, weight=weight)
    likra.fit(examples, runtime=QUIET).save_pretrained(tmp_path / "heads")
    card = ModelCard.load(tmp_path / "heads" / "README.md")
    page(card)
    with_likra, with_peft = blocks(card, "python")
    said: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(with_likra, said)
    again: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as pasted:
        exec(with_peft, again)
    found = numbers(pasted.getvalue())
    assert sorted(found, reverse=True) == pytest.approx(numbers(printed.getvalue()), abs=1e-4)
    assert abs(found[0] - found[1]) > 1e-2
    warned = "Never use the negative head" in card.text
    assert warned == (role != "sft")


def test_answer_heads_run_as_activated_lora_or_say_that_they_cannot(
    model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    config = TrainingConfig(
        lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4, adapt="completion"
    )
    likra = Likra.from_base(str(model_folder), training_config=config).fit(questions, runtime=QUIET)
    likra.save_pretrained(tmp_path / "awake")
    card = ModelCard.load(tmp_path / "awake" / "README.md")
    with contextlib.redirect_stdout(io.StringIO()) as pasted:
        exec(blocks(card, "python")[1], {})
    scored = likra.score("Which gas do plants give off?", ["oxygen", "carbon dioxide"])
    assert numbers(pasted.getvalue()) == pytest.approx([candidate.score for candidate in scored], abs=1e-4)
    assert "Activated LoRA" in card.text and "Plain PEFT would score otherwise" not in card.text
    examples = [Example(f"Hi {name}", f" {name}", name < "c") for name in "abcd"]
    likra.fit(examples, runtime=QUIET).save_pretrained(tmp_path / "other")
    card = ModelCard.load(tmp_path / "other" / "README.md")
    assert len(blocks(card, "python")) == 1 and "Plain PEFT would score otherwise" in page(card)


@pytest.fixture
def heads(model_folder: Path, questions: list[Question], tmp_path: Path) -> Iterator[Path]:
    """Heads that have judged nothing yet."""
    likra = Likra.from_base(str(model_folder), training_config=FAST).fit(questions[:8], runtime=QUIET)
    likra.save_pretrained(tmp_path / "heads")
    yield tmp_path / "heads"


def evaluate(*arguments: Any) -> Any:
    return CliRunner().invoke(app_module.app, ["eval", *map(str, arguments)])


def test_recorded_evaluations_stand_on_the_card(heads: Path, questions: list[Question], tmp_path: Path) -> None:
    assert "Nothing is recorded" in (heads / "README.md").read_text()
    data = write_questions(tmp_path / "quiz.jsonl", questions)
    command = [heads, "--data", data, "--split", "all", "--json"]
    found = json.loads(evaluate(*command, "--record").stdout)
    assert evaluate(*command).exit_code == 0  # unrecorded
    half = json.loads(evaluate(*command, "--record", "--weight", 0.5, "--limit", 9).stdout)
    again = json.loads(evaluate(*command, "--record").stdout)  # replaces the first
    first, second = read_evaluations(heads)
    assert first["weight"] == 0.5 and first["methods"] == half["methods"] and first["limit"] == 9
    assert second["methods"] == found["methods"] == again["methods"] and second["split"] == "all"
    assert first["data"] == str(data) and second["test"]["first"] == "likra" and second["test"]["second"] == "sft"
    assert not [path for path in heads.iterdir() if path.name.startswith(".")]
    card = ModelCard.load(heads / "README.md")
    html = page(card)
    for one in (first, second):
        for value in one["methods"].values():
            assert f"{100 * value['accuracy']:.1f} ({100 * value['low']:.1f} to {100 * value['high']:.1f})" in html
    assert "9 of quiz.jsonl, all (1)" in html and "12 of quiz.jsonl, all (2)" in html and "weight 0.5" in html
    assert str(tmp_path) not in card.text.replace(str(heads), "").replace(json.dumps(str(tmp_path)), "")
    results = {(one.metric_name, one.metric_args["weight"]): one for one in card.data.eval_results}
    likra = results["accuracy of Likra", 0.5]
    assert likra.metric_value == round(first["methods"]["likra"]["accuracy"], 4)
    assert (likra.dataset_name, likra.dataset_split) == ("quiz.jsonl", "all") and len(results) == 8
    # What is known of the heads goes where they go.
    loaded = Likra.from_pretrained(heads)
    loaded.save_pretrained(tmp_path / "copy")
    assert read_evaluations(tmp_path / "copy") == [first, second]
    assert loaded.fit(questions, runtime=QUIET).evaluations == []


def test_evaluations_on_questions_of_the_training_are_marked(
    heads: Path, model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_questions(folder / "train.jsonl", questions[:8])
    write_questions(folder / "test.jsonl", questions[8:])
    likra = Likra.from_base(str(model_folder), training_config=FAST).fit(str(folder), runtime=QUIET)
    likra.save_pretrained(tmp_path / "own")
    for split in ("test", "train"):
        assert evaluate(tmp_path / "own", "--data", folder, "--split", split, "--record").exit_code == 0
    lines = [line for line in (tmp_path / "own/README.md").read_text().splitlines() if "McNemar" in line]
    assert ["were trained on some of these" in line for line in lines] == [False, True]


def test_recording_needs_a_folder(questions: list[Question], tmp_path: Path) -> None:
    data = write_questions(tmp_path / "quiz.jsonl", questions)
    error = evaluate("someone/heads", "--data", data, "--record").exception
    assert isinstance(error, InputError) and "--record: writes to a folder of heads, and someone/heads" in str(error)


def test_metadata_names_base_and_data_of_the_hub(heads: Path, tmp_path: Path) -> None:
    manifest = json.loads((heads / "likra.json").read_text())
    manifest["base"] |= {"name": "someone/base", "revision": commit_of(3)}
    manifest["training"]["data"] = "arc-paper"
    (heads / "likra.json").write_text(json.dumps(manifest))
    share = {"accuracy": 0.5, "low": 0.25, "high": 0.75}
    record_evaluation(
        {
            "data": "hf:someone/quiz:hard",
            "split": "test",
            "shots": 0,
            "sampled_shots": False,
            "limit": None,
            "weight": 1.0,
            "normalization": "raw",
            "questions": 4,
            "date": "2026-11-23",
            "methods": {"likra": share},
        },
        heads,
    )
    write_card(heads, repository="me/my-heads")
    data = ModelCard.load(heads / "README.md").data
    assert (data.base_model, data.base_model_relation) == ("someone/base", "adapter")
    assert data.datasets == ["allenai/ai2_arc"] and "likra" in data.tags and data.get("license") is None
    [result] = data.eval_results
    assert (result.dataset_type, result.dataset_name) == ("someone/quiz", "hf:someone/quiz:hard")
    assert (result.metric_type, result.metric_value, data.model_name) == ("accuracy", 0.5, "my-heads")
    card = model_card(heads, read_manifest(heads), repository="me/my-heads")
    code = blocks(card, "python")[1]
    assert code.count(f'revision="{commit_of(3)}"') == 2 and 'base = "someone/base"' in code
    assert "https://huggingface.co/someone/base" in page(card)


def test_heads_of_a_table_are_asked_about_all_of_its_labels(heads: Path) -> None:
    manifest = read_manifest(heads)
    manifest["training"]["columns"] = {"text": "ticket", "label": "team", "labels": ["sales", "web & apps", "bills"]}
    card = model_card(heads, manifest)
    page(card)
    [command] = [line for line in "\n".join(blocks(card, "bash")).splitlines() if line.startswith("likra score")]
    assert "--choice sales --choice 'web & apps' --choice bills" in command and "ticket" in command


def test_adapters_that_were_trained_elsewhere_have_no_recipe(heads: Path, model_folder: Path, tmp_path: Path) -> None:
    likra = Likra.from_adapters(str(model_folder), negative=heads / "negative")
    likra.save_pretrained(tmp_path / "other")
    card = ModelCard.load(tmp_path / "other" / "README.md")
    assert "not trained by likra" in page(card) and "learning rate" not in card.text


def test_a_learning_curve_of_a_study(heads: Path, tmp_path: Path) -> None:
    common = {"study": "curve", "model": "tiny", "data": "quiz", "test": "", "negatives": "", "part": "", "count": 40}
    common |= {"at": float("nan"), "p": float("nan"), "quantity": "accuracy"}
    rows = [
        {
            **common,
            "method": method,
            "size": size,
            "seed": seed,
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
        }
        for method, add in (("base", 0), ("sft", 0.1), ("base_likra", 0.2), ("likra", 0.3))
        for size, value in ((0, 0.25 + add), (8, 0.35 + add))
        for seed in (-1, 0, 1, 2)
    ]
    rows += [{**row, "quantity": "step"} for row in rows if row["size"] and row["seed"] == -1]
    results = pd.DataFrame([*rows, *({**row, "model": "other"} for row in rows)])
    save_table(results, tmp_path / "study" / "results.parquet")
    keep_curve(tmp_path / "study", "tiny", heads)
    assert (heads / "curve.png").read_bytes().startswith(b"\x89PNG\r\n")
    html = page(model_card(heads, read_manifest(heads)))
    assert '<td style="text-align:right">65.0 (55.0 to 75.0)</td>' in html and "mean of 3 seeds" in html
    with pytest.raises(InputError, match="needs one curve of third, and there is none or several"):
        keep_curve(tmp_path / "study", "third", heads)
    with pytest.raises(InputError, match="run a study"):
        keep_curve(tmp_path, "tiny", heads)


@pytest.mark.parametrize("file", ["evaluations.json", "curve.json"])
@pytest.mark.parametrize("content", ["[", '[{"data": "quiz"}]', '{"rows": 1}', "3"])
def test_damaged_extras_are_refused(file: str, content: str, heads: Path) -> None:
    (heads / file).write_text(content)
    with pytest.raises(InputError, match=f"{file}: is damaged"):
        write_card(heads)
