"""Bases that are loaded in other ways than whole, in full precision, on one device."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from likra.errors import InputError
from likra.heads import HeadStack, Recipe, load_base
from likra.heads import base as base_module
from likra.likelihood import BASE
from likra.likelihood.engine import score
from likra.model import Likra
from likra.questions import Prompter, Question
from tests.conftest import ARCHITECTURES
from tests.likelihood.test_engine import perturb

PROMPTER = Prompter("qa")


def test_a_base_spread_over_devices_scores_the_same(model_folder: Path, questions: list[Question]) -> None:
    """Here there is one device; what is seen is that heads stand on a model that accelerate placed."""
    whole = score(load_base(str(model_folder)), None, questions, PROMPTER)
    spread = load_base(str(model_folder), device="auto", dtype="float32")
    stack = HeadStack(spread, ["one"], rank=4)
    perturb(stack)
    table = score(spread, stack, questions, PROMPTER, (BASE, "one"))
    np.testing.assert_allclose(table.head(BASE), whole.head(BASE), atol=1e-4)
    assert not np.allclose(table.head("one"), table.head(BASE), atol=1e-2, equal_nan=True)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes, which is optional")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_quantised_base_is_read_and_in_8_bits_trained_on(
    bits: str, model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    config = {**ARCHITECTURES["llama"]().to_dict(), "hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
    AutoModelForCausalLM.from_config(LlamaConfig.from_dict(config)).save_pretrained(tmp_path / "wide")
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(tmp_path / "wide")
    base = load_base(str(tmp_path / "wide"), quantize=bits, device="cpu", dtype="float32")
    whole = score(load_base(str(tmp_path / "wide")), None, questions, PROMPTER)
    likra = Likra.from_base(base, recipe=Recipe(learning_rate=1e-3, rank=4))
    if bits == "4bit":
        with pytest.raises(InputError, match="not trained on a 4-bit base on a CPU"):
            likra.fit(questions, progress=False)
        stack = HeadStack(base, ["positive"], rank=4)
        perturb(stack)
        table = score(base, stack, questions, PROMPTER, (BASE, "positive"))
    else:
        table = likra.fit(questions, progress=False).likelihoods(questions)
    tokens = table.tokens_QC.clip(min=1)
    assert np.nanmean(np.abs(table.head(BASE) - whole.head(BASE)) / tokens) < 1.0
    assert not np.allclose(table.head("positive"), table.head(BASE), atol=1e-4, equal_nan=True)


def test_what_cannot_be_is_refused(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--quantize 2bit: must be one of 4bit, 8bit"):
        load_base(str(model_folder), quantize="2bit")

    def missing(name: str) -> Any:
        return None

    monkeypatch.setattr(base_module.importlib.util, "find_spec", missing)
    with pytest.raises(InputError, match="--quantize 4bit: needs bitsandbytes; pip install bitsandbytes"):
        load_base(str(model_folder), quantize="4bit")
