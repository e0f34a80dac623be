"""Bases that are loaded in other ways than whole, in full precision, on one device."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from likra.data import Prompter, Question
from likra.engine.loglikelihood import score
from likra.errors import InputError
from likra.likra import Likra
from likra.models import base as base_module
from likra.models.base import default_device, load_base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE
from likra.training.config import TrainingConfig
from likra.utils.runtime import QUIET
from tests.conftest import ARCHITECTURES
from tests.engine.test_engine import perturb

PROMPTER = Prompter("qa")


def test_a_base_spread_over_devices_scores_the_same(model_folder: Path, questions: list[Question]) -> None:
    """Here there is one device; what is seen is that heads stand on a model that accelerate placed."""
    whole = score(load_base(str(model_folder)), None, questions, PROMPTER)
    spread = load_base(str(model_folder), device="auto", dtype="float32")
    stack = HeadStack(spread, ["one"], lora=lora_config(r=4))
    perturb(stack)
    table = score(spread, stack, questions, PROMPTER, (BASE, "one"))
    np.testing.assert_allclose(table.head(BASE), whole.head(BASE), atol=1e-4)
    assert not np.allclose(table.head("one"), table.head(BASE), atol=1e-2, equal_nan=True)


def test_a_gpu_gets_the_weights_as_they_are_read(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    real = AutoModelForCausalLM.from_pretrained

    def loaded(path: str, **how: Any) -> Any:
        given.append(how.pop("device_map", None))
        return real(path, **how)

    monkeypatch.setattr(base_module.AutoModelForCausalLM, "from_pretrained", loaded)
    for device in ("meta", "cpu"):  # the former stands for a GPU
        load_base(str(model_folder), device=device)
    assert given == [{"": "meta"}, None]
    # And a map of one device puts no hooks on the model.
    one = real(str(model_folder), device_map={"": "cpu"})
    assert not any(hasattr(module, "_hf_hook") for module in one.modules())


@pytest.mark.parametrize(
    ("gpus", "processes", "rank", "expected"),
    [(0, 1, 0, "cpu"), (2, 1, 0, "cuda"), (2, 2, 1, "cuda:1"), (1, 4, 3, "cuda:0")],
)
def test_a_process_takes_its_own_gpu_or_the_one_that_it_sees(
    gpus: int, processes: int, rank: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("likra.utils.parallel.world", lambda: processes)
    monkeypatch.setattr("likra.utils.parallel.local_rank", lambda: rank)
    assert default_device() == expected


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
    likra = Likra.from_base(base, training_config=TrainingConfig(lora=lora_config(r=4), learning_rate=1e-3))
    if bits == "4bit":
        with pytest.raises(InputError, match="not trained on a 4-bit base on a CPU"):
            likra.fit(questions, runtime=QUIET)
        stack = HeadStack(base, ["positive"], lora=lora_config(r=4))
        perturb(stack)
        table = score(base, stack, questions, PROMPTER, (BASE, "positive"))
    else:
        table = likra.fit(questions, runtime=QUIET).likelihoods(questions)
    tokens = table.tokens_QC.clip(min=1)
    assert np.nanmean(np.abs(table.head(BASE) - whole.head(BASE)) / tokens) < 1.0
    assert not np.allclose(table.head("positive"), table.head(BASE), atol=1e-4, equal_nan=True)


def test_what_cannot_be_is_refused(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="quantize must be one of 4bit, 8bit, got '2bit'"):
        load_base(str(model_folder), quantize="2bit")

    def missing(name: str) -> Any:
        return None

    monkeypatch.setattr(base_module.importlib.util, "find_spec", missing)
    with pytest.raises(InputError, match="quantize='4bit' needs bitsandbytes; pip install bitsandbytes"):
        load_base(str(model_folder), quantize="4bit")
