"""What reading in half precision leaves of the ratio, against plain forward passes in float64."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM, MambaConfig, MixtralConfig

from likra.data import Question
from likra.data.templates import Prompter
from likra.engine import loglikelihood
from likra.engine.loglikelihood import score
from likra.engine.memory import Budget
from likra.engine.packed import PackedReader
from likra.engine.padded import PaddedReader
from likra.engine.precision import (
    DIFFERENCE,
    FLOAT32,
    FLOAT64,
    ROUNDED,
    SPLIT,
    STORED,
    choose,
    computes_in_float32,
    faithful,
    served,
)
from likra.engine.products import Rows, difference, exact, multiplies, rounded, split
from likra.errors import InputError
from likra.generation.decoding import Decoding, generate
from likra.models.base import Base, as_base, base_of
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import BASE, Likelihoods
from likra.scoring.rounding import rounding
from tests.conftest import ARCHITECTURES, VOCABULARY, tiny_base
from tests.engine.test_engine import perturb
from tests.engine.test_packed import some_pairs

NAMES = (BASE, "one", "two")


def near(stack: HeadStack, by: float = 0.05) -> None:
    """Adapters as little training leaves them: both far from the base, near to one another."""
    generator = torch.Generator().manual_seed(0)
    for layer in stack.layers.values():
        common = torch.randn(layer.b.shape[1:], generator=generator)
        for head in range(len(stack.names)):
            own = common + by * torch.randn(layer.b.shape[1:], generator=generator)
            layer.b.data[head].copy_(0.05 * own)
            layer.a.data[head].copy_(layer.a.data[0])


def in_double(base: Base, stack: HeadStack, pairs: Any, names: tuple[str, ...] = NAMES) -> np.ndarray:
    """Plain float64 forward passes, one sequence at a time, with each adapter merged into a copy of the weights."""
    found = np.zeros((len(names), len(pairs)))
    paths, weights = list(stack.layers), {path: layer.base.weight for path, layer in stack.layers.items()}
    updates = {
        name: {path: stack.scaling(name) * (b.double() @ a.double()) for path, (a, b) in stack.weights(name).items()}
        for name in names
        if name != BASE
    }
    layers = stack.remove()
    model = type(base.model)(base.model.config).double().eval()
    model.load_state_dict({name: value.double() for name, value in base.model.state_dict().items()})
    for row, name in enumerate(names):
        for path in paths if name != BASE else ():
            module = model.get_submodule(path)
            update = updates[name][path]
            plain = weights[path].double()
            turned = isinstance(module, nn.Linear)
            module.weight.data.copy_(plain + (update if turned else update.T))
        for place, pair in enumerate(pairs):
            with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
                # Where the model's own code asks for float32.
                patch.setattr(torch.Tensor, "float", torch.Tensor.double)
                ids = torch.tensor([[*pair.context, *pair.completion]])
                logits = model(ids).logits[0].log_softmax(-1)
            at = range(len(pair.context) - 1, ids.shape[1] - 1)
            found[row, place] = sum(float(logits[i, ids[0, i + 1]]) for i in at)
        for path in paths:
            model.get_submodule(path).weight.data.copy_(weights[path].double())
    stack.attach(layers)
    return found


def off(values: np.ndarray, right: np.ndarray) -> float:
    """Error of the ratio of the two adapters over its spread, by hand; the pairs are one question."""
    ratio, exact_ratio = values[1] - values[2], right[1] - right[2]
    error = ratio - exact_ratio
    return float((error - error.mean()).std() / exact_ratio.std())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("adapt", ["everywhere", "completion"])
def test_difference_products_keep_the_ratio(architecture: str, adapt: str, tokenizer: Any) -> None:
    base = tiny_base(tokenizer, architecture)
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=4), adapt=adapt)
    near(stack)
    pairs = some_pairs(1)
    for seed in (2, 3, 4):
        pairs += some_pairs(seed)
    right = PackedReader(base, stack, way=FLOAT64).loglikelihoods(pairs, NAMES, Budget(10_000, 10_000))
    for reader in (PackedReader, PaddedReader):
        fast = reader(base, stack, way=DIFFERENCE).loglikelihoods(pairs, NAMES, Budget(200, 100))
        assert off(fast, right) < 0.05, reader
        coarse = reader(base, stack, way=ROUNDED).loglikelihoods(pairs, NAMES, Budget(200, 100))
        assert off(fast, right) < 0.75 * off(coarse, right), reader


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_float64_is_what_plain_passes_in_float64_give(architecture: str, tokenizer: Any) -> None:
    base = tiny_base(tokenizer, architecture)
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=4))
    perturb(stack)
    pairs = some_pairs(0)
    right = in_double(base, stack, pairs)
    for reader in (PackedReader, PaddedReader):
        found = reader(base, stack, way=FLOAT64).loglikelihoods(pairs, NAMES, Budget(50, 50))
        assert np.abs(found - right).max() < 1e-5  # rotations are in float32 in both
        plain = reader(base, stack).loglikelihoods(pairs, NAMES, Budget(50, 50))
        assert np.abs(plain - right).max() < 2e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_computed_with_in_float32(
    architecture: str, dtype: torch.dtype, tokenizer: Any
) -> None:
    base = tiny_base(tokenizer, architecture)
    base.model.to(dtype)
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=4))
    near(stack)
    pairs = some_pairs(1) + some_pairs(2)
    assert computes_in_float32(base.model)
    found = {
        way.name: PackedReader(base, stack, way=way).loglikelihoods(pairs, NAMES, Budget(1000, 1000))
        for way in (FLOAT32, DIFFERENCE, STORED)
    }
    widths = {p.dtype for n, p in base.model.named_parameters()}
    base.model.float()  # the same weights, stored in float32
    right = PackedReader(base, stack).loglikelihoods(pairs, NAMES, Budget(1000, 1000))
    assert widths == {dtype, torch.float32}  # nothing was converted in place; the adapters are in float32
    assert np.abs(found["float32"] - right).max() < 1e-3
    assert off(found["difference"], right) < 0.05
    assert off(found["stored"], right) > 2 * off(found["difference"], right)


def test_adapters_that_are_equal_have_a_ratio_of_0(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    stack = HeadStack(base, ["one", "two", "three"], lora=lora_config(r=4))
    perturb(stack)
    for name in ("two", "three"):
        stack.set_weights(name, stack.weights("one"), rank=4, scaling=stack.scaling("one"))
    for reader in (PackedReader, PaddedReader):
        names = (BASE, "one", "two", "three")
        found = reader(base, stack, way=DIFFERENCE).loglikelihoods(some_pairs(3), names, Budget(60, 60))
        assert (found[1] == found[2]).all() and (found[1] == found[3]).all()


@settings(max_examples=40, deadline=None)
@given(
    alone=st.integers(0, 5),
    each=st.integers(1, 6),
    adapters=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_a_product_is_the_product(alone: int, each: int, adapters: int, seed: int) -> None:
    """Whatever is taken as a reference, y = W x but for rounding, which goes with what rows differ by."""
    generator = torch.Generator().manual_seed(seed)
    rows = Rows(alone, each, adapters)
    x, weight = torch.randn(len(rows), 24, generator=generator), torch.randn(8, 24, generator=generator)
    weight = weight.bfloat16().float()
    right = x.double() @ weight.double().T
    # CPUs that multiply in half precision round the product once more.
    halves = 0.3 if multiplies(torch.bfloat16) else 3e-3
    for product, most in ((exact, 1e-4), (split, halves), (rounded, 0.3), (difference, 0.6)):
        assert (product(x, weight, rows) - right).abs().max() < most
        assert (product(x, weight.bfloat16(), None) - right).abs().max() < most
    # Rows that are alike give products that differ by what the rows differ by.
    own = x[alone : alone + each]
    for adapter in range(1, adapters):
        x[alone + adapter * each :][:each] = own * (1 + 2e-3 * adapter)
    found, right = difference(x, weight, rows), x.double() @ weight.double().T
    apart = found[alone + each :] - found[alone : alone + each].repeat(adapters - 1, 1)
    right_apart = right[alone + each :] - right[alone : alone + each].repeat(adapters - 1, 1)
    assert adapters == 1 or (apart - right_apart).abs().max() < 2e-2 * right_apart.abs().max() + 1e-4


def table(*values: float) -> Likelihoods:
    questions = [Question(str(row), "Q", ("a", "b"), 0) for row in range(len(values) // 2)]
    zeros = np.zeros((len(questions), 2), dtype=int)
    logprob_HQC = np.array([values] * 3, dtype=float).reshape(3, -1, 2)
    return Likelihoods(("base", "positive", "negative"), questions, logprob_HQC, zeros, zeros)


def test_rounding_by_hand() -> None:
    right, rough = table(0, 0, 0, 0), table(0, 0, 0, 0)
    right.logprob_HQC[1] = [[1.0, 3.0], [2.0, -2.0]]  # centred: -1, 1; 2, -2: root mean square sqrt(2.5)
    rough.logprob_HQC[1] = [[1.0, 3.2], [7.0, 3.0]]  # off by 0, .2 -> -.1, .1; 5, 5 -> 0, 0: sqrt(.005)
    assert rounding(rough, right) == pytest.approx((0.005 / 2.5) ** 0.5, rel=1e-2)
    assert rounding(table(1, 2), table(1, 2)) is None  # the adapters say the same everywhere


def chooses(seconds: dict[str, float], errors: dict[str, float], precision: str = "auto", readers: int = 3) -> Any:
    way, error = choose(_MODEL, precision, readers, lambda way: seconds[way.name], lambda way: errors[way.name])
    return way.name, error


_MODEL: Any = SimpleNamespace(device=torch.device("cpu"), parameters=list, modules=list)


def test_the_fastest_way_that_is_precise_enough() -> None:
    fast = {"float32": 1.0, "difference": 0.3, "difference-from-float32": 0.5}
    assert chooses(fast, {"difference": 0.03}) == ("difference", 0.03)
    assert chooses(fast, {"difference": 0.06, "difference-from-float32": 0.05}) == ("difference-from-float32", 0.05)
    assert chooses(fast, {"difference": 0.06, "difference-from-float32": 0.3}) == ("float32", None)
    assert chooses(fast | {"difference": 0.95, "difference-from-float32": 2.0}, {}) == ("float32", None)
    assert chooses(fast, {}, "float32") == ("float32", None)
    assert chooses(fast, {}, "faithful") == ("float32", None)
    assert chooses(fast, {}, "fast") == ("difference", None)
    for precision in ("auto", "fast"):  # what is rounded of one reader alone is common to nobody
        assert chooses(fast, {}, precision, readers=1) == ("float32", None)
    assert choose(_MODEL, "auto", 3, lambda way: fast[way.name], None) == (FLOAT32, None)


def many(count: int) -> list[Question]:
    return [Question(str(n), f"Question {n}?", (f"one {n}", "two", "three"), n % 3) for n in range(count)]


def test_a_table_says_how_it_was_read(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tokenizer)
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4))
    near(stack)
    names = (BASE, "positive", "negative")

    def read(count: int, precision: str) -> Likelihoods:
        base.precision = precision
        return score(base, stack, many(count), Prompter("qa"), names, cache=tmp_path)

    few, plenty = read(20, "auto"), read(120, "auto")
    assert (few.meta["precision"], few.meta["rounding"]) == ("float32", None)
    assert plenty.meta["precision"] == "float32" and 0 < plenty.meta["rounding"] < 1e-2
    fast = read(20, "fast")
    assert fast.meta["precision"] == "difference" and 0 < fast.meta["rounding"] < 0.05
    assert "rounding: " in fast.rounding and "difference" in fast.rounding
    # Each is found again as it was read; and what was read in float32 serves `auto`, not the other way round.
    monkeypatch.setattr(loglikelihood, "reader_of", None)
    assert (read(20, "fast").logprob_HQC == fast.logprob_HQC).all() and read(20, "fast").meta == fast.meta
    assert (read(20, "float32").logprob_HQC == few.logprob_HQC).all()
    assert not (few.logprob_HQC == fast.logprob_HQC).all()
    # In float32 each is kept for itself; where they were compared, only all of them together.
    base.precision = "float32"
    score(base, stack, many(20), Prompter("qa"), (BASE, "positive"), cache=tmp_path)
    base.precision = "fast"
    with pytest.raises(TypeError):
        score(base, stack, many(20), Prompter("qa"), (BASE, "negative"), cache=tmp_path)


def test_what_was_read_roughly_is_not_served_to_auto(tokenizer: Any, tmp_path: Path) -> None:
    base = tiny_base(tokenizer)
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4))
    near(stack, by=1e-5)
    names = (BASE, "positive", "negative")
    for count in (3, 20):  # not measured; and measured to be too rough
        base.precision = "fast"
        coarse = score(base, stack, many(count), Prompter("qa"), names, cache=tmp_path)
        assert coarse.meta["precision"] == "difference" and (coarse.meta["rounding"] or 1) > 0.05
        base.precision = "auto"
        assert score(base, stack, many(count), Prompter("qa"), names, cache=tmp_path).meta["precision"] == "float32"
    assert served(base.model, "fast", 1) == [FLOAT32]


def test_on_a_gpu_weights_in_bfloat16_are_read_by_split_activations(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(device: str) -> None:
        monkeypatch.setattr(type(base.model), "device", torch.device(device))

    base = tiny_base(tokenizer)
    on("cuda")
    assert faithful(base.model) == [FLOAT32]
    on("cpu")
    base.model.to(torch.bfloat16)
    stack = HeadStack(base, ["one"], lora=lora_config(r=4))  # whose weights are in float32
    on("cuda")
    assert faithful(base.model) == [FLOAT32, SPLIT]
    on("cpu")
    stack.remove()
    base.model.to(torch.float16)
    on("cuda")
    assert faithful(base.model) == [FLOAT32]


def test_float16_that_overflows_is_found_out(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tokenizer)
    with torch.no_grad():
        base.model.model.layers[0].mlp.up_proj.weight *= 3e4
    base.model.to(torch.float16)
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4))
    near(stack)
    monkeypatch.setattr(loglikelihood, "is_small", lambda model: False)
    fast = {"float32": 1.0, "difference": 0.1, "difference-from-float32": 0.2}
    monkeypatch.setattr(loglikelihood.ProductSpeed, "seconds", lambda self, way: fast[way.name])
    table = score(base, stack, many(20), Prompter("qa"), (BASE, "positive", "negative"))
    assert table.meta["precision"] == "float32"
    base.precision = "fast"
    with pytest.raises(InputError, match="read it with precision float32"):
        score(base, stack, many(20), Prompter("qa"), (BASE, "positive", "negative"))


def mixtral() -> Any:
    return MixtralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, max_position_embeddings=128, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip


def mamba() -> Any:
    return MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=8, num_hidden_layers=2, bos_token_id=0)


@pytest.mark.parametrize("config", [mixtral, mamba])
def test_code_that_casts_to_the_type_of_its_weights_computes_in_float32(config: Any, tokenizer: Any) -> None:
    """Experts, and a recurrent state: other layers than linear ones, with casts of their own."""
    torch.manual_seed(0)
    base = as_base(AutoModelForCausalLM.from_config(config()), tokenizer)
    base.model.to(torch.bfloat16)
    pairs = some_pairs(1)[:4]
    assert computes_in_float32(base.model)
    found = PaddedReader(base, None).loglikelihoods(pairs, [BASE], Budget(1000, 1000))
    base.model.float()
    right = PaddedReader(base, None).loglikelihoods(pairs, [BASE], Budget(1000, 1000))
    assert np.abs(found - right).max() < 1e-3


def test_a_base_is_read_by_two_in_their_own_precision(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    one, two = base_of(base, precision="float32"), base_of(base, precision="fast")
    assert (base.precision, one.precision, two.precision) == ("auto", "float32", "fast")
    assert one.model is two.model is base.model


def test_adapters_that_hardly_differ_are_said_to(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    base = tiny_base(tokenizer)
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4))
    near(stack, by=1e-7)
    found = score(base, stack, many(120), Prompter("qa"), (BASE, "positive", "negative"))
    assert found.meta["rounding"] > 0.2
    assert "train them on more" in caplog.text


def test_a_precision_that_is_none(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="precision must be one of auto, float32, faithful, fast, got 'exact'"):
        base_of(tiny_base(tokenizer), precision="exact")
    assert base_of(tiny_base(tokenizer), precision="fast").precision == "fast"


def test_a_model_that_cannot_compute_in_float32_is_said_to(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    base = tiny_base(tokenizer)
    base.model.to(torch.bfloat16)
    weight = base.model.lm_head.weight
    # A kernel that its code calls past torch's functions, and that takes one type.
    base.model.lm_head.forward = lambda x: torch.ops.aten.mm(x.flatten(0, 1), weight.T).view(*x.shape[:-1], -1)
    table = score(base, None, many(20), Prompter("qa"))
    assert table.meta["precision"] == "stored"
    assert "cannot compute in float32" in caplog.text


def test_the_mode_leaves_nothing_behind(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    ids = torch.tensor([[5, 6, 7]])
    plain = base.model(ids).logits
    score(base, None, many(20), Prompter("qa"))
    stack = HeadStack(base, ["one"], lora=lora_config(r=4))
    base.precision = "fast"
    score(base, stack, many(20), Prompter("qa"), (BASE, "one"))
    stack.remove()
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert torch.equal(base.model(ids).logits, plain)


@pytest.mark.parametrize("precision", ["auto", "faithful"])  # `fast` may write another text
def test_text_is_written_from_half_precision_weights_as_from_the_same_in_float32(
    precision: str, tokenizer: Any
) -> None:
    base = tiny_base(tokenizer)
    base.model.to(torch.bfloat16)
    stack = HeadStack(base, ["one", "two"], lora=lora_config(r=4))
    near(stack, by=0.5)

    def written() -> list[list[list[int]]]:
        prompts = [[5, 6, 7, 8], [9, 10, 11]]
        return generate(base, stack, ("one", "two"), prompts, Decoding(max_tokens=6), None, one_line=False)

    base.precision = precision
    found = written()
    base.model.float()
    base.precision = "float32"
    assert found == written()
