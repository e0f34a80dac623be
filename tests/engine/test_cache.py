"""Likelihoods on disk: a repetition runs no model, and nothing stale is ever found."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from likra.data import Prompter, Question
from likra.engine.loglikelihood import score
from likra.likra import Likra
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.config import Scoring
from likra.scoring.likelihoods import BASE
from likra.utils.runtime import QUIET, Runtime
from tests.engine.test_engine import perturb

PROMPTER = Prompter("qa")


@pytest.fixture
def passes(base: Base) -> Iterator[list[int]]:
    """The forward passes of the base, as they happen."""
    seen: list[int] = []
    hook = base.model.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    hook.remove()


def test_a_repetition_runs_no_model(base: Base, questions: list[Question], tmp_path: Path, passes: list[int]) -> None:
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=4))
    perturb(stack)
    first = score(base, stack, questions, PROMPTER, (BASE, "one", "two"), cache=tmp_path)
    passes.clear()
    again = score(base, stack, questions, PROMPTER, (BASE, "one", "two"), cache=tmp_path)
    assert not passes
    np.testing.assert_array_equal(first.logprob_HQC, again.logprob_HQC)
    # The order of questions and heads is not part of the content.
    turned = score(base, stack, questions[::-1], PROMPTER, ("two", BASE), cache=tmp_path)
    assert not passes
    np.testing.assert_array_equal(turned.head("two")[::-1], first.head("two"))


def test_what_changes_is_read_anew(base: Base, questions: list[Question], tmp_path: Path, passes: list[int]) -> None:
    stack = HeadStack(base, ["one"], lora=lora_config(r=4))
    perturb(stack)

    def run(prompter: Prompter = PROMPTER, some: list[Question] = questions) -> np.ndarray:
        passes.clear()
        found = score(base, stack, some, prompter, (BASE, "one"), cache=tmp_path).logprob_HQC
        np.testing.assert_allclose(found, score(base, stack, some, prompter, (BASE, "one")).logprob_HQC, atol=1e-5)
        return found

    run()
    for change in ("head", "scaling", "base", "prompt", "questions"):
        layer = next(iter(stack.layers.values()))
        prompter, some = PROMPTER, questions
        if change == "head":
            layer.b.data[0, 0, 0] += 1
        elif change == "scaling":
            layer.scaling[0] *= 2
        elif change == "base":  # one that leaves no trace beside the value itself
            layer.base.weight.data[3, 7] += 1e-3  # type: ignore[operator,index,union-attr]
        elif change == "prompt":
            prompter = Prompter("plain")
        else:
            some = questions[:-1]
        before = len(list((tmp_path / "likelihoods").iterdir()))
        run(prompter, some)
        assert len(list((tmp_path / "likelihoods").iterdir())) > before, change


@pytest.mark.parametrize("change", ["data", "in place", "buffer", "config", "dtype", "merged"])
def test_a_base_that_changed_is_read_anew(
    change: str, base: Base, questions: list[Question], tmp_path: Path, passes: list[int]
) -> None:
    score(base, None, questions, PROMPTER, cache=tmp_path)
    weight = base.model.get_submodule("model.layers.1.self_attn.v_proj").weight
    assert isinstance(weight, torch.Tensor)
    if change == "data":
        weight.data[3, 7] += 1e-3
    elif change == "in place":
        with torch.no_grad():
            weight[3, 7] += 1e-3
    elif change == "buffer":
        base.model.register_buffer("more", torch.ones(1))
        score(base, None, questions, PROMPTER, cache=tmp_path)
        base.model.get_buffer("more").mul_(2)
    elif change == "config":
        base.model.config.rms_norm_eps = 0.5
    elif change == "dtype":
        base.model.to(torch.bfloat16)
    else:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False)
        base.model = get_peft_model(base.model, config).merge_and_unload()
    passes.clear()
    found = score(base, None, questions, PROMPTER, cache=tmp_path).logprob_HQC
    assert passes
    np.testing.assert_array_equal(found, score(base, None, questions, PROMPTER).logprob_HQC)


def test_a_damaged_file_is_read_anew(base: Base, questions: list[Question], tmp_path: Path) -> None:
    first = score(base, None, questions, PROMPTER, cache=tmp_path)
    [file] = (tmp_path / "likelihoods").iterdir()
    file.write_bytes(file.read_bytes()[:50])
    again = score(base, None, questions, PROMPTER, cache=tmp_path)
    np.testing.assert_array_equal(first.logprob_HQC, again.logprob_HQC)


def test_a_weight_sweep_runs_no_model(
    base: Base, questions: list[Question], passes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKRA_CACHE", str(tmp_path))
    likra = Likra.from_base(base).fit(questions, runtime=QUIET)
    likra.evaluate(questions, runtime=Runtime(progress=False))
    passes.clear()
    for weight in (0.0, 0.5, 1.0):
        assert (
            likra.evaluate(questions, scoring=Scoring(weight=weight), runtime=Runtime(progress=False)).weight == weight
        )
    assert not passes
    likra.evaluate(questions, runtime=QUIET)
    assert passes
    with torch.no_grad():
        next(iter(likra.stack.layers.values())).b[0] += 1  # type: ignore[union-attr]
    passes.clear()
    likra.evaluate(questions, runtime=Runtime(progress=False))
    assert passes
