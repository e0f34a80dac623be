"""What the benchmarks share: the model, random or real, its tokenizer, the questions, and how a run is described."""

import argparse
import datetime
import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from likra.data import Prompter, Question, load
from likra.models.base import Base, as_base, load_base
from likra.models.stack import HeadStack
from likra.scoring.likelihoods import Likelihoods
from likra.utils.files import write_json

VOCABULARY, CONTEXT = 32_000, 4_096
SIZES: dict[str, dict[str, Any]] = {
    "50M": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 10, "num_attention_heads": 8},
    "3M": {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "vocab_size": 4096,
        "max_position_embeddings": 512,
    },  # the shape of stories3M
}


def tokenizer(texts: list[str], vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the questions themselves, for words to be as long in tokens as in life."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    # The harness cuts a model's vocabulary down to its tokenizer's where it loads an adapter.
    made.add_tokens([f"<unused-{number}>" for number in range(vocabulary - len(made))])
    return made


def questions(data: str) -> tuple[list[Question], list[Question]]:
    """(training questions, test questions) of a source."""
    source = load(data)
    return source.questions["train"], source.questions.get("test") or source.questions["validation"]


def random_base(size: str, train: list[Question], seed: int = 0, **changes: Any) -> Base:
    """A Llama with random weights, tied embeddings, and a tokenizer made for the questions."""
    shape = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, **SIZES[size], **changes}
    config = LlamaConfig(
        **shape, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=1, dtype="float32"
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    texts = [" ".join((question.text, *question.choices)) for question in train]
    return as_base(model, tokenizer(texts, shape["vocab_size"]), name=f"random Llama {size}")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The option `--model`."""
    parser.add_argument("--model", help="a pretrained model (a folder, a GGUF file) in place of the random one")


def base_of(model: str | None, size: str, train: list[Question], **changes: Any) -> Base:
    """A real model where one is named, else a random one; read in float32, as those are that it is held against."""
    base = load_base(model) if model else random_base(size, train, **changes)
    base.precision = "float32"
    return base


def saved(base: Base, folder: Path) -> Path:
    """A base as a folder, which tools other than likra can load too."""
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


def perturb(stack: HeadStack, seed: int = 0) -> None:
    """Heads as training leaves them: every B away from zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in stack.layers.values():
        layer.b.data.copy_(torch.randn(layer.b.shape, generator=generator) * 0.01)


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """How long a call takes, and what it returns."""
    start = time.perf_counter()
    value = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, value


def now() -> float:
    """The clock."""
    return time.perf_counter()


def table(questions: list[Question], found: Mapping[str, Sequence[Sequence[float]]]) -> Likelihoods:
    """Log-likelihoods by reader and question, as other tools give them, in likra's table (without counts of tokens)."""
    shape = (len(questions), max(len(question.choices) for question in questions))
    logprob_HQC = np.full((len(found), *shape), np.nan)
    for index, rows in enumerate(found.values()):
        for row, values in enumerate(rows):
            logprob_HQC[index, row, : len(values)] = values
    return Likelihoods(tuple(found), questions, logprob_HQC, np.zeros(shape, dtype=int), np.zeros(shape, dtype=int))


def prompters(style: str, train: list[Question]) -> dict[str, Prompter]:
    """The three ways of prompting that are compared."""
    return {
        "0-shot": Prompter(style),
        "25-shot, sampled per question": Prompter(style, 25, train, sampled=True),
        "25-shot, fixed": Prompter(style, 25, train),
    }


def machine() -> str:
    """One line on where and when this ran."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    threads = torch.get_num_threads()
    return f"{name}, {threads} threads, torch {torch.__version__}, {datetime.date.today().isoformat()}"


def versions(*packages: str) -> str:
    """Packages with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in packages)


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def scratch() -> Path:
    """A new folder that the system may clear."""
    return Path(tempfile.mkdtemp(prefix="likra-benchmark-"))


class Parts:
    """What was measured, one file a part; what is there is not measured again."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Ends the benchmark where the folder holds parts of other settings."""
        self.folder = folder
        known = folder / "settings.json"
        if known.exists() and json.loads(known.read_text()) != settings:
            raise SystemExit(f"{folder}: holds parts of other settings; give another --out.")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(known, settings)

    def __call__(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        if not path.exists():
            write_json(path, run())
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What parts depend on: all options but how many seeds there are, and where they are kept."""
    return {name: value for name, value in vars(options).items() if name not in ("seeds", "out")}
