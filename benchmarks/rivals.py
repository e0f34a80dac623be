"""The other side of the benchmarks: plain PEFT, TRL's trainer and lm-evaluation-harness, as they are used today."""

import gc
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from likra.data import Prompter, Question, TokenizedExample
from likra.models.base import Base
from likra.models.lora_config import lora_config
from likra.models.stack import HeadStack
from likra.training.config import TrainingConfig

Weights = dict[str, torch.Tensor]


def hflm(model: Path, adapter: Path | None, batch: int = 1) -> Any:
    """The harness's own model of one reader: the base, or a head as a PEFT adapter on it."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(model), peft=adapter and str(adapter), dtype="float32", batch_size=batch, device="cpu")


def read(lm: Any, questions: Sequence[Question], prompter: Prompter) -> tuple[float, list[list[float]]]:
    """Seconds, and the log-likelihood of every choice."""
    from lm_eval.api.instance import Instance

    requests = [
        Instance("loglikelihood", {}, pair, index)
        for index, question in enumerate(questions)
        for pair in prompter.pairs(question)
    ]
    start = time.perf_counter()
    found = lm.loglikelihood(requests, disable_tqdm=True)
    took = time.perf_counter() - start
    values = iter(value for value, _ in found)
    return took, [[next(values) for _ in question.choices] for question in questions]


def harness(
    model: Path, adapter: Path | None, questions: list[Question], prompter: Prompter, batch: int, watch: Any = None
) -> tuple[float, Any, list[list[float]]]:
    """Seconds, what `watch(model)` returned, and log-likelihoods of HFLM for one reader; loading is not timed."""
    lm = hflm(model, adapter, batch)
    read(lm, questions[:1], prompter)
    watched = watch(lm.model) if watch else None
    took, result = read(lm, questions, prompter)
    if watched:
        watched.stop()
    del lm
    gc.collect()
    return took, watched, result


def first_weights(base: Base, config: TrainingConfig, seed: int) -> Weights:
    """The A of every layer of a new head, so that all sides start from the same one."""
    stack = HeadStack(base, ["one"], lora=lora_config(r=config.lora.r, lora_alpha=config.lora.lora_alpha), seeds=[seed])
    weights = {path: a.clone() for path, (a, _) in stack.weights("one").items()}
    stack.remove()
    return weights


def order(pairs: Sequence[TokenizedExample], seed: int) -> list[TokenizedExample]:
    """The order in which likra's trainer reads a head's examples."""
    shuffled = list(pairs)
    random.Random(f"{seed} 0").shuffle(shuffled)
    return shuffled


def unshuffled(pairs: Sequence[TokenizedExample], seed: int) -> list[TokenizedExample]:
    """Examples that `order` brings into the order given."""
    result: list[Any] = [None] * len(pairs)
    for pair, place in zip(pairs, order(range(len(pairs)), seed), strict=True):  # type: ignore[arg-type]
        result[place] = pair  # type: ignore[call-overload]
    return result


def adapted(base: Base, config: TrainingConfig, weights: Weights, wakes: Sequence[int]) -> Any:
    """A PEFT model with one fresh adapter; it changes the base's model in place, `unload()` puts it back."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.lora_alpha,
        target_modules=sorted({path.rsplit(".", 1)[-1] for path in weights}),
        task_type="CAUSAL_LM",
        alora_invocation_tokens=list(wakes) or None,
    )
    model = get_peft_model(base.model, config)
    for path, a in weights.items():
        model.base_model.model.get_submodule(path).lora_A["default"].weight.data.copy_(a)
    return model


def peft_loop(
    base: Base,
    pairs: Sequence[TokenizedExample],
    config: TrainingConfig,
    weights: Weights,
    wakes: Sequence[int] = (),
    seed: int = 0,
) -> tuple[list[float], list[float], Any]:
    """A plain training loop on one PEFT adapter: seconds and loss of each step, and the PEFT model."""
    model = adapted(base, config, weights, wakes).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.learning_rate)
    shuffled, size = order(pairs, seed), config.per_device_train_batch_size
    took, losses = [], []
    for start in range(0, len(shuffled), size):
        began = time.perf_counter()
        batch = shuffled[start : start + size]
        length = max(len(pair.context) + len(pair.completion) for pair in batch)
        ids = torch.zeros(len(batch), length, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, pair in enumerate(batch):
            end = len(pair.context) + len(pair.completion)
            ids[row, :end] = torch.tensor(pair.context + pair.completion)
            mask[row, :end] = 1
            labels[row, len(pair.context) : end] = torch.tensor(pair.completion)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        took.append(time.perf_counter() - began)
    return took, losses, model.eval()


def trl_trainer(
    base: Base, pairs: Sequence[TokenizedExample], config: TrainingConfig, weights: Weights, folder: Path
) -> tuple[list[float], list[float]]:
    """TRL's SFTTrainer on one PEFT adapter: seconds and loss of each step."""
    from datasets import Dataset, disable_progress_bars
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    took: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            took.append(time.perf_counter() - self.began)

    data = Dataset.from_list(
        [
            {
                "input_ids": list(pair.context + pair.completion),
                "completion_mask": [0] * len(pair.context) + [1] * len(pair.completion),
            }
            for pair in order(pairs, config.seed)
        ]
    )
    trainer = InOrder(
        model=adapted(base, config, weights, ()),
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=config.per_device_train_batch_size,
            learning_rate=config.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=0.0,
            num_train_epochs=1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            completion_only_loss=True,
            disable_tqdm=True,
            max_length=None,
            dataloader_pin_memory=False,
        ),
        train_dataset=data,
        processing_class=base.tokenizer,
        callbacks=[Clock()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trainer.model.unload()
    base.model.requires_grad_(False)
    return took, losses
