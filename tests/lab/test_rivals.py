"""PMI, unlikelihood and merged weights against formulas worked by hand on a two-token example."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from likra.data import Prompter, Question, TokenizedExample, encode_pair
from likra.engine.loglikelihood import score
from likra.lab.rivals.pmi import unconditional
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.merging import merged
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig
from likra.training.losses import Unlikelihood, Wrong
from likra.training.trainer import Trainer
from tests.conftest import tiny_base

PROMPT = "Question: Which animal does Ada keep?\nAnswer:"


def two_tokens(base: Base) -> TokenizedExample:
    """A completion of exactly two tokens."""
    pair = next(
        pair
        for text in (" a goat", " go", " an", " at", " of")
        if len((pair := encode_pair(base.tokenizer, PROMPT, text, 128)).completion) == 2
    )
    assert len(pair.completion) == 2
    return pair


def by_hand(model: nn.Module, context: tuple[int, ...], completion: tuple[int, ...]) -> list[float]:
    """Probability of each token of a completion, by one forward pass each."""
    found = []
    for place, token in enumerate(completion):
        ids = torch.tensor([[*context, *completion[:place]]])
        with torch.no_grad():
            found.append(torch.softmax(model(input_ids=ids).logits[0, -1].double(), -1)[token].item())
    return found


def test_unlikelihood(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    pair = two_tokens(base)
    one, two = by_hand(base.model, pair.context, pair.completion)
    wrong = Wrong.of(pair)
    stack = HeadStack(base, ["both"], seeds=[0])
    config = TrainingConfig(learning_rate=1e-2, per_device_train_batch_size=2)
    [first, _] = Trainer(
        stack, {"both": [pair, wrong] * 2}, config, seeds={"both": None}, losses={"both": Unlikelihood()}
    ).run()
    likely, unlikely = -math.log(one) - math.log(two), -math.log(1 - one) - math.log(1 - two)
    assert first.losses["both"] == pytest.approx((likely + unlikely) / 4, rel=1e-5)
    stack.remove()
    # Wrong answers alone become less likely.
    stack = HeadStack(base, ["wrong"], seeds=[0])
    steps = Trainer(
        stack, {"wrong": [wrong] * 8}, config, seeds={"wrong": None}, losses={"wrong": Unlikelihood()}
    ).run()
    assert steps[0].losses["wrong"] == pytest.approx(unlikely / 2, rel=1e-4)
    assert steps[-1].losses["wrong"] < steps[0].losses["wrong"]
    stack.remove()


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_unlikelihoods_gradient_is_the_formulas(tokenizer: Any, architecture: str) -> None:
    """One step of Adam has the signs of the gradient of -log(1 - p), which a plain forward pass gives too."""
    base = tiny_base(tokenizer, architecture)
    wrong = Wrong.of(two_tokens(base))
    stack = HeadStack(base, ["head"], seeds=[0])
    config = TrainingConfig(per_device_train_batch_size=1)
    Trainer(stack, {"head": [wrong]}, config, losses={"head": Unlikelihood()}).run()
    moved = {path: b.clone() for path, (_, b) in stack.weights("head").items()}
    stack.remove()
    twin = tiny_base(tokenizer, architecture)
    stack = HeadStack(twin, ["head"], seeds=[0])
    for parameter in stack.parameters():
        parameter.requires_grad_(True)
    ids = torch.tensor([wrong.inputs])
    with stack.active([("head", 0, ids.numel())], ids.numel()):
        logits = twin.model(input_ids=ids).logits[0, -2:]
    p = torch.softmax(logits, -1)[[0, 1], list(wrong.completion)]
    (-torch.log(1 - p)).sum().backward()
    for path, layer in stack.layers.items():
        gradient = layer.b.grad[0]
        clear = gradient.abs() > 1e-4  # below, rounding decides the sign
        assert torch.equal(torch.sign(moved[path])[clear], -torch.sign(gradient)[clear])


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_merged_weights(tokenizer: Any, weight: float) -> None:
    base = tiny_base(tokenizer)
    pair = two_tokens(base)
    stack = HeadStack(base, ["positive", "negative"], lora=lora_config(r=4, lora_alpha=8), seeds=[0, 1])
    data = {"positive": [pair] * 4, "negative": [encode_pair(tokenizer, PROMPT, " four, no doubt", 128)] * 4}
    Trainer(
        stack,
        data,
        TrainingConfig(lora=lora_config(r=4, lora_alpha=8), learning_rate=1e-2, per_device_train_batch_size=2),
    ).run()
    heads = {name: {p: (a.clone(), b.clone()) for p, (a, b) in stack.weights(name).items()} for name in data}
    stack.remove()
    both = HeadStack(base, ["merged"], lora=lora_config(r=8))
    both.set_weights("merged", merged([(1.0, heads["positive"]), (-weight, heads["negative"])]), rank=8, scaling=2.0)
    question = Question("q", PROMPT, (tokenizer.decode(pair.completion),))
    table = score(base, both, [question], Prompter("verbatim"), ["merged"])
    both.remove()
    # By hand: W + 2 (B+ A+ - w B- A-), and two plain forward passes.
    with torch.no_grad():
        for path, (a, b) in heads["positive"].items():
            minus_a, minus_b = heads["negative"][path]
            base.model.get_submodule(path).weight += 2.0 * (b @ a - weight * minus_b @ minus_a)
    one, two = by_hand(base.model, pair.context, pair.completion)
    assert table.head("merged")[0, 0] == pytest.approx(math.log(one) + math.log(two), abs=1e-4)


def test_pmi(tokenizer: Any) -> None:
    base = tiny_base(tokenizer)
    pair = two_tokens(base)
    question = Question("q", "Which animal does Ada keep?", (tokenizer.decode(pair.completion).strip(), "owl"), 0)
    prompter = Prompter("qa")
    conditional = score(base, None, [question], prompter).head("base")
    alone = score(base, None, unconditional([question], prompter), Prompter("verbatim")).head("base")
    given = [math.log(p) for p in by_hand(base.model, pair.context, pair.completion)]
    prior = [math.log(p) for p in by_hand(base.model, (tokenizer.bos_token_id,), pair.completion)]
    assert (conditional - alone)[0, 0] == pytest.approx(sum(given) - sum(prior), abs=1e-4)


def test_pmi_is_the_harnesss_mutual_information(tokenizer: Any, tmp_path: Path) -> None:
    """Likelihoods of ("", " choice"), as lm-evaluation-harness reads them for acc_mutual_info."""
    harness = pytest.importorskip("lm_eval.models.huggingface")
    instance = pytest.importorskip("lm_eval.api.instance")
    base = tiny_base(tokenizer)
    question = Question("q", "Which animal does Ada keep?", ("a goat", "the owl"), 0)
    alone = score(base, None, unconditional([question], Prompter("qa")), Prompter("verbatim")).head("base")
    model = harness.HFLM(pretrained=base.model, tokenizer=tokenizer, batch_size=1)
    requests = [
        instance.Instance("loglikelihood", {}, ("", f" {choice}"), number)
        for number, choice in enumerate(question.choices)
    ]
    theirs = [value for value, _ in model.loglikelihood(requests, disable_tqdm=True)]
    assert alone[0].tolist() == pytest.approx(theirs, abs=1e-3)
