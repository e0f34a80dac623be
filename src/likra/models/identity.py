"""What tells one base from another: its configuration, its tokenizer, and every one of its weights."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers
import torch
import transformers
from torch import nn

from likra.models.lora import StackedLora
from likra.models.unchanged import Checksums
from likra.utils.files import sha256

#: Fields of a model's configuration that change nothing that is computed here. Beside them: those that begin with an
#: underscore (where it came from, which attention kernel is used) and dropout, which stays off.
_NEUTRAL = frozenset(
    [
        *(
            "transformers_version",
            "name_or_path",
            "architectures",
            "auto_map",
            "tokenizer_class",
            "task_specific_params",
        ),
        *("dtype", "torch_dtype", "quantization_config", "attn_implementation"),  # looked at by themselves
        *("use_cache", "return_dict", "use_return_dict", "output_attentions", "output_hidden_states"),
        *("initializer_range", "initializer_factor", "id2label", "label2id", "problem_type", "finetuning_task"),
        *("bos_token_id", "eos_token_id", "pad_token_id"),  # of generation; what is read goes by the tokenizer's
        *("output_router_logits", "router_aux_loss_coef", "router_z_loss_coef"),  # of losses
        *("chunk_size_feed_forward", "pretraining_tp", "use_bfloat16", "unsloth_version", "unsloth_fixed"),
        *("temperature", "top_k", "top_p", "do_sample", "max_length", "min_length", "num_beams", "repetition_penalty"),
    ]
)
#: Text of many kinds, to see what a tokenizer does with it.
_SAMPLE = (
    "Question: Who's there?\nAnswer: It's 2,048 o'clock -- don't!  \r\n\tdef f(x): return x**2 != 3.5e-7 # ¿Qué? "
    "naïve cafe\u0301 ﬁn ½ straße ΑΒΓ Привет, 東京 の 天気 مرحبا हिन्दी 👩‍👩‍👧 <s> </s> <|endoftext|>"
)
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
#: What a weight may have been rounded to where a base differs in precision alone.
_ROUNDED = (torch.bfloat16, torch.float16)

_WIDTH = 2**15
# From a hash, so that they are the same with every version of every library; odd, so that no single change is lost.
_FACTORS = torch.from_numpy(np.frombuffer(hashlib.shake_128(b"likra").digest(8 * _WIDTH), "<i8") | 1)


def checksum(tensor: torch.Tensor, *rounding: torch.dtype) -> str:
    """Checksum of every bit of a tensor.

    A weighted sum of its 64-bit words modulo 2^64: the same on every device and in every order of adding, as fast as
    memory is read, and never the same after a change of one word. It does not protect from someone who wants two
    tensors to have the same.

    Args:
        tensor: On any device.
        rounding: Types that its values are converted to first, one after another.
    """
    flat = tensor.detach().contiguous().flatten()
    factors = _FACTORS.to(flat.device)
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    # Parts that fit in a CPU's cache, or that keep a GPU busy; whole rows, whatever the type.
    step, row = (2**18 if flat.device.type == "cpu" else 2**24), 0
    for part in flat.split(step):
        for dtype in rounding:
            part = part.to(dtype)
        octets = part.view(torch.uint8)
        if lacking := -len(octets) % (8 * _WIDTH):
            octets = torch.cat([octets, octets.new_zeros(lacking)])
        elif octets.storage_offset() % 8:
            octets = octets.clone()
        words = octets.view(torch.int64).view(len(octets) // (8 * _WIDTH), _WIDTH)
        rows = torch.arange(row, row + len(words), device=flat.device)
        total += ((words * factors).sum(1) * (2 * rows + 1)).sum()
        row += len(words)
    return f"{int(total) % 2**64:016x}"


def _values(tensor: torch.Tensor) -> str:
    return checksum(tensor, torch.float32) if tensor.dtype in _FLOATS else checksum(tensor)


#: Of values in float32, to which half precision is widened without loss; of all bits of a quantised tensor.
CHECKSUMS = Checksums(_values)


def content(model: nn.Module) -> str:
    """Digest of every bit of a model's parameters and buffers, as they are now."""
    digest = hashlib.sha256()
    for name, tensor in {**dict(model.named_buffers()), **dict(weights_of(model))}.items():
        found = checksum(tensor) if tensor.dtype == torch.float64 else CHECKSUMS.of(tensor)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {found}".encode())
    return digest.hexdigest()


def weights_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """A model's parameters and buffers by name, as they would be named if it carried no heads."""
    heads = [f"{path}." for path, module in model.named_modules() if isinstance(module, StackedLora)]
    own = {f"{path}base.": path for path in heads}
    hidden = {f"{path}{side}" for path in heads for side in "ab"}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.Tensor) and name not in hidden:
            path, dot, leaf = name.rpartition(".")
            yield own.get(path + dot, path + dot) + leaf, tensor


@dataclass(frozen=True)
class Weight:
    """One weight's shape and checksums.

    Attributes:
        shape: `512x64`.
        kind: `float`, or the type of a quantised one.
        values: Checksum of its values in float32, to which half precision is widened without loss.
        rounded: Gives checksums of its values rounded to bfloat16 and to float16; `-` for a quantised one.
    """

    shape: str
    kind: str
    values: str
    rounded: Callable[[], tuple[str, ...]]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        shape = "x".join(map(str, tensor.shape)) or "1"
        if tensor.dtype not in _FLOATS:
            return cls(shape, str(tensor.dtype).removeprefix("torch."), CHECKSUMS.of(tensor), lambda: ("-", "-"))

        @cache
        def rounded() -> tuple[str, ...]:
            return tuple(checksum(tensor, torch.float32, dtype, torch.float32) for dtype in _ROUNDED)

        return cls(shape, "float", CHECKSUMS.of(tensor), rounded)


@dataclass(frozen=True)
class Identity:
    """What a base computes with.

    Attributes:
        config: The fields of its configuration that matter, nested ones as `rope_parameters.rope_theta`.
        tokenizer: A digest of each part of the tokenizer.
        weights: Every weight.
        dtype: That it was loaded in.
        quantization: How it is quantised, or None.
        stored: Gives the digest of the files that it was loaded from; None where it was not.
        versions: Of the libraries that wrote configuration and tokenizer.
    """

    config: dict[str, Any]
    tokenizer: dict[str, str]
    weights: dict[str, Weight]
    dtype: str
    quantization: str | None
    stored: Callable[[], str | None]
    versions: dict[str, str]

    @classmethod
    def of(cls, model: transformers.PreTrainedModel, tokenizer: Any, files: Path | None) -> Self:
        """That of a model in memory, as it is now.

        Args:
            model: The model; it may carry heads, which count nothing.
            tokenizer: Its tokenizer.
            files: The folder or GGUF file that it was loaded from, if it was.
        """
        return cls(
            config=_config(model),
            tokenizer=_tokenizer(tokenizer),
            weights={name: Weight.of(tensor) for name, tensor in weights_of(model)},
            dtype=str(model.dtype).removeprefix("torch."),
            quantization=_quantization(model),
            stored=lambda: _stored(files) if files else None,
            versions={"transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
        )

    @cached_property
    def digest(self) -> str:
        """A short name for it."""
        values = {name: (weight.shape, weight.values) for name, weight in self.weights.items()}
        return _digest([self.config, self.tokenizer, values])

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        weights = {
            name: " ".join([weight.shape, weight.kind, weight.values, *weight.rounded()])
            for name, weight in self.weights.items()
        }
        fields = {name: getattr(self, name) for name in _PLAIN}
        return {"digest": self.digest, **fields, "stored": self.stored(), "weights": weights}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Of what `as_dict` made.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is something else.
        """

        def read(text: str) -> Weight:
            shape, kind, values, *rounded = text.split(" ")
            if len(rounded) != len(_ROUNDED):
                raise ValueError("its weights are not as they are written")
            return Weight(shape, kind, values, lambda: tuple(rounded))

        stored = fields["stored"]
        for name in ("config", "tokenizer", "versions"):
            if not isinstance(fields[name], dict):
                raise TypeError(f"{name} is {type(fields[name]).__name__}")
        _ = [fields["versions"][name] for name in ("transformers", "tokenizers")]
        return cls(
            weights={name: read(text) for name, text in fields["weights"].items()},
            stored=lambda: stored,
            **{name: fields[name] for name in _PLAIN},
        )

    def differences(self, other: "Identity") -> tuple[list[str], list[str]]:
        """How another base differs from this one.

        Returns:
            What makes it another base, and what differs though it is the same.
        """
        same = {name: self.versions[name] == other.versions[name] for name in self.versions}
        wrong = [
            f"{name} is {_shown(other.config, name)} here and was {_shown(self.config, name)}"
            for name in sorted({*self.config, *other.config})
            if self._differs(name, other, same["transformers"])
        ]
        parts = [
            name
            for name in sorted({*self.tokenizer, *other.tokenizer})
            if self.tokenizer.get(name) != other.tokenizer.get(name)
            # Other versions of the libraries may write the same rules otherwise.
            and (all(same.values()) or name in _TOLD)
        ]
        if parts:
            wrong.append(f"its tokenizer is another one ({', '.join(parts)})")
        if wrong:
            return wrong, []
        unlike, rounded, unknown = self._weights(other)
        precision = []
        if self.quantization != other.quantization:
            precision = [f"it is {other.quantization or 'not quantised'} here and was {self.quantization or 'not'}"]
        elif self.dtype != other.dtype:
            precision = [f"it is read in {other.dtype} here and was in {self.dtype}"]
        if not (unlike or rounded or unknown):
            return [], []
        # Of one precision, they were changed in memory: they are no longer what the files hold.
        if (precision or self.quantization) and self.stored() is not None and self.stored() == other.stored():
            return [], precision
        if unlike:
            more = f" and {len(unlike) - 1} more" if len(unlike) > 1 else ""
            return [f"its weights are others ({unlike[0]}{more})"], []
        if unknown:
            return [], [*precision, "quantised weights cannot be compared"]
        return [], precision or ["its weights are rounded otherwise"]

    def _differs(self, name: str, other: "Identity", same_version: bool) -> bool:
        if name in self.config and name in other.config:
            return bool(self.config[name] != other.config[name])
        # Another version may know a field that this one does not; of one version, it was changed.
        return same_version and bool(self.config.get(name) or other.config.get(name))

    def _weights(self, other: "Identity") -> tuple[list[str], bool, bool]:
        """Names of weights that differ; whether all are rounded, and whether any cannot be compared."""
        floats: dict[str, tuple[Weight, Weight]] = {}
        unlike, unknown = [], False
        for name in sorted(self.weights.keys() | other.weights.keys()):
            one, two = self.weights.get(name), other.weights.get(name)
            if one and two and (one.kind, one.shape) == (two.kind, two.shape):
                if one.kind == "float":
                    floats[name] = one, two
                elif one.values != two.values:
                    unlike.append(name)
            elif self.quantization or other.quantization:
                unknown = True
            else:
                unlike.append(name)
        changed = [name for name, (one, two) in floats.items() if one.values != two.values]
        if unlike or not changed:
            return unlike + changed, False, unknown
        broken = min((_unrounded(floats, back, place) for back in (False, True) for place in (0, 1)), key=len)
        return broken if len(broken) < len(changed) else changed, not broken, unknown


def _unrounded(weights: Mapping[str, tuple[Weight, Weight]], back: bool, place: int) -> list[str]:
    """Names of weights of which the second is not the first (`back`: the first not the second) rounded.

    All must be rounded alike: a change of one weight that is small enough may look like rounding, but the others are
    then not rounded. Vectors (norms) may have been left as they were.
    """
    return [
        name
        for name, pair in weights.items()
        for one, two in [pair[::-1] if back else pair]
        if two.values != one.rounded()[place] and not (two.values == one.values and "x" not in one.shape)
    ]


_PLAIN = ("config", "tokenizer", "dtype", "quantization", "versions")
#: Parts of a tokenizer that its behaviour shows.
_TOLD = ("vocabulary", "special tokens", "reading of a sample")


def _tokenizer(tokenizer: Any) -> dict[str, str]:
    parts = {
        "vocabulary": _digest(sorted(tokenizer.get_vocab().items())),
        "special tokens": _digest(
            [str(getattr(tokenizer, name, None)) for name in ("bos_token", "eos_token", "unk_token")]
        ),
        "reading of a sample": _digest(list(tokenizer(_SAMPLE)["input_ids"])),
    }
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if isinstance(backend, tokenizers.Tokenizer) else {}
    return parts | {
        name: _digest(rule) for name, rule in rules.items() if name not in ("version", "truncation", "padding")
    }


def _config(model: transformers.PreTrainedModel) -> dict[str, Any]:
    found: dict[str, Any] = {"model class": type(model).__name__}

    def walk(fields: Mapping[str, Any], path: str) -> None:
        for name, value in fields.items():
            if name in _NEUTRAL or name.startswith("_") or "dropout" in name or name.endswith("pdrop"):
                continue
            if isinstance(value, dict):
                walk(value, f"{path}{name}.")
            else:
                found[path + name] = value

    walk(json.loads(json.dumps(model.config.to_dict(), default=str)), "")
    return found


def _quantization(model: transformers.PreTrainedModel) -> str | None:
    found = getattr(model.config, "quantization_config", None)
    if not found:
        return None
    fields = dict(found if isinstance(found, dict) else found.to_dict())
    bits = 4 if fields.get("load_in_4bit") else 8 if fields.get("load_in_8bit") else fields.get("bits")
    method = str(getattr(fields.get("quant_method"), "value", fields.get("quant_method")))
    return f"quantised ({method}, {bits} bits)" if bits else f"quantised ({method})"


def _stored(where: Path) -> str | None:
    """Digest of the weights' files of a model folder; of a GGUF file its SHA-256, as hubs show it."""
    index = where / "model.safetensors.index.json"
    try:
        if where.is_file():
            return _sha256(where)
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
        return _digest([_sha256(where / name) for name in sorted(names)])
    except (OSError, ValueError, KeyError):
        return None


def _sha256(path: Path) -> str:
    # The hub's cache keeps large files under their digest.
    blob = path.resolve()
    named = blob.parent.name == "blobs" and len(blob.name) == 64 and blob.is_file()
    return blob.name if named else sha256(path)


def _shown(config: Mapping[str, Any], name: str) -> str:
    return str(json.dumps(config[name])) if name in config else "not set"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
