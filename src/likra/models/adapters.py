"""Heads on disk, in PEFT's adapter format: `adapter_config.json` and `adapter_model.safetensors`."""

import json
import logging
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.pytorch_utils import Conv1D

from likra.errors import InputError
from likra.models.base import Base
from likra.models.lora import linear_shape
from likra.models.lora_config import ALL_LINEAR, scaling
from likra.models.stack import HeadStack, HeadWeights, check_finite, target_paths
from likra.utils import hub_client
from likra.utils.embedded import embedded_models
from likra.utils.locations import CONFIG, WEIGHTS

logger = logging.getLogger(__name__)

_KEY = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<side>[AB])\.weight")

#: Fields of `adapter_config.json` that may have any value: they are read here, the weights show what they did, or they
#: matter only while PEFT trains. All others, those of a later PEFT too, must be as if they were not there.
_NEUTRAL = frozenset(
    [
        *("peft_type", "r", "lora_alpha", "use_rslora", "alora_invocation_tokens"),  # read here
        # The weights show which layers are adapted, and with what rank.
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern"),
        *("target_parameters", "fan_in_fan_out"),
        # Of training, and of the first weights: `init_lora_weights` is looked at by itself.
        *("init_lora_weights", "lora_dropout", "eva_config", "corda_config", "lora_ga_config", "loftq_config"),
        *("task_type", "inference_mode", "auto_mapping", "peft_version", "runtime_config"),
        *("base_model_name_or_path", "revision"),  # `warn_of_another_base` looks at them
        *("megatron_core", "qalora_group_size"),  # of `megatron_config` and `use_qalora`, which must be off
    ]
)
#: First weights of an adapter that do not change the base's own. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA take away
#: part of the base's weights; such an adapter is for what is left of them.
_FIRST_WEIGHTS = ("gaussian", "eva", "orthogonal", "mica")  # beside true, false and none


def write_adapter(stack: HeadStack, name: str, folder: Path) -> None:
    """Write one head so that `peft.PeftModel.from_pretrained(base, folder)` loads it.

    A head of `adapt="completion"` is written as Activated LoRA where its stack knows the tokens that every prompt ends
    in. Without them PEFT applies it to the prompt too, and it scores otherwise there.
    """
    write_weights(folder, stack, stack.weights(name), rank=stack.ranks[stack.index(name)], scaling=stack.scaling(name))


def warn_where_peft_differs(stack: HeadStack) -> None:
    """Warn where PEFT will not apply a stack's heads, once they are written, as they are applied here."""
    if stack.adapt == "completion" and not stack.invocation_tokens:
        logger.warning(
            "the training prompts do not all end in the same tokens, which is how PEFT could tell where an answer "
            "begins; it will apply these heads to prompts too and score otherwise; likra will not"
        )


def write_weights(folder: Path, stack: HeadStack, weights: HeadWeights, *, rank: int, scaling: float) -> None:
    """Write weights for a stack's layers as `write_adapter` writes its heads.

    Args:
        folder: Where to.
        stack: Whose base and layers they are for, and where they act.
        weights: The weights.
        rank: Their rank.
        scaling: alpha / rank.

    Raises:
        InputError: A weight is not finite; nothing is written.
    """
    check_finite(weights, scaling)
    from peft import LoraConfig  # slow to import, and not needed where heads are only trained or scored with

    folder.mkdir(parents=True, exist_ok=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=_tidy(scaling * rank),  # type: ignore[arg-type]  # PEFT takes floats too
        target_modules=_target_modules(stack),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        alora_invocation_tokens=list(stack.invocation_tokens) or None,
        inference_mode=True,
        fan_in_fan_out=any(isinstance(layer.base, Conv1D) for layer in stack.layers.values()),
        # What `AutoPeftModel` loads; an embedded name means something to likra only.
        base_model_name_or_path=str(embedded_models().get(stack.base.name, stack.base.name)),
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


@dataclass(frozen=True)
class AdapterConfig:
    """What is read of a PEFT LoRA adapter's configuration; a field that the file lacks is as PEFT would have it."""

    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    alora_invocation_tokens: list[int] | None = None
    rank_pattern: dict[str, int] | None = None
    target_parameters: list[str] | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None


def adapter_config(folder: Path) -> AdapterConfig:
    """The configuration of a PEFT LoRA adapter. (PEFT itself is slow to import, and drops fields it does not know.)

    Raises:
        InputError: It is missing, damaged, or of a kind that a head cannot be.
    """
    path = folder / CONFIG
    if not path.exists():
        raise InputError(f"{path}: is missing; a head is a folder with {CONFIG} and {WEIGHTS}.")
    try:
        fields = dict(json.loads(path.read_text(encoding="utf-8")))
        kind = fields["peft_type"]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: is not an adapter configuration ({' '.join(str(error).split())[:120]}).") from None
    if kind != "LORA":
        raise InputError(f"{path}: is a {kind} adapter; heads are LoRA adapters.")
    first = fields.get("init_lora_weights")
    if not (first is None or isinstance(first, bool) or str(first).lower() in _FIRST_WEIGHTS):
        raise InputError(
            f"{path}: uses init_lora_weights {json.dumps(first)}, which may change the base's own weights; turn it "
            "into plain LoRA with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=...)."
        )
    used = [
        f"{name} ({textwrap.shorten(json.dumps(value), 60)})"
        for name, value in fields.items()
        if name not in _NEUTRAL and value and not (name == "bias" and value == "none")
    ]
    if used:
        raise InputError(f"{path}: uses {', '.join(used)}, which a head does not have; train plain LoRA.")
    config = AdapterConfig(**{name: fields[name] for name in AdapterConfig.__dataclass_fields__ if name in fields})
    alpha, tokens = config.lora_alpha, config.alora_invocation_tokens or []
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e30:
        raise InputError(f"{path}: its lora_alpha is {json.dumps(alpha)}, which is not a number; correct it.")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise InputError(f"{path}: its alora_invocation_tokens are not token ids; correct them.")
    return config


def warn_of_another_base(folder: Path, base: Base) -> None:
    """Warn where an adapter's configuration names another base, or commit of it, than the one it is loaded on."""
    config = adapter_config(folder)
    named, here = config.base_model_name_or_path, str(embedded_models().get(base.name, base.name))
    if not named or here == type(base.model).__name__:  # a model in memory may have no name
        return
    commits = {commit for commit in (config.revision, base.revision) if re.fullmatch("[0-9a-f]{40}", str(commit))}
    if not _same_model(str(named), here) or len(commits) > 1:
        logger.warning(
            "%s: its %s names %s as its base, but this is %s; if that is another model, what it scores means nothing",
            folder,
            CONFIG,
            named if len(commits) < 2 else f"{named} at {config.revision}",
            base.name if len(commits) < 2 else f"{base.name} at {base.revision}",
        )


def _same_model(one: str, other: str) -> bool:
    """Whether two names can be of one model: a hub id and a folder called alike can, two hub ids that differ cannot."""
    ids = []
    for name in (one, other):
        cached = re.search(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots", name)
        ids.append(f"{cached[1]}/{cached[2]}" if cached else name.replace("\\", "/").rstrip("/"))
    first, second = ids
    if first == second or Path(first).resolve() == Path(second).resolve():
        return True
    both_hub = all(hub_client.is_id(name) and not Path(name).is_dir() for name in ids)
    return not both_hub and first.rsplit("/", 1)[-1].lower() == second.rsplit("/", 1)[-1].lower()


def invocation(config: AdapterConfig) -> tuple[int, ...]:
    """The tokens from which on an Activated LoRA acts; empty for plain LoRA."""
    return tuple(config.alora_invocation_tokens or ())


def read_adapter(stack: HeadStack, name: str, folder: Path, weights: HeadWeights | None = None) -> None:
    """Load a PEFT LoRA adapter into one head of a stack.

    The stack must adapt every layer that the adapter adapts, with at least its rank.

    Args:
        stack: The stack.
        name: The head's name in it.
        folder: The adapter's.
        weights: What `adapter_weights` read there, where that was done before.

    Raises:
        InputError: A file is missing or damaged, or the adapter does not fit the base.
    """
    config = adapter_config(folder)
    if (found := invocation(config)) and found != stack.invocation_tokens:
        raise InputError(f"{folder}: is an Activated LoRA of tokens {list(found)}; these heads are of other ones.")
    weights = adapter_weights(folder) if weights is None else weights
    check_layers(folder, weights, stack.base)
    ranks = {a.shape[0] for a, _ in weights.values()}
    for path, (a, b) in weights.items():
        if path not in stack.layers:
            raise InputError(f"{folder}: adapts {path}, which these heads do not; make a stack that adapts it too.")
        if config.target_parameters and isinstance(stack.layers[path].base, Conv1D):
            raise InputError(
                f"{folder}: adapts {path} by target_parameters, which turns a Conv1D's update round; train it with "
                "that layer in target_modules."
            )
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
    if rank != config.r and not config.rank_pattern:  # the update is divided by it
        raise InputError(f"{folder}: its layers have rank {rank}, but {CONFIG} says r is {config.r}; copy both again.")
    try:
        stack.set_weights(name, weights, rank=rank, scaling=scaling(config.lora_alpha, rank, config.use_rslora))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def check_layers(folder: Path, paths: Iterable[str], base: Base) -> None:
    """Raise InputError unless heads on this base can adapt every layer that an adapter adapts.

    Args:
        folder: The adapter's.
        paths: Its layers.
        base: The base, which may carry heads.
    """
    known = {path.removesuffix(".base") for path in target_paths(base.model, ALL_LINEAR)}
    modules = dict(base.model.named_modules())
    output = getattr(base.model, "get_output_embeddings", lambda: None)()
    for path in paths:
        if path in known:
            continue
        if path not in modules:
            raise InputError(f"{folder}: adapts {path}, which {base.name} lacks; it was trained on another base.")
        what = "the output layer" if modules[path] is output else "anything but linear layers that text passes through"
        raise InputError(
            f"{folder}: adapts {path}, but heads do not adapt {what}; train it without {path.rsplit('.', 1)[-1]} among "
            "its target_modules."
        )


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
            raise InputError(
                f"{file}: holds {key!r}, which is not a LoRA weight of a linear layer; train plain LoRA, and leave the "
                "output layer and the embeddings out of its target_modules."
            )
        sides.setdefault(match["path"], {})[match["side"]] = tensor
    odd = [path for path, pair in sides.items() if len(pair) != 2]
    if odd or not sides:
        raise InputError(f"{file}: lacks the A or B of {odd[0] if odd else 'every layer'}; copy it again.")
    return {path: (pair["A"], pair["B"]) for path, pair in sides.items()}
