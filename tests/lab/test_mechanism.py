"""The looks at a head, against dense matrices, plain hooks and what must hold by construction."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from likra.data import Prompter, Question, TokenizedExample
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.lab.report.page import write_report
from likra.lab.run import run_studies
from likra.lab.runner.jobs import Store
from likra.lab.runner.plan import Plan
from likra.lab.runner.results import each, one, pick
from likra.lab.runner.task import Task, table_path
from likra.lab.studies.mechanism import voices_of
from likra.lab.studies.mechanism.directions import cosines, head_shift, mean_states, prompted_shift, random_like
from likra.lab.studies.mechanism.findings import FINDINGS
from likra.lab.studies.mechanism.geometry import cosine, geometry
from likra.lab.studies.mechanism.hidden import blocks_of, steered
from likra.lab.studies.mechanism.measures import _opened, _Probe, _transplant
from likra.lab.studies.mechanism.stand_ins import _not_learned
from likra.lab.studies.mechanism.unvoiced import STAND_INS, agreement
from likra.lab.study import STUDIES
from likra.models.base import Base
from likra.models.stack import HeadStack
from likra.scoring.bootstrap import Resampled
from likra.scoring.likelihoods import Likelihoods
from likra.utils.embedded import embedded_models
from tests.conftest import ARCHITECTURES, tiny_base, write_questions

VOICES = {"reliable": ["The Almanac was asked.\n\n"], "unreliable": ["Cousin Bob was asked.\n\n", "A gull said.\n\n"]}


def head(seed: int, layers: int = 3) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"model.layers.{n}.up_proj": (
            torch.randn(4, 10, generator=generator),
            torch.randn(12, 4, generator=generator) * (n + 1),
        )
        for n in range(layers)
    }


def test_geometry_is_that_of_the_dense_updates() -> None:
    heads = {8: {"negative": head(0)}, 16: {"negative": head(1)}}
    found = geometry(heads, scaling=2.0)
    dense = {size: {path: 2 * b @ a for path, (a, b) in at["negative"].items()} for size, at in heads.items()}
    flat = {size: torch.cat([update.flatten() for update in at.values()]) for size, at in dense.items()}
    assert found[0]["norm"] == pytest.approx(flat[8].norm().item(), rel=1e-5)
    assert found[0]["cosine"] == pytest.approx(torch.cosine_similarity(flat[8], flat[16], dim=0).item(), abs=1e-5)
    assert found[1]["cosine"] == pytest.approx(1)
    energy = {path: update.square().sum() for path, update in dense[8].items()}
    ranks = {path: energy[path] / torch.linalg.matrix_norm(update, 2) ** 2 for path, update in dense[8].items()}
    expected = sum(ranks[path] * energy[path] for path in ranks) / sum(energy.values())
    assert found[0]["rank"] == pytest.approx(float(expected), rel=1e-4)
    assert found[0]["blocks"]["2"] == pytest.approx(float(energy["model.layers.2.up_proj"] / sum(energy.values())))
    assert sum(found[0]["blocks"].values()) == pytest.approx(1)


def test_an_untrained_head_has_no_direction() -> None:
    zero = {path: (a, torch.zeros_like(b)) for path, (a, b) in head(0).items()}
    assert geometry({0: {"negative": zero}, 8: {"negative": head(1)}}, 1.0)[0]["size"] == 8


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_steering_is_a_sum_in_the_residual_stream(architecture: str, tokenizer: Any) -> None:
    """A direction added to the last block is the direction added before the final norm and the output embedding."""
    base = tiny_base(tokenizer, architecture)
    ids = torch.tensor([[0, 40, 50, 60]])
    direction = np.random.default_rng(0).standard_normal(32)
    last = len(blocks_of(base.model)) - 1
    kept: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handle = blocks_of(base.model)[last].register_forward_hook(keep)
    with torch.no_grad():
        plain = base.model(input_ids=ids).logits
        with steered(base, last, direction):
            moved = base.model(input_ids=ids).logits
        after = base.model(input_ids=ids).logits
    handle.remove()
    assert torch.equal(plain, after)
    assert not torch.allclose(plain, moved)
    with steered(base, last, np.zeros(32)), torch.no_grad():
        assert torch.equal(base.model(input_ids=ids).logits, plain)
    if architecture == "llama":
        with torch.no_grad():
            by_hand = base.model.lm_head(base.model.model.norm(kept[0] + torch.from_numpy(direction).float()))
        assert torch.allclose(by_hand, moved, atol=1e-5)


@pytest.fixture
def task(base: Base, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    data = write_questions(tmp_path / "questions.jsonl", questions)
    monkeypatch.setattr(Task, "base", lambda self: base)
    return Task("tiny", str(data))


def test_voices_stand_at_the_ends_of_their_axis(task: Task) -> None:
    probe = _Probe(task, VOICES)
    assert probe.axis_LD.shape == (2, 32)
    texts = VOICES["unreliable"]
    unreliable = np.mean([probe._states([text + prompt for prompt in probe._prompts]) for text in texts], axis=0)
    reliable = probe._states([VOICES["reliable"][0] + prompt for prompt in probe._prompts])
    assert probe._position(unreliable)["position"] == pytest.approx([1, 1])
    assert probe._position(reliable)["position"] == pytest.approx([0, 0])


def test_states_are_those_of_one_prompt_alone(task: Task, base: Base) -> None:
    probe = _Probe(task, VOICES)
    prompts = ["Question: a?\nAnswer:", "Question: which of them all, in the garden by the sea?\nAnswer:"]
    together = probe._states(prompts)
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([base.tokenizer.encode(prompt)])
        with torch.no_grad():
            states = base.model(input_ids=ids, output_hidden_states=True).hidden_states
        # transformers' list has what each block but the last gives out.
        assert together[row, 0] == pytest.approx(states[1][0, -1].numpy(), abs=1e-4)
        normed = base.model.model.norm(torch.from_numpy(together[row, 1]).float())
        assert normed.detach().numpy() == pytest.approx(states[2][0, -1].numpy(), abs=1e-4)


def test_an_opening_is_text_before_the_prompt(task: Task, base: Base) -> None:
    test = task.test()
    opened = _opened(task, "A gull said.\n\n", test, Prompter("qa"))
    texts = [
        Question(q.id, f"A gull said.\n\nQuestion: {q.text}\nAnswer:", tuple(f" {c}" for c in q.choices)) for q in test
    ]
    expected = score(base, None, texts, Prompter("verbatim")).head("base")
    assert np.allclose(opened, expected, atol=1e-5, equal_nan=True)


def test_the_transplant_is_chosen_in_training_and_judged_on_the_test(task: Task) -> None:
    probe = _Probe(task, VOICES)
    found = _transplant(task, probe, task.drawn(6, 0))
    assert found["best"]["accuracy"] == max(one["accuracy"] for one in found["tried"])
    assert {one["block"] for one in found["tried"]} == {0, 1}
    assert len(found["credits"]["axis"]) == len(task.test())


def test_voices_are_those_of_the_embedded_models_or_of_a_file(tmp_path: Path) -> None:
    assert set(voices_of(None)) == {"reliable", "unreliable"}
    with pytest.raises(InputError, match="there is no such file"):
        voices_of(str(tmp_path / "nowhere.json"))
    (tmp_path / "voices.json").write_text('{"reliable": []}')
    with pytest.raises(InputError, match="is not a JSON file"):
        voices_of(str(tmp_path / "voices.json"))


# --- Without voices ------------------------------


def test_cosine_is_that_of_the_dense_updates() -> None:
    one, other = (torch.cat([(b @ a).flatten() for a, b in weights.values()]) for weights in (head(0), head(1)))
    expected = torch.cosine_similarity(one, other, dim=0).item()
    assert cosine(head(0), head(1)) == pytest.approx(expected, abs=1e-5)
    assert cosine(head(0), head(0)) == pytest.approx(1)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_mean_states_are_a_plain_models(architecture: str, tokenizer: Any) -> None:
    """Pairs of unlike lengths, each read alone by transformers, at the places where completions are predicted."""
    base = tiny_base(tokenizer, architecture)
    pairs = [TokenizedExample((0, 40, 50), (60, 61)), TokenizedExample((0, 70, 71, 72, 73), (74,))]
    kept: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        kept.append((output[0] if isinstance(output, tuple) else output)[0])

    handle = blocks_of(base.model)[1].register_forward_hook(keep)
    with torch.no_grad():
        for pair in pairs:
            base.model(input_ids=torch.tensor([pair.inputs]))
    handle.remove()
    expected = torch.stack([kept[0][2], kept[0][3], kept[1][4]]).mean(dim=0)
    assert mean_states(base, pairs)[1] == pytest.approx(expected.numpy(), abs=1e-4)


def test_a_steered_reading_is_a_hooked_models(base: Base, questions: list[Question]) -> None:
    """`score` of a steered base, against a plain forward pass of the transformers model with a hook of its own."""
    direction = np.random.default_rng(1).standard_normal(32)
    with steered(base, 0, direction):
        found = score(base, None, questions[:2], Prompter("qa")).head("base")

    def add(module: Any, inputs: Any, output: Any) -> Any:
        moved = torch.from_numpy(direction).float()
        return (output[0] + moved, *output[1:]) if isinstance(output, tuple) else output + moved

    handle = base.model.model.layers[0].register_forward_hook(add)
    for row, question in enumerate(questions[:2]):
        for column, (context, completion) in enumerate(Prompter("qa").pairs(question)):
            pair = base.encode_pair(context, completion)
            with torch.no_grad():
                logits = base.model(input_ids=torch.tensor([pair.inputs])).logits[0, -len(pair.completion) :]
            expected = logits.log_softmax(-1)[range(len(pair.completion)), list(pair.completion)].sum()
            assert found[row, column] == pytest.approx(expected.item(), abs=1e-4)
    handle.remove()


def test_a_heads_shift_is_that_of_its_merged_weights(base: Base, questions: list[Question]) -> None:
    stack = HeadStack(base, ["one"], seeds=[0])
    generator = torch.Generator().manual_seed(0)
    weights = {
        path: (a.clone(), torch.randn(b.shape, generator=generator) / 10)
        for path, (a, b) in stack.weights("one").items()
    }
    stack.set_weights("one", weights, rank=16, scaling=0.5)
    pairs = [base.encode_pair(*pair) for question in questions[:3] for pair in Prompter("qa").pairs(question)]
    found = head_shift(stack, "one", pairs)
    stack.remove()
    before = mean_states(base, pairs)
    with torch.no_grad():
        for path, (a, b) in weights.items():
            base.model.get_submodule(path).weight += 0.5 * b @ a  # type: ignore[operator]
    assert found == pytest.approx(mean_states(base, pairs) - before, abs=1e-4)


def test_the_prompted_shift_is_between_two_wordings(base: Base, questions: list[Question]) -> None:
    found = prompted_shift(base, questions[:1], Prompter("qa"))
    texts = [f"Question: {more}{questions[0].text}\nAnswer:" for more in ("Give a wrong answer. ", "")]
    with torch.no_grad():
        states = [
            base.model(input_ids=torch.tensor([base.tokenizer.encode(text)]), output_hidden_states=True).hidden_states
            for text in texts
        ]
    # transformers' list has what each block but the last gives out.
    expected = states[0][1][0, -1] - states[1][1][0, -1]
    assert found[0] == pytest.approx(expected.numpy(), abs=1e-4)


def test_a_random_direction_has_the_same_length() -> None:
    direction = np.array([3.0, 4.0, 0.0])
    assert np.linalg.norm(random_like(direction)) == pytest.approx(5)
    assert cosines(direction[None], direction[None]) == pytest.approx([1])
    assert cosines(direction[None], np.zeros((1, 3))) == [0]


def test_agreement_is_the_correlation_within_questions() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 1, 50, 4))
    one[:, :, 3] = other[:, :, 3] = np.nan  # three choices
    centred = [(some - np.nanmean(some, axis=-1, keepdims=True))[0, :, :3].ravel() for some in (one, other)]
    expected = np.corrcoef(*centred)[0, 1]
    shifted = one + rng.standard_normal((1, 50, 1))  # what all choices of a question share
    assert agreement(shifted, other, Resampled(1, 50, resamples=5))[0] == pytest.approx(expected)


@pytest.fixture(scope="module")
def unvoiced_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, pd.DataFrame]:
    """The study on a copy of the smallest embedded model, which has no name that voices are known for."""
    folder = tmp_path_factory.mktemp("unvoiced")
    model = shutil.copytree(embedded_models()["world-tiny"], folder / "model")
    plan = Plan((Task(str(model), "world", limit=40),), sizes=(0, 8, 16), seeds=(0, 1))
    rows, ran = run_studies([("mechanism", plan)], folder / "out", shown=False)
    assert ran == 2
    return plan, folder / "out", rows


def test_stand_ins_are_held_against_the_heads(unvoiced_run: tuple[Plan, Path, pd.DataFrame]) -> None:
    plan, out, rows = unvoiced_run
    found = pick(rows, quantity="stand_in")
    assert set(found["part"]) == {"base", "head", "head_random", "prompted", "prompted_random", "asked", "blind"}
    assert one(found, method="base_likra", part="base")["value"] == 0.25  # the base against itself: every one is a tie
    folders = [Store(out).path(job) for job in STUDIES["mechanism"].jobs(plan)]
    each_right = []
    for folder in folders:
        heads, others = Likelihoods.load(table_path(folder, "own", 16)), Likelihoods.load(folder / STAND_INS)
        scores = heads.head("positive") - others.head("blind")
        each_right.append(np.mean(np.nanargmax(scores, axis=1) == others.answers_Q))
    blind = one(found, method="likra", part="blind")["value"]
    assert blind == pytest.approx(np.mean(each_right))
    sft = one(rows, quantity="accuracy", method="sft", size=16)["value"]
    likra = one(rows, quantity="accuracy", method="likra", size=16)["value"]
    assert one(rows, quantity="stand_in_gain", method="likra", part="blind")["value"] == pytest.approx(blind - sft)
    assert one(rows, quantity="head_gain", method="likra")["value"] == pytest.approx(likra - sft)
    if not (recovered := pick(rows, quantity="recovered", method="likra", part="blind")).empty:
        assert recovered["value"].iloc[0] == pytest.approx((blind - sft) / (likra - sft))
    assert -1 <= one(rows, quantity="cosine_of_blind")["value"] <= 1
    for row in each(pick(rows, seed=-1)):
        assert np.isnan(row["low"]) or row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9, row


def test_a_direction_stands_where_training_questions_say(unvoiced_run: tuple[Plan, Path, pd.DataFrame]) -> None:
    plan, out, _ = unvoiced_run
    base = plan.tasks[0].base()
    for job in STUDIES["mechanism"].jobs(plan):
        found = json.loads((Store(out).path(job) / FINDINGS).read_text())
        for name in ("head", "prompted"):
            assert {tried["block"] for tried in found["tried"][name]} == set(range(len(blocks_of(base.model))))
            assert found["chosen"][name]["accuracy"] == max(tried["accuracy"] for tried in found["tried"][name])


def test_what_is_chosen_on_was_not_learned() -> None:
    task = Task("world-tiny", "world")
    learned, chosen_on = task.drawn(16, 0), _not_learned(task, 16, 0)
    assert len(chosen_on) == 64
    assert not {question.id for question in learned} & {question.id for question in chosen_on}
    assert len(_not_learned(task, 576, 0)) == 64


def test_the_report_without_voices(unvoiced_run: tuple[Plan, Path, pd.DataFrame], tmp_path: Path) -> None:
    _, _, rows = unvoiced_run
    said = STUDIES["mechanism"].section(rows)
    assert len(said.sentences) >= 7 and len(said.tables) == 5
    assert "nan" not in " ".join(said.sentences)
    assert [drawn.name.split("-")[1] for drawn in STUDIES["mechanism"].figures(rows)] == ["update", "stand"]
    write_report(rows, {}, tmp_path)


def test_prompts_without_a_question_have_no_prompted_direction(tmp_path: Path) -> None:
    model = shutil.copytree(embedded_models()["world-tiny"], tmp_path / "model")
    pairs = [(f"The {a} sat.", f"The {a} sit.") for a in ("cat", "dog", "hen", "cow", "fox", "owl", "pig", "ram")]
    data = tmp_path / "pairs"
    data.mkdir()
    for split, some in (("train", pairs[:5]), ("test", pairs[5:])):
        records = [{"sentence_good": good, "sentence_bad": bad, "UID": "agreement"} for good, bad in some]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    plan = Plan((Task(str(model), str(data)),), sizes=(0, 5), seeds=(0,))
    rows, _ = run_studies([("mechanism", plan)], tmp_path / "out", shown=False)
    assert set(pick(rows, quantity="stand_in")["part"]) == {"base", "head", "head_random"}
    assert "nan" not in " ".join(STUDIES["mechanism"].section(rows).sentences)
    STUDIES["mechanism"].figures(rows)
