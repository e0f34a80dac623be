"""Small models and data that every test can use; nothing here needs a network."""

import contextlib
import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Several test processes at once: one thread each, here and in what they start. Before torch, which counts them once.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from likra.data import Question
from likra.models.base import Base, as_base
from likra.utils import embedded

# The control models are a package of their own; the repository's folder serves where it is not installed.
_CONTROLS = Path(__file__).parents[1] / "controls" / "likra_controls"
if _CONTROLS.is_dir() and "world-truthful" not in embedded.embedded_models():
    embedded.add_folder(_CONTROLS)

#: Seconds after which what a test waits for will not come: no measure of speed, but an end to waiting.
PATIENCE = 300

VOCABULARY = 320
WINDOW = 8  # sliding window of the tiny models that have one; prompts in the tests are longer

_TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}

#: The architectures that sharing a prompt must be exact for.
ARCHITECTURES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_TINY, num_key_value_heads=2),
    "mistral": lambda: MistralConfig(**_TINY, num_key_value_heads=2, sliding_window=WINDOW),
    "qwen3": lambda: Qwen3Config(**_TINY, num_key_value_heads=2, head_dim=8),
    "gemma3": lambda: Gemma3TextConfig(
        **_TINY,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "phi3": lambda: Phi3Config(**_TINY, num_key_value_heads=2),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=1
    ),
    "gpt_neox": lambda: GPTNeoXConfig(**_TINY),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        word_embed_proj_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    ),
}

_TEXT = [
    "Question: Which animal does Ada keep?\nAnswer: a goat, of course",
    "Question: Which city is the largest of them all?\nAnswer: the one by the sea",
    "Question: What is two and two?\nAnswer: four, no doubt",
]


#: Files with the longest tests; begun with, so that no process waits for the other one in the end.
LONGEST = (
    "engine/test_harness.py",
    "lab/world/test_world.py",
    "lab/test_resume.py",
    "test_parallel.py",
    "lab/test_catalogue.py",
    "serve/test_process.py",
    "integrations/test_harness_model.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    order = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds likelihoods that another, or this machine's user, has kept."""
    monkeypatch.setenv("LIKRA_CACHE", str(tmp_path / "likra-cache"))


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are loaded on the CPU where a test names no device, on a machine with a GPU too."""
    monkeypatch.setattr("likra.models.base.default_device", lambda: "cpu")


def until(happened: Callable[[], Any]) -> None:
    """Wait for what comes sooner or later."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


Spawn = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextlib.contextmanager
def spawning() -> Iterator[Spawn]:
    """What starts processes as Popen does; they, and all that they started, are gone when it is left."""
    mark = uuid.uuid4().hex
    started: list[subprocess.Popen[str]] = []

    def spawn(command: list[str], **options: Any) -> "subprocess.Popen[str]":
        environment = {**options.pop("env", os.environ), "LIKRA_TEST_PROCESS": mark, "CUDA_VISIBLE_DEVICES": ""}
        process = subprocess.Popen(command, text=True, start_new_session=True, env=environment, **options)
        started.append(process)
        return process

    try:
        yield spawn
    finally:
        # By the mark: a launcher's workers are in groups of their own, and have no parent once it has died.
        while started and (left := [process for process in psutil.process_iter() if _bears(process, mark)]):
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=PATIENCE)
        for child in started:
            child.wait(PATIENCE)
            for pipe in filter(None, (child.stdin, child.stdout, child.stderr)):
                with contextlib.suppress(OSError):
                    pipe.close()


def _bears(process: psutil.Process, mark: str) -> bool:
    deadline = time.monotonic() + 1
    with contextlib.suppress(psutil.Error, OSError):
        while process.status() != psutil.STATUS_ZOMBIE:
            if found := process.environ():
                return found.get("LIKRA_TEST_PROCESS") == mark
            # Linux shows none while a process is within exec, after its parent has been told that it has started.
            if process.ppid() in (0, 2) or time.time() - process.create_time() > 60 or time.monotonic() > deadline:
                break
            time.sleep(0.01)
    return False


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts processes that end with the test, whatever happens in it."""
    with spawning() as start:
        yield start


@pytest.fixture
def run(spawn: Spawn) -> Run:
    """Runs a command to its end, as `subprocess.run(..., capture_output=True)`; nothing of it outlives the test."""

    def finish(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        sent = options.pop("input", None)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = spawn(command, **pipes, **options)
        output, errors = process.communicate(sent, timeout=PATIENCE)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    return finish


#: What tests of scoring, training and writing run on: this machine's GPU too, where it has one.
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every kind of device that this machine has."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 320 symbols that puts a BOS first."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        _TEXT,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    assert backend.get_vocab_size() == VOCABULARY
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def tiny_base(tokenizer: Any, architecture: str = "llama", seed: int = 0) -> Base:
    """A tiny random model; its weights are large enough for likelihoods to differ."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture](), attn_implementation="sdpa")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return as_base(model, tokenizer, name=f"tiny-{architecture}")


@pytest.fixture
def base(tokenizer: Any) -> Base:
    return tiny_base(tokenizer)


@pytest.fixture(scope="session")
def model_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as save_pretrained leaves it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_base(tokenizer).model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def questions() -> list[Question]:
    """Questions of two to five choices and of different lengths."""
    texts = ["goat", "a tall heron", "the very old parrot of the sea", "owl", "two by two"]
    return [
        Question(
            id=f"q{number}",
            text=f"Which animal does Ada keep{' in the garden' * (number % 4)} on day {number}?",
            choices=tuple(f"{text} {number}" for text in texts[: 2 + number % 4]),
            answer=number % 2,
        )
        for number in range(12)
    ]


def write_questions(path: Path, questions: list[Question]) -> Path:
    """Questions as likra's own JSONL."""
    records = [{"id": q.id, "question": q.text, "choices": list(q.choices), "answer": q.answer} for q in questions]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def shared() -> Path:
    """Real data and models beside the project, where they are at hand."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs real data and models in ../shared, which are not here")
    return folder
