"""The frozen base model that all adapters share."""

import dataclasses
import difflib
import hashlib
import importlib.util
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from likra.data.conversation import Context, check_chat
from likra.data.templates import Chat, template
from likra.data.tokens import TokenizedExample, encode_pairs, model_max_length
from likra.data.vocabulary import check_embedded, check_vocabulary
from likra.errors import InputError
from likra.models.identity import Identity
from likra.models.thread_lock import alone
from likra.models.unchanged import watch
from likra.utils import hub_client, parallel
from likra.utils.embedded import embedded_models
from likra.utils.locations import check_model
from likra.utils.precision import check_precision

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTIZED = ("4bit", "8bit")
_SAMPLES = 16  # values per parameter tensor that enter `sampled`


@dataclass
class Base:
    """A causal language model with its tokenizer.

    Attributes:
        model: The model, frozen and in evaluation mode.
        tokenizer: Its tokenizer.
        name: Hub id, folder, GGUF file, or an embedded name.
        revision: Commit of the hub repository, where it came from one.
        files: The folder or GGUF file that it was loaded from, where it was.
        precision: In which it is read, one of `likra.utils.precision.PRECISIONS`.
    """

    model: PreTrainedModel
    tokenizer: Any
    name: str
    revision: str | None
    files: Path | None = None
    precision: str = "auto"
    _fingerprint: str | None = field(default=None, init=False, repr=False)

    def identity(self) -> Identity:
        """What tells it from other bases, as it is now: every weight is read that may have changed since it was."""
        found = Identity.of(self.model, self.tokenizer, self.files)
        self._fingerprint = self._fingerprint or found.digest
        return found

    @property
    def fingerprint(self) -> str:
        """Digest of its identity as it was at the first call: a name for results."""
        return self._fingerprint or self.identity().digest

    def faithful(self) -> "Base":
        """This base, read so that what a candidate gets does not depend on those that are read beside it."""
        return dataclasses.replace(self, precision="faithful") if self.precision == "auto" else self

    @property
    def max_length(self) -> int:
        """The number of tokens the model can read."""
        return model_max_length(self.model.config, self.tokenizer)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def rows(self) -> int:
        """How many tokens the model knows: it reads and predicts ids below this."""
        read: Any = self.model.get_input_embeddings()
        predicted: Any = self.model.get_output_embeddings()
        rows = int(read.weight.shape[0])
        return rows if predicted is None else min(rows, int(predicted.out_features))

    def check(self, ids: Sequence[int]) -> None:
        """Refuse token ids that the model has no embedding for (InputError)."""
        check_embedded(self.tokenizer, ids, self.rows, self.name)

    def check_style(self, style: str) -> None:
        """Refuse a prompt template that needs a chat template where the tokenizer has none (InputError)."""
        if isinstance(template(style), Chat):
            check_chat(self.tokenizer)

    def encode_pairs(
        self, context: Context, completions: Sequence[str], max_length: int | None = None
    ) -> list[TokenizedExample]:
        """`likra.data.encode_pairs` for this model.

        Raises:
            InputError: As there; or a token has no embedding.
        """
        pairs = encode_pairs(self.tokenizer, context, completions, max_length or self.max_length)
        for pair in pairs:
            self.check(pair.context + pair.completion)
        return pairs

    def encode_pair(self, context: Context, completion: str) -> TokenizedExample:
        """`encode_pairs` of one completion."""
        [pair] = self.encode_pairs(context, [completion])
        return pair


class Loading(TypedDict, total=False):
    """The keyword arguments of `load_base` that say how a model is loaded."""

    dtype: str | None
    precision: str
    device: str | None
    quantize: str | None
    trust_remote_code: bool


class LoadingFrom(Loading, total=False):
    """And those that say where from."""

    revision: str | None
    token: str | None


def base_of(model: "str | Base | PreTrainedModel", tokenizer: Any = None, **loading: Unpack[LoadingFrom]) -> Base:
    """A base model from its name (`load_base`), from a model in memory and its tokenizer (`as_base`), or as it is.

    Raises:
        InputError: The model cannot be loaded, or a model in memory comes without its tokenizer.
    """
    if isinstance(model, str):
        return load_base(model, **loading)
    if not isinstance(model, Base):
        if tokenizer is None:
            raise InputError("a model in memory needs its tokenizer: from_base(model, tokenizer).")
        model = as_base(model, tokenizer)
    if "precision" in loading:
        check_precision(loading["precision"])
        model = dataclasses.replace(model, precision=loading["precision"])
    return model


def default_device() -> str:
    """The first GPU (in a data parallel run, this process's own), else the CPU."""
    if not torch.cuda.is_available():
        return "cpu"
    # A process may see its own GPU only (Slurm, Ray), whatever its number.
    return f"cuda:{parallel.local_rank() % torch.cuda.device_count()}" if parallel.world() > 1 else "cuda"


def load_base(
    name: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    precision: str = "auto",
    device: str | None = None,
    quantize: str | None = None,
    trust_remote_code: bool = False,
    token: str | None = None,
) -> Base:
    """Load a base model and its tokenizer, from safetensors or a GGUF file.

    Args:
        name: A hub id, a folder, a GGUF file, or the name of an embedded model.
        revision: Branch, tag or commit on the hub.
        dtype: `float32`, `bfloat16` or `float16`. Default: float32 on a CPU; on a GPU the checkpoint's own, and
            bfloat16 for a GGUF file, whose weights are expanded to it.
        precision: In which it and its adapters are read, whatever the weights are stored in: one of
            `likra.utils.precision.PRECISIONS`.
        device: As torch names it, or `auto`: spread over all GPUs, for a model that is too large for one (through
            accelerate). Default: the first GPU (in a data parallel run, this process's own), else the CPU.
        quantize: `4bit` or `8bit`: load linear layers so, through bitsandbytes.
        trust_remote_code: Whether code from the model's repository may run.
        token: Access token for the hub; default: that of `hf auth login`, or $HF_TOKEN.

    Raises:
        InputError: The model is missing, unreachable, not a causal language model, or damaged.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    check_precision(precision)
    if quantize not in (None, *QUANTIZED):
        raise InputError(f"quantize must be one of {', '.join(QUANTIZED)}, got {quantize!r}.")
    if device == "auto" and parallel.world() > 1:
        raise InputError("device 'auto' spreads one process over all GPUs; start it without a launcher.")
    device = device or default_device()
    try:
        torch.empty(0, device=None if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"device {device!r} cannot be used here ({reason}); try device 'cpu'.") from None
    check_model(name)
    path = str(embedded_models().get(name, name))
    file = Path(path) if Path(path).is_file() else None
    placed: dict[str, Any] = {}
    if device != "cpu" or quantize:  # to a GPU weights go as they are read, without a copy of the model on the host
        placed["device_map"] = device if device == "auto" else {"": device}
    if quantize and file:
        raise InputError(f"quantize must be left out for a GGUF file, whose weights are expanded ({name}).")
    if quantize:
        placed["quantization_config"] = _quantized(quantize, dtype)
    if file:
        from likra.models.gguf import load_gguf  # which loads parts of transformers that nothing else needs

        expanded = torch.float32 if device == "cpu" else torch.bfloat16
        model, tokenizer = load_gguf(file, DTYPES[dtype] if dtype else expanded, **placed)
    else:
        # The embedded models are stored in float16 only to be small.
        auto = "auto" if device != "cpu" and name not in embedded_models() else torch.float32
        common: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code, "token": token}
        if not Path(path).is_dir() and not hub_client.reachable():
            common["local_files_only"] = True  # what was downloaded before can still be used
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, **common)
            model = AutoModelForCausalLM.from_pretrained(
                path, dtype=DTYPES[dtype] if dtype else auto, use_safetensors=True, **common, **placed
            )
        except Exception as error:  # transformers, safetensors and huggingface_hub share no base class for these
            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise
            raise InputError(_load_failure(name, path, error)) from None
    if any(parameter.is_meta for parameter in model.parameters()):
        raise InputError(f"{name}: is too large for the GPUs here; use quantize='4bit', or more of them.")
    if not placed:
        model.to(torch.device(device))  # type: ignore[arg-type]  # transformers wraps it in a way mypy misreads
    base = as_base(model, tokenizer, name=name)
    base.precision = precision
    base.files = Path(path) if Path(path).exists() else _snapshot(path, base.revision)
    return base


def _snapshot(name: str, commit: str | None) -> Path | None:
    """Where the hub's cache keeps a model's files."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=commit)
    return Path(found).parent if isinstance(found, str) else None


def _quantized(bits: str, dtype: str | None) -> BitsAndBytesConfig:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"quantize={bits!r} needs bitsandbytes; pip install bitsandbytes.")
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=DTYPES[dtype or "bfloat16"]
    )


@alone(lambda model, *_, **__: model)
def as_base(model: PreTrainedModel, tokenizer: Any, *, name: str | None = None) -> Base:
    """A Base from a model that is already in memory. The model is frozen in place."""
    check_vocabulary(tokenizer, name or model.config.name_or_path or type(model).__name__)
    model.requires_grad_(False)
    model.eval()
    watch(model)
    return Base(
        model=model,
        tokenizer=tokenizer,
        name=name or model.config.name_or_path or type(model).__name__,
        revision=getattr(model.config, "_commit_hash", None),
    )


def sampled(model: PreTrainedModel) -> str:
    """Digest of parameters' names, shapes, and evenly spaced values, by which heads used to know their base.

    Values are rounded to bfloat16, so it is the same in float32.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        if parameter.is_floating_point():  # quantised weights count by shape only
            flat = parameter.detach().flatten()
            step = max(1, flat.numel() // _SAMPLES)
            sample = flat[::step][:_SAMPLES].to("cpu", torch.bfloat16)
            digest.update(sample.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:32]


def _load_failure(name: str, path: str, error: Exception) -> str:
    reason = textwrap.shorten(str(error), 200)
    if Path(path).is_dir():
        return f"{name}: the model in this folder cannot be loaded ({type(error).__name__}: {reason})."
    if "trust_remote_code" in reason:
        return f"{name}: runs code of its own; pass trust_remote_code=True if you trust its repository."
    if meant := difflib.get_close_matches(name, embedded_models(), 1):
        return f"{name}: no such folder and no such model; did you mean `{meant[0]}`, an embedded model?"
    return (
        f"{name}: no such folder, and it cannot be loaded from the hub ({type(error).__name__}: {reason}). "
        f"Check the name and the network, or use a local folder, or an embedded model ({', '.join(embedded_models())})."
    )
