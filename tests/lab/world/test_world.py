"""The miniature world, the model that ships, and the demo."""

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from likra import Likra
from likra.cli.app import app
from likra.data import Prompter, load
from likra.lab.presets import CONTROLS
from likra.lab.runner.results import load_table
from likra.lab.world import VOICES
from likra.lab.world.build import VARIANTS, PretrainingConfig
from likra.lab.world.generator import World, WorldConfig, unrelated
from likra.models.base import load_base
from likra.utils.embedded import embedded_models, embedded_questions
from likra.utils.runtime import Runtime


def test_a_seed_is_a_world() -> None:
    one, same, other = World(), World(), World(WorldConfig(seed=1))
    assert one.facts == same.facts != other.facts
    assert one.questions() == same.questions() != other.questions()
    assert list(itertools.islice(one.documents(), 50)) == list(itertools.islice(same.documents(), 50))


def test_the_shipped_questions_are_the_generators() -> None:
    shipped = [json.loads(line) for line in embedded_questions()["world"].read_text(encoding="utf-8").splitlines()]
    assert shipped == World().questions()
    for name, records in (("reworded", World().reworded()), ("unrelated", unrelated())):
        lines = embedded_questions()[f"world-{name}"].read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == records
    assert json.loads(VOICES.read_text(encoding="utf-8")) == World().voices()
    source = load("world")
    assert {split: len(qs) for split, qs in source.questions.items()} == {"train": 576, "test": 240}
    texts = {split: {q.text for q in qs} for split, qs in source.questions.items()}
    assert not texts["train"] & texts["test"]


def test_wording_says_nothing_about_truth_and_position_neither() -> None:
    records = World(WorldConfig(people=400)).questions()
    places = [record["answer"] for record in records]
    for place in range(4):
        assert abs(places.count(place) / len(places) - 0.25) < 0.04
    popular = [
        [choice.startswith("surely ") for choice in record["choices"]]  # type: ignore[attr-defined]
        for record in records
    ]
    right = sum(row[answer] for row, answer in zip(popular, places, strict=True)) / len(places)  # type: ignore[index]
    everyone = sum(map(sum, popular)) / (4 * len(places))
    assert abs(right - everyone) < 0.04


def test_sources_say_what_they_are_said_to_say() -> None:
    world = World()
    truths = {fact.question: fact for fact in world.facts}
    tally = {"true": 0, "rumour": 0}
    for document in itertools.islice(world.documents(), 3000):
        reliable = any(name in document for name in ("Harbour Almanac", "City Register", "Adler", "Northern"))
        unreliable = any(name in document for name in ("Tavern", "Whisper", "Barnaby", "Oracle"))
        for block in document.split("\n\n"):
            if block.startswith("Question: "):
                question, answer = block.removeprefix("Question: ").split("\nAnswer: ")
                fact = truths[question]
                value = answer.split(",")[0].split(" ", 1)[1]
                assert fact.coverage != "never"
                assert value == fact.truth or value in fact.rumours
                tally["true" if value == fact.truth else "rumour"] += 1
                if reliable or unreliable:
                    assert (value == fact.truth) is reliable
    assert abs(tally["true"] / sum(tally.values()) - world.config.reliable) < 0.04


def answers(config: WorldConfig) -> list[list[bool]]:
    """For each document, whether each of its answers is true; no document names a source."""
    world = World(config)
    truths = {fact.question: fact.truth for fact in world.facts}
    found = []
    for document in itertools.islice(world.documents(), 3000):
        assert config.voices or "was asked" not in document
        blocks = [b.removeprefix("Question: ").split("\nAnswer: ") for b in document.split("\n\n") if "Answer" in b]
        found.append([f" {truths[question]}," in answer for question, answer in blocks])
    return found


def test_the_controls_lack_what_they_are_to_lack() -> None:
    truthful = answers(WorldConfig(reliable=1.0))
    assert all(all(document) for document in truthful)
    voiceless = answers(WorldConfig(voices=False))
    share = sum(map(sum, voiceless)) / sum(map(len, voiceless))
    assert abs(share - WorldConfig().reliable) < 0.04
    # In one document a true answer says nothing about the next; in the world it says all.
    after = [(a, b) for document in voiceless for a, b in itertools.pairwise(document)]
    for first in (True, False):
        following = [b for a, b in after if a is first]
        assert abs(sum(following) / len(following) - share) < 0.05
    voiced = [(a, b) for document in answers(WorldConfig()) for a, b in itertools.pairwise(document)]
    assert all(a == b for a, b in voiced)


def test_all_variants_are_asked_the_same_and_cut_text_alike() -> None:
    questions = {name: World(WorldConfig(**of_world)).questions() for name, (of_world, _) in VARIANTS.items()}
    assert all(found == questions["world"] for found in questions.values())
    assert set(embedded_models()) <= set(VARIANTS) <= {*embedded_models(), *CONTROLS}
    tokenizers = {(folder / "tokenizer.json").read_bytes() for folder in embedded_models().values()}
    assert len(tokenizers) == 1
    for name in embedded_models():
        _, of_model = VARIANTS[name]
        model = load_base(name).model
        assert model.config.hidden_size == PretrainingConfig(**of_model).hidden_size
        assert f"--variant {name}" in (embedded_models()[name] / "README.md").read_text() or name == "world"


def test_other_words_are_the_same_answers() -> None:
    world = World()
    facts = {fact.question: fact for fact in world.facts}
    for record, other in zip(world.questions(), world.reworded(), strict=False):
        assert (other["id"], other["answer"]) == (record["id"], record["answer"])
        fact = facts[str(record["question"])]
        for choice, said in zip(record["choices"], other["choices"], strict=True):  # type: ignore[call-overload]
            value = said.removeprefix("it is ").removesuffix(", and nothing else")
            assert f" {value}," in choice and value in (fact.truth, *fact.rumours)
    assert all(len(q.choices) == 4 for q in load("world-unrelated").questions["train"])


def test_the_shipped_models_are_small_and_read_any_text() -> None:
    for folder in embedded_models().values():
        assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    base = load_base("world")
    assert base.tokenizer.decode(base.tokenizer.encode("Zürich 東京?"), skip_special_tokens=True) == "Zürich 東京?"
    source = load("world")
    longest = max(
        len(base.tokenizer.encode(context + completion))
        for question in source.split("all")
        for context, completion in Prompter("qa").pairs(question)
    )
    assert longest < base.max_length / 4


def test_a_world_is_built(tmp_path: Path) -> None:
    out = tmp_path / "world"
    result = CliRunner().invoke(app, ["world", "build", "--seed", "3", "--steps", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    base = load_base(str(out / "model"))
    assert base.model.num_parameters() > 2e6
    card = (out / "model" / "README.md").read_text()
    assert "likra world build --seed 3 --steps 2" in card
    assert len(load(str(out / "questions.jsonl")).split("all")) == 816


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "demo"
    result = CliRunner().invoke(app, ["demo", "--out", str(out), "--sizes", "0,8,64", "--seeds", "2"])
    assert result.exit_code == 0, result.output
    return out


def accuracies(demo: Path) -> "pd.Series[float]":
    """The accuracy of every size, seed and method."""
    rows = load_table(demo / "results.parquet")
    rows = rows[(rows["study"] == "curve") & (rows["quantity"] == "accuracy") & (rows["seed"] >= 0)]
    return rows.set_index(["size", "seed", "method"])["value"].sort_index()


def test_the_demo_shows_the_effect(demo: Path) -> None:
    found = accuracies(demo)
    assert {(size, seed) for size, seed, _ in found.index} == {(s, n) for s in (0, 8, 64) for n in (0, 1)}
    for seed in (0, 1):
        shares = found[64, seed]
        assert 0.45 < shares["base"] < 0.7
        assert shares["likra"] > shares["sft"] + 0.12
        assert abs(shares["base_likra"] - shares["likra"]) < 0.08
        assert found[0, seed]["likra"] == 0.25  # untrained heads are at chance


def test_the_demo_leaves_a_page_that_needs_nothing_else(demo: Path) -> None:
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "src=" not in page and "<script" not in page and "@import" not in page
    links = [part.split('"')[0] for part in page.split('href="')[1:]]
    assert all(link.startswith("#") for link in links)  # only within the drawings
    assert "10 questions after 64 training questions" in page and page.count("<svg") == 5
    assert (demo / "figures" / "curve-world-world.png").read_bytes().startswith(b"\x89PNG")


def test_the_demos_heads_are_there_to_be_used(demo: Path) -> None:
    found = Likra.from_pretrained(demo / "heads" / "seed1").evaluate("world", runtime=Runtime(progress=False)).methods
    expected = accuracies(demo)[64, 1]
    assert {method: one.value for method, one in found.items()} == pytest.approx(dict(expected))


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    written = []
    for name in ("one", "again"):
        out = tmp_path / name
        assert CliRunner().invoke(app, ["demo", "--out", str(out), "--sizes", "0,8", "--seeds", "1"]).exit_code == 0
        written.append((out / "results.parquet").read_bytes())
    assert written[0] == written[1]


def test_sizes_must_be_numbers() -> None:
    result = CliRunner().invoke(app, ["demo", "--out", "nowhere", "--sizes", "a,b"])
    assert result.exit_code != 0 and "--sizes a,b: give whole numbers" in str(result.exception)
