"""Conversations against transformers' own `apply_chat_template` and plain forward passes, from training to writing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from likra import Likra, Question, TrainingConfig
from likra.data import Prompter
from likra.engine.loglikelihood import score
from likra.generation.decoding import Decoding
from likra.models.base import Base, load_base
from likra.models.lora_config import lora_config
from likra.scoring.likelihoods import BASE
from likra.utils.runtime import QUIET
from tests.conftest import tiny_base
from tests.data.test_chosen_templates import TEMPLATE

FAST = TrainingConfig(lora=lora_config(r=4), learning_rate=1e-2, per_device_train_batch_size=4)


@pytest.fixture
def chatting(tokenizer: Any) -> Iterator[Any]:
    """The tiny tokenizer, which puts a BOS first, with a chat template that does so too."""
    tokenizer.chat_template = TEMPLATE
    yield tokenizer
    tokenizer.chat_template = None


def by_hand(base: Base, model: Any, question: Question, shots: list[Question], choice: str) -> float:
    """The log-likelihood of an answer in the conversation as transformers writes it, in one forward pass."""
    messages = []
    for shot in shots:
        messages += [{"role": "user", "content": shot.text}]
        messages += [{"role": "assistant", "content": shot.choices[shot.answer or 0]}]
    messages.append({"role": "user", "content": question.text})
    tokenizer = base.tokenizer
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) + choice
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids[: len(prompt)] == prompt
    # The answer's tokens are those of the whole conversation.
    whole = [*messages, {"role": "assistant", "content": choice}]
    assert tokenizer.apply_chat_template(whole, return_dict=False)[: len(ids)] == ids
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(logprobs[at - 1, ids[at]].item() for at in range(len(prompt), len(ids)))


def compare(base: Base, asked: list[Question], shots: list[Question]) -> None:
    table = score(base, None, asked, Prompter("chat", len(shots), [*shots, *asked]))
    for row, question in enumerate(asked):
        for place, choice in enumerate(question.choices):
            expected = by_hand(base, base.model, question, shots, choice)
            assert table.head(BASE)[row, place] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("count", [0, 1])
def test_scores_are_those_of_plain_forward_passes(count: int, chatting: Any, questions: list[Question]) -> None:
    compare(tiny_base(chatting), questions[4:7], questions[:count])


@pytest.mark.parametrize("count", [0, 2])
def test_smollm2(count: int, shared: Path) -> None:
    pytest.importorskip("gguf")
    folder = shared / "models" / "SmolLM2-135M-Instruct"
    asked = [
        Question("1", "Which gas do plants give off?", ("Oxygen", "carbon dioxide", "Helium."), 0),
        Question("2", "What is two and two?", ("4", "Five"), 0),
        Question("3", "Name a colour.", ("red", "a goat"), 0),
    ]
    compare(load_base(str(next(folder.glob("*.gguf")))), asked[2:], asked[:count])


def test_heads_keep_the_template(chatting: Any, questions: list[Question], tmp_path: Path) -> None:
    base = tiny_base(chatting)
    base.model.save_pretrained(tmp_path / "base")
    chatting.save_pretrained(tmp_path / "base")
    likra = Likra.from_base(str(tmp_path / "base"), style="chat", training_config=FAST)
    likra.fit(questions[:8], runtime=QUIET).save_pretrained(tmp_path / "heads")
    assert json.loads((tmp_path / "heads" / "likra.json").read_text())["prompt"] == {
        "style": "chat",
        "chat_template": TEMPLATE,
    }
    loaded = Likra.from_pretrained(tmp_path / "heads")
    asked = questions[9]
    found = loaded.score(asked.text, asked.choices)
    model = PeftModel.from_pretrained(base.model, tmp_path / "heads" / "positive").eval()
    for candidate in found:
        assert candidate.positive == pytest.approx(by_hand(base, model, asked, [], candidate.text), abs=1e-3)
    [[written]] = loaded.generate(asked.text, decoding=Decoding(max_tokens=4), method="base")
    prompt = chatting.apply_chat_template(
        [{"role": "user", "content": asked.text}], add_generation_prompt=True, return_dict=False
    )
    with model.disable_adapter():
        ids = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=4, do_sample=False)
    assert written.strip() == chatting.decode(ids[0, len(prompt) :], skip_special_tokens=True).strip()
    card = (tmp_path / "heads" / "README.md").read_text()
    assert '[{"role": "user", "content": "Which gas do plants give off?"}]' in card and "apply_chat_template" in card
