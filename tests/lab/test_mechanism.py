"""The looks at a head, against dense matrices, plain hooks and what must hold by construction."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from likra.data import Prompter, Question
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.lab.runner.task import Task
from likra.lab.studies.mechanism import voices_of
from likra.lab.studies.mechanism.measures import _geometry, _opened, _Probe, _transplant, blocks_of, steered
from likra.models.base import Base
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
    found = _geometry(heads, scaling=2.0)
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
    assert _geometry({0: {"negative": zero}, 8: {"negative": head(1)}}, 1.0)[0]["size"] == 8


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


def test_voices_are_asked_for(tmp_path: Path) -> None:
    assert set(voices_of("world", None)) == {"reliable", "unreliable"}
    with pytest.raises(InputError, match="needs --voices"):
        voices_of("some/model", None)
    (tmp_path / "voices.json").write_text('{"reliable": []}')
    with pytest.raises(InputError, match="is not a JSON file"):
        voices_of("some/model", str(tmp_path / "voices.json"))
