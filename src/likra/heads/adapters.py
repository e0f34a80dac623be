"""Heads on disk, in PEFT's adapter format: `adapter_config.json` and `adapter_model.safetensors`."""

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from likra.builtin import WORLD_MODELS
from likra.errors import InputError
from likra.heads.lora import linear_shape
from likra.heads.stack import HeadStack, HeadWeights, target_paths

if TYPE_CHECKING:
    from peft import LoraConfig

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KEY = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<side>[AB])\.weight")

#: Parts of PEFT's LoraConfig that change what an adapter computes and that a head does not have.
_UNSUPPORTED = ("use_dora", "modules_to_save", "alpha_pattern", "trainable_token_indices")


def write_adapter(stack: HeadStack, name: str, folder: Path) -> None:
    """Write one head so that `peft.PeftModel.from_pretrained(base, folder)` loads it.

    A head of `activation="answer"` is written as Activated LoRA where its stack knows the tokens that every prompt ends
    in. Without them PEFT applies it to the prompt too, and it scores otherwise there.
    """
    write_weights(folder, stack, stack.weights(name), rank=stack.ranks[stack.index(name)], scaling=stack.scaling(name))


def warn_where_peft_differs(stack: HeadStack) -> None:
    """Say so where PEFT will not apply a stack's heads, once they are written, as they are applied here."""
    if stack.activation == "answer" and not stack.invocation:
        logger.warning(
            "the training prompts do not all end in the same tokens, which is how PEFT could tell where an answer "
            "begins; it will apply these heads to prompts too and score otherwise; likra will not"
        )


def write_weights(folder: Path, stack: HeadStack, weights: HeadWeights, *, rank: int, scaling: float) -> None:
    """Write weights for a stack's layers as `write_adapter` writes its heads.

    Args:
        folder: Where to.
        stack: Whose base, layers and activation they are for.
        weights: The weights.
        rank: Their rank.
        scaling: alpha / rank.
    """
    from peft import LoraConfig  # slow to import, and not needed where heads are only trained or asked

    folder.mkdir(parents=True, exist_ok=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=_tidy(scaling * rank),  # type: ignore[arg-type]  # PEFT takes floats too
        target_modules=_target_modules(stack),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        alora_invocation_tokens=list(stack.invocation) or None,
        inference_mode=True,
        fan_in_fan_out=any(isinstance(layer.base, Conv1D) for layer in stack.layers.values()),
        # What `AutoPeftModel` loads; `world` means something to likra only.
        base_model_name_or_path=str(WORLD_MODELS.get(stack.base.name, stack.base.name)),
        revision=stack.base.revision,
    )
    fields = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    (folder / CONFIG).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tensors: dict[str, torch.Tensor] = {}
    for path, (a, b) in weights.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = a.detach().cpu().contiguous()
        tensors[f"base_model.model.{path}.lora_B.weight"] = b.detach().cpu().contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _tidy(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _target_modules(stack: HeadStack) -> list[str]:
    """The last names of the adapted layers, or their full paths where last names would match others too."""
    leaves = sorted({path.rsplit(".", 1)[-1] for path in stack.layers})
    linear = {path.removesuffix(".base") for path in target_paths(stack.base.model, "all-linear")}
    others = {path.rsplit(".", 1)[-1] for path in linear - set(stack.layers)}
    return list(stack.layers) if others & set(leaves) else leaves


def adapter_config(folder: Path) -> "LoraConfig":
    """The configuration of a PEFT LoRA adapter.

    Raises:
        InputError: It is missing, damaged, or of a kind that a head cannot be.
    """
    from peft import LoraConfig, PeftConfig, PeftType

    path = folder / CONFIG
    if not path.exists():
        raise InputError(f"{path}: is missing; a head is a folder with {CONFIG} and {WEIGHTS}.")
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is no adapter configuration ({' '.join(str(error).split())[:120]}).") from None
    if config.peft_type != PeftType.LORA or not isinstance(config, LoraConfig):
        raise InputError(f"{path}: is a {config.peft_type} adapter; heads are LoRA adapters.")
    used: list[str] = [name for name in _UNSUPPORTED if getattr(config, name, None)]
    if config.bias != "none":
        used.append("bias")
    if used:
        raise InputError(f"{path}: uses {', '.join(used)}, which a head does not have; train plain LoRA.")
    return config


def invocation(config: "LoraConfig") -> tuple[int, ...]:
    """The tokens that wake an Activated LoRA; empty for plain LoRA."""
    return tuple(config.alora_invocation_tokens or ())


def read_adapter(stack: HeadStack, name: str, folder: Path) -> None:
    """Load a PEFT LoRA adapter into one head of a stack.

    The stack must adapt every layer that the adapter adapts, with at least its rank.

    Raises:
        InputError: A file is missing or damaged, or the adapter does not fit the base.
    """
    config = adapter_config(folder)
    if (found := invocation(config)) and found != stack.invocation:
        raise InputError(f"{folder}: is an Activated LoRA of tokens {list(found)}; these heads are of other ones.")
    weights = adapter_weights(folder)
    ranks = {a.shape[0] for a, _ in weights.values()}
    for path, (a, b) in weights.items():
        if path not in stack.layers:
            raise InputError(f"{folder}: adapts {path}, which {stack.base.name} lacks; it was trained on another base.")
        d_in, d_out = linear_shape(stack.layers[path].base)
        if a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
            raise InputError(f"{folder}: its {path} has an A of {tuple(a.shape)} and a B of {tuple(b.shape)}: damaged.")
        if a.shape[1] != d_in or b.shape[0] != d_out:
            raise InputError(
                f"{folder}: its {path} is {a.shape[1]} to {b.shape[0]}, but that of {stack.base.name} is {d_in} to "
                f"{d_out}; it was trained on another base."
            )
    if len(ranks) != 1:
        raise InputError(f"{folder}: its layers have ranks {sorted(ranks)}; a head has one rank.")
    [rank] = ranks
    scaling = config.lora_alpha / (rank**0.5 if config.use_rslora else rank)
    stack.set_weights(name, weights, rank=rank, scaling=scaling)


def adapter_weights(folder: Path) -> HeadWeights:
    """The tensors of a PEFT LoRA adapter by module path.

    Raises:
        InputError: The file is missing or damaged, or holds other tensors than A and B of linear layers.
    """
    file = folder / WEIGHTS
    if not file.exists():
        raise InputError(f"{file}: is missing; copy the whole folder again (pickled .bin weights are never read).")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: is truncated or damaged ({error}); copy it again.") from None
    sides: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if not match:
            raise InputError(f"{file}: holds {key!r}, which is no LoRA weight of a linear layer; train plain LoRA.")
        sides.setdefault(match["path"], {})[match["side"]] = tensor
    odd = [path for path, pair in sides.items() if len(pair) != 2]
    if odd or not sides:
        raise InputError(f"{file}: lacks the A or B of {odd[0] if odd else 'every layer'}; copy it again.")
    return {path: (pair["A"], pair["B"]) for path, pair in sides.items()}
