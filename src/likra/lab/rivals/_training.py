"""Training of rivals by TRL's own trainers, on likra's own tokens."""

import copy
import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

from likra.data.conversation import Context
from likra.data.tokens import TokenizedExample
from likra.errors import InputError, TrainingDiverged
from likra.lab.rivals._methods import Encoded, Training, check_trl
from likra.models.base import Base
from likra.models.lora_config import scaling_of
from likra.models.stack import HeadStack, HeadWeights
from likra.scoring.likelihoods import Floats
from likra.training.config import TrainingConfig
from likra.utils import parallel

_ROWS = 32  # sequences that the reward head reads at a time


@dataclass(frozen=True)
class Triple:
    """A prompt with a right and a wrong completion, each with the space that separates it from the prompt."""

    prompt: Context
    right: str
    wrong: str


@dataclass(frozen=True)
class Trained:
    """A rival after some training.

    Attributes:
        method: Its name.
        weights: Its adapter, as `HeadStack.set_weights` takes it. They are copies: further training does not change
            them. A reward head's adapter says nothing without the head; ask for `rewards`.
        rank: Rank of the adapter.
        scaling: Scaling of the adapter, alpha / rank.
    """

    method: str
    weights: HeadWeights
    rank: int
    scaling: float
    _read: Callable[[Sequence[TokenizedExample]], Floats] | None = field(default=None, repr=False)

    def rewards(self, pairs: Sequence[TokenizedExample]) -> Floats:
        """The reward of each pair's context and completion, [pairs]: a higher one is better.

        It is read at the last token that is not the padding token, as transformers does. A pair that is longer than
        the model can read loses tokens from its left.

        Raises:
            InputError: The method is not `reward`, or training has gone on since: ask within `visit`.
        """
        if self._read is None:
            raise InputError(f"{self.method}: has no reward head; load its weights into a HeadStack.")
        return self._read(pairs)


def train_rival(
    rival: Training,
    base: Base,
    triples: Sequence[Triple],
    sizes: Sequence[int],
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    visit: Callable[[int, Trained], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Train a rival with TRL in one pass over the triples, in their order, and show it at every size on the way.

    It learns from the tokens that likra's heads learn from (no EOS is added), as they do: LoRA on the same layers with
    the first weights of a likra head of that seed, Adam at a constant learning rate, no dropout, no clipping. A step
    takes `config.per_device_train_batch_size` triples.

    The base stays as it is: TRL works on a copy of its modules that shares its parameters. `visit` may attach heads to
    the base as long as it removes them. The state of torch's global random generator is not kept.

    Args:
        rival: How TRL trains it.
        base: The base model, in float32, without heads.
        triples: Training data, at least as many as the largest size.
        sizes: Rising numbers of triples; 0 is the untrained rival. All but the last are multiples of the batch size.
        config: Its schedule must be constant, without warm-up, over one epoch; its seed is not used.
        seed: Seed of the first weights.
        folder: TRL's output folder; nothing is saved in it.
        visit: Called with (size, the trained rival) when that many triples have been seen.
        progress: Called with (steps done, steps in all).

    Returns:
        The loss of each step in nats, as TRL logs it: a mean over the triples (over the rows of both kinds for KTO),
        before the step is taken.

    Raises:
        InputError: TRL is missing, it cannot train so, or training diverged.
    """
    sizes = list(sizes)
    _check(base, len(triples), sizes, config)
    total, batch = sizes[-1], config.per_device_train_batch_size
    steps = math.ceil(total / batch)
    encoded = [_encode(base, triple) for triple in triples[: max(1, total)]]  # TRL wants data even to do nothing
    first = _first_weights(base, config, seed)
    trainer = _trainer(rival, base, rival.rows(encoded, batch), config, first, seed, folder)
    model = trainer.model

    def show(size: int) -> None:
        weights = _weights(model, first)
        if not all(tensor.isfinite().all() for pair in weights.values() for tensor in pair):
            raise TrainingDiverged(f"{rival.name}: training diverged within {size} triples; use a lower --lr.")
        step = trainer.state.global_step

        def read(pairs: Sequence[TokenizedExample]) -> Floats:
            if trainer.state.global_step != step:
                raise InputError(f"reward after {size} triples: training has gone on; ask for rewards within `visit`.")
            return _rewards(model, pairs, trainer.processing_class.pad_token_id, base.max_length)

        training = model.training
        model.eval()
        try:
            trained = Trained(
                rival.name,
                weights,
                config.lora.r,
                scaling_of(config.lora),
                read if rival.reward_head else None,
            )
            visit(size, trained)
        finally:
            model.train(training)

    def stepped(step: int) -> None:
        progress(step, steps)
        if (seen := min(total, step * batch)) in sizes:
            show(seen)

    trainer.add_callback(_on_step_end(stepped))
    if sizes[0] == 0:
        show(0)
    if total:
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def _check(base: Base, triples: int, sizes: list[int], config: TrainingConfig) -> None:
    if not sizes or sizes[0] < 0 or sizes != sorted(set(sizes)):
        raise InputError("--sizes: give one or more rising numbers of training triples, 0 or more.")
    if max(1, sizes[-1]) > triples:
        raise InputError(f"--sizes {sizes[-1]}: there are only {triples} training triples.")
    odd = [size for size in sizes[:-1] if size % config.per_device_train_batch_size]
    if odd:
        raise InputError(
            f"--sizes {odd[0]}: every size but the last must be a multiple of {config.per_device_train_batch_size}."
        )
    plain = TrainingConfig()
    asked = ("lr_scheduler_type", "warmup_ratio", "num_train_epochs", "gradient_accumulation_steps", "adapt", "loss")
    for name in asked:
        if getattr(config, name) != getattr(plain, name):
            raise InputError(
                f"training config: {name} {getattr(config, name)!r}: rivals are trained with the default only."
            )
    if any(parameter.dtype != torch.float32 for parameter in base.model.parameters()):
        raise InputError(f"{base.name}: rivals are trained on a base in float32; pass --dtype float32.")
    if parallel.world() > 1 or (base.device.type == "cuda" and torch.cuda.device_count() > 1):
        raise InputError("rivals are trained by one process on one device; set CUDA_VISIBLE_DEVICES to one GPU.")


def _encode(base: Base, triple: Triple) -> Encoded:
    """Token ids of a triple's prompt, right and wrong completion; the prompt is the same for both."""
    # The trainers' forward passes read the last token too, which likra's only predict: one fewer of the prompt fits.
    right, wrong = base.encode_pairs(triple.prompt, [triple.right, triple.wrong], base.max_length - 1)
    prompt = min(right.context, wrong.context, key=len)  # one may be cut further from the left
    return list(prompt), list(right.completion), list(wrong.completion)


def _first_weights(base: Base, config: TrainingConfig, seed: int) -> dict[str, torch.Tensor]:
    """The A [r, D_in] of every adapted layer, as a likra head of that seed has them at first."""
    stack = HeadStack(base, ["rival"], lora=config.lora, seeds=[seed])
    first = {path: a.clone() for path, (a, _) in stack.weights("rival").items()}
    stack.remove()
    return first


def _trainer(
    rival: Training,
    base: Base,
    rows: list[dict[str, Any]],
    config: TrainingConfig,
    first: dict[str, torch.Tensor],
    seed: int,
    folder: Path,
) -> Any:
    """TRL's trainer of a rival, about to take its first step."""
    check_trl()
    trl: Any = importlib.import_module("trl")  # not by name: it may be absent, and its names are made on the fly
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback

    trainer_class, config_class, own = rival.trainer(trl)
    tokenizer = copy.deepcopy(base.tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= base.rows:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(f"{base.name}: its tokenizer has neither a padding token nor an EOS, which TRL pads with.")
    model = _twin(base)
    for told in (model.config.get_text_config(), model.generation_config):
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            setattr(told, name, getattr(tokenizer, name))  # the trainers would do so with a warning
    if rival.reward_head:
        model = _with_reward_head(model, base.name, seed)
    arguments = config_class(
        output_dir=str(folder),
        per_device_train_batch_size=config.per_device_train_batch_size * rival.rows_per_triple,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        max_length=base.max_length,  # all rows fit; those that KTO mixes for z may not, and are cut
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant",
        optim="adamw_torch",  # without weight decay it is Adam
        weight_decay=0.0,
        max_grad_norm=0.0,
        bf16=config.bf16,
        gradient_checkpointing=config.gradient_checkpointing,
        seed=seed,
        use_cpu=base.device.type == "cpu",
        dataloader_pin_memory=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **own,
    )
    lora = LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.lora_alpha,  # type: ignore[arg-type]  # PEFT takes floats too
        use_rslora=config.lora.use_rslora,
        target_modules=list(first),
        lora_dropout=0.0,
        task_type="SEQ_CLS" if rival.reward_head else "CAUSAL_LM",
        modules_to_save=["score"] if rival.reward_head else None,
        fan_in_fan_out=any(isinstance(base.model.get_submodule(path), Conv1D) for path in first),
    )
    # TRL would add an EOS to every completion, which likra's heads do not learn; and it reports each use to its makers.
    given = type(
        "LikraTokens",
        (trainer_class,),
        {"_prepare_dataset": lambda self, dataset, *_: dataset, "_send_telemetry": lambda self: None},
    )
    trainer = given(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora
    )
    trainer.remove_callback(PrinterCallback)
    for path, a in first.items():
        _layer(trainer.model, path).lora_A["default"].weight.data.copy_(a)
    return trainer


def _twin(base: Base) -> Any:
    """The base's model once more, without dropout, on the same parameters; what is done to its modules stays there."""
    model = copy.deepcopy(base.model, {id(parameter): parameter for parameter in base.model.parameters()})
    for module in model.modules():
        for name, value in vars(module).items():
            # TRL switches dropout modules off, but not the rates that some layers hand to functions.
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    return model


def _with_reward_head(model: Any, name: str, seed: int) -> Any:
    """The decoder of a causal language model under a new linear head of one output, drawn as transformers draws it."""
    config = model.config
    config.num_labels = 1
    try:
        with torch.device("meta"):  # its own decoder is never used
            head = AutoModelForSequenceClassification.from_config(config)
    except ValueError:
        raise InputError(f"{name}: transformers has no reward head for this architecture.") from None
    setattr(head, head.base_model_prefix, model.base_model)
    score = nn.Linear(config.get_text_config().hidden_size, 1, bias=False)
    deviation = getattr(config.get_text_config(), "initializer_range", 0.02)
    nn.init.normal_(score.weight, 0, deviation, generator=torch.Generator().manual_seed(seed))
    head.score = score.to(model.device)
    if any(parameter.is_meta for parameter in head.parameters()):
        raise InputError(f"{name}: its reward head in transformers is more than one linear layer.")
    return head.eval()


def _layer(model: Any, path: str) -> Any:
    """PEFT's LoRA layer at a path of the base."""
    return model.base_model.model.get_submodule(path)


def _weights(model: Any, paths: Iterable[str]) -> HeadWeights:
    """Copies of an adapter's A and B."""
    layers = {path: _layer(model, path) for path in paths}
    return {
        path: (layer.lora_A["default"].weight.detach().clone(), layer.lora_B["default"].weight.detach().clone())
        for path, layer in layers.items()
    }


@torch.no_grad()
def _rewards(model: Any, pairs: Sequence[TokenizedExample], padding: int, longest: int) -> Floats:
    """Rewards [pairs], in batches of pairs of like length."""
    rows = [(pair.context + pair.completion)[-longest:] for pair in pairs]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    reward_P = np.zeros(len(rows))
    for start in range(0, len(order), _ROWS):
        some = order[start : start + _ROWS]
        length_R = torch.tensor([len(rows[row]) for row in some])
        length = int(length_R.max())
        ids_RT = torch.tensor([[*rows[row], *[padding] * (length - len(rows[row]))] for row in some])
        mask_RT = (torch.arange(length) < length_R[:, None]).long()
        logits_R1 = model(input_ids=ids_RT.to(model.device), attention_mask=mask_RT.to(model.device)).logits
        reward_P[some] = logits_R1[:, 0].float().cpu().numpy()
    return reward_P


def _on_step_end(act: Callable[[int], None]) -> Any:
    """A callback for transformers' trainer that calls `act` with the number of steps taken, after each."""
    from transformers import TrainerCallback

    class OnStepEnd(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            act(state.global_step)

    return OnStepEnd()
