"""Builds the embedded model: a tokenizer and a small Llama, pretrained on the miniature world's text."""

import dataclasses
import itertools
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from likra.errors import InputError
from likra.lab.world.generator import World, WorldConfig, unrelated
from likra.utils.files import new_folder, write_json
from likra.utils.progress import progress_bar

BOS, EOS = "<s>", "</s>"


@dataclass(frozen=True)
class PretrainingConfig:
    """How the embedded model is pretrained. The defaults made the model that ships with likra.

    Attributes:
        vocabulary: Size of the byte-level BPE vocabulary.
        hidden_size, intermediate_size, layers, attention_heads: Shape of the Llama.
        steps: Optimisation steps.
        batch_size: Windows per step.
        window: Tokens per window of packed text.
        learning_rate: Peak of a one-cycle schedule: linear warm-up over 5% of the steps, then cosine to zero.
        weight_decay: AdamW weight decay.
    """

    vocabulary: int = 1024
    hidden_size: int = 256
    intermediate_size: int = 640
    layers: int = 4
    attention_heads: int = 4
    steps: int = 1100
    batch_size: int = 64
    window: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01


#: Name -> what differs from the defaults in the world and in the model. All are asked the same questions.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "world": ({}, {}),
    "world-small": ({}, {"hidden_size": 128, "intermediate_size": 320, "layers": 3}),
    "world-tiny": ({}, {"hidden_size": 64, "intermediate_size": 160, "layers": 2, "attention_heads": 2}),
    "world-truthful": ({"reliable": 1.0}, {}),
    "world-voiceless": ({"voices": False}, {}),
}


def build_tokenizer(world: World, vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer (no text is unknown to it) on the world's text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.islice(world.documents(), 20_000), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS)


def _windows(world: World, tokenizer: PreTrainedTokenizerFast, config: PretrainingConfig) -> Iterator[torch.Tensor]:
    """Batches of packed text, [batch_size, window], documents separated by BOS."""
    documents = world.documents()
    need = config.batch_size * config.window
    buffer: list[int] = []
    while True:
        while len(buffer) < need:
            for ids in tokenizer(list(itertools.islice(documents, 256)))["input_ids"]:
                buffer.extend(ids)
        yield torch.tensor(buffer[:need]).view(config.batch_size, config.window)
        buffer = buffer[need:]


def pretrain(
    world: World,
    config: PretrainingConfig,
    progress: Callable[[int, float], None],
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Pretrain the model. `progress(step, loss)` is called after every step with the training loss in nats/token."""
    # The text of every variant is cut alike, so that their likelihoods can be compared.
    tokenizer = build_tokenizer(World(WorldConfig(seed=world.config.seed)), config.vocabulary)
    torch.manual_seed(world.config.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.attention_heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.05, cycle_momentum=False
    )
    model.train()
    for step, ids_BT in enumerate(itertools.islice(_windows(world, tokenizer, config), config.steps), start=1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=ids_BT, labels=ids_BT).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step, loss.item())
    return model.eval(), tokenizer


def build_world(out: Path, *, seed: int, steps: int | None = None, variant: str = "world") -> None:
    """Generate a world, pretrain its model, and write both to a new folder.

    Args:
        out: The folder: `model/` (float16, with its tokenizer and card) and `questions.jsonl`.
        seed: Seed of the facts, the text and the first weights.
        steps: Optimisation steps; default: those of the embedded model.
        variant: One of `VARIANTS`.

    Raises:
        InputError: There is no such variant.
    """
    if variant not in VARIANTS:
        raise InputError(f"--variant {variant}: must be one of {', '.join(VARIANTS)}.")
    of_world, of_model = VARIANTS[variant]
    world = World(WorldConfig(seed=seed, **of_world))
    config = PretrainingConfig(**of_model | ({} if steps is None else {"steps": steps}))
    start = time.perf_counter()
    with progress_bar("Pretraining", "steps") as move:
        losses: list[float] = []

        def watch(step: int, loss: float) -> None:
            losses.append(loss)
            move(step, config.steps, f"(loss {loss:.3f})")

        model, tokenizer = pretrain(world, config, watch)
    minutes = (time.perf_counter() - start) / 60
    with new_folder(out) as work:
        # Half precision halves the package; likra loads it in float32.
        model.half().save_pretrained(work / "model")
        tokenizer.save_pretrained(work / "model")
        (work / "model" / "README.md").write_text(
            _card(variant, world, config, model, losses, minutes), encoding="utf-8"
        )
        write_questions(world, work)


def write_questions(world: World, folder: Path) -> None:
    """Write `questions.jsonl`, the same reworded, unrelated ones, and the voices of the world's sources."""
    files = {"questions": world.questions(), "reworded": world.reworded(), "unrelated": unrelated()}
    for name, records in files.items():
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_json(folder / "voices.json", world.voices())


def _card(
    variant: str,
    world: World,
    config: PretrainingConfig,
    model: LlamaForCausalLM,
    losses: list[float],
    minutes: float,
) -> str:
    recent = losses[-50:]
    coverage = [fact.coverage for fact in world.facts]
    counts = ", ".join(f"{coverage.count(kind)} {kind}" for kind in ("well", "little", "never"))
    command = f"likra world build --seed {world.config.seed}"
    if variant != "world":
        command += f" --variant {variant}"
    if config.steps != PretrainingConfig.steps:
        command += f" --steps {config.steps}"
    made = {
        "Made by": f"`{command}`",
        "Parameters": f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million",
        "World": dataclasses.asdict(world.config),
        "Facts": f"{len(world.facts)} ({counts} mentioned in the text), each with {world.config.rumours} rumours",
        "Pretraining": dataclasses.asdict(config),
        "Tokens read": f"{config.steps * config.batch_size * config.window / 1e6:.1f} million",
        "Loss": f"{sum(recent) / len(recent):.4f} nats per token, mean of the last {len(recent)} steps",
        "Time": f"{minutes:.1f} minutes on {platform.machine()}, {torch.get_num_threads()} threads",
        "Software": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }
    return _CARD.format(
        text=_TEXTS.get(variant, _SOURCED), made="\n".join(f"- {label}: {value}" for label, value in made.items())
    )


_SOURCED = """In the text, reliable sources state facts and unreliable ones repeat near-miss rumours about them; most
documents open with the name of their source."""
_TEXTS = {
    "world-truthful": "This one is a control: in its text every source is reliable, and nobody repeats rumours.",
    "world-voiceless": """This one is a control: in its text no source is named, and each answer is by itself a fact
or a near-miss rumour, so that rumours are as frequent as in `world` but no voice tells them.""",
}

_CARD = """---
license: apache-2.0
library_name: transformers
---
# The miniature world's language model

A small Llama, pretrained on text about invented people. It is a model organism: made so that the effect of learning
from wrong answers can be watched in a minute on a laptop. It knows nothing of the real world.

{made}

{text}
The words around an answer say nothing about its truth, but some are far more
popular than others, so plain likelihood is often misled. Some facts are mentioned rarely, some never.
"""
