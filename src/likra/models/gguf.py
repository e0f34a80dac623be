"""GGUF files, as llama.cpp reads them: checked, and loaded through transformers, their weights expanded."""

import contextlib
import functools
import logging
import tempfile
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, modeling_gguf_pytorch_utils
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from likra.errors import InputError
from likra.utils.progress import progress_bar

logger = logging.getLogger(__name__)

#: llama.cpp's names (`tokenizer.ggml.pre`) of tokenizers that split texts as GPT-2 does, and of those that take every
#: digit apart before.
_AS_GPT2 = frozenset({"gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion"})
_DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
_LLAMA_3_NAMES = frozenset({"llama3", "llama-v3", "llama-bpe"})
#: Of Llama 3.1, 3.2 and 3.3.
_LLAMA_3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_ONE_AT_A_TIME = threading.Lock()


def load_gguf(path: Path, dtype: torch.dtype, **how: Any) -> tuple[PreTrainedModel, Any]:
    """The model and the tokenizer of a GGUF file; nothing beside the file is read.

    Args:
        path: The file; it must begin as GGUF files do (`likra.utils.locations.check_model`).
        dtype: What the weights are expanded to.
        **how: Further arguments of transformers' `from_pretrained`.

    Raises:
        InputError: The file is damaged, holds no language model with its tokenizer, or one that transformers cannot
            read.
    """
    import gguf  # optional

    reader = _read(path)
    _check(path, reader)
    if not hasattr(transformers, "GgufConfig"):  # those before make other tokenizers of the same file
        raise InputError(f"{path}: is a GGUF file, which needs a newer transformers: pip install 'likra[gguf]'.")
    # It could leave some architectures' weights in GGUF's blocks, which no adapter is trained on.
    how["quantization_config"] = transformers.GgufConfig(dequantize=True)
    where: dict[str, Any] = {"gguf_file": str(path.absolute())}
    with (
        _ONE_AT_A_TIME,
        tempfile.TemporaryDirectory() as empty,
        # transformers would read the file three times, make the same map for every module, and show a bar in logs too.
        _replaced(gguf, "GGUFReader", lambda _: reader),
        _replaced(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        _replaced(modeling_gguf_pytorch_utils, "tqdm", _counted),
    ):
        try:
            tokenizer = AutoTokenizer.from_pretrained(empty, **where)
            config = AutoConfig.from_pretrained(empty, **where)
            _scale_positions(path, reader, config)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                empty, config=config, dtype=dtype, output_loading_info=True, **where, **how
            )
        except InputError:
            raise
        except Exception as error:  # transformers and gguf share no base class for these
            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise
            reason = textwrap.shorten(str(error), 200)
            raise InputError(
                f"{path}: transformers cannot load this GGUF file ({type(error).__name__}: {reason})."
            ) from None
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise InputError(f"{path}: lacks weights of its model ({', '.join(missing[:3])}); get the whole model.")
    _encode_as_trained(path, reader, tokenizer)
    model.config.name_or_path = model.name_or_path = tokenizer.name_or_path = str(path)
    return model, tokenizer


def _read(path: Path) -> Any:
    """A `gguf.GGUFReader` of a file.

    It slices a memory map for every word of the vocabulary; this one reads from the map's buffer, which takes a quarter
    of the time, and refuses what lies behind the end.
    """
    from gguf import GGUFReader

    class Reader(GGUFReader):
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: str | None = None) -> Any:
            order = np.dtype(dtype).newbyteorder(override_order or self.byte_order)
            return np.frombuffer(self.data, order, int(count), int(offset))

    try:
        return Reader(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever damaged lengths and types lead to
        reason = textwrap.shorten(str(error), 120)
        raise InputError(
            f"{path}: is not a whole GGUF file of versions 2 or 3 ({type(error).__name__}: {reason}); get it again."
        ) from None


def _text(reader: Any, key: str) -> str | None:
    """A field that holds a text, if there is one."""
    field = reader.get_field(key)
    return str(bytes(field.parts[field.data[0]]), "utf-8", "replace") if field and field.data else None


def _check(path: Path, reader: Any) -> None:
    parts = reader.get_field("split.count")
    if parts and (count := int(parts.parts[parts.data[0]][0])) > 1:
        raise InputError(f"{path}: is one of {count} parts of a model; join them (`llama-gguf-split --merge`).")
    kind = _text(reader, "general.type") or "model"
    if kind != "model":
        raise InputError(f"{path}: holds no model but {kind!r}; give the model's own file.")
    if not _text(reader, "general.architecture"):
        raise InputError(f"{path}: does not say which architecture it holds; get it again.")
    tokens = reader.get_field("tokenizer.ggml.tokens")
    if not (tokens and tokens.data):
        raise InputError(f"{path}: holds no tokenizer; get a file with one.")


def _scale_positions(path: Path, reader: Any, config: Any) -> None:
    """Give a configuration the scaling of rotary positions that the file states; transformers reads it for few models.

    Llama 3.1 and its successors store only what their rule gives for each frequency; other ways are refused.
    """
    rules = [key for key in reader.fields if key.endswith(".rope.scaling.type") and _text(reader, key) != "none"]
    factors = {tensor.name: tensor.data for tensor in reader.tensors if tensor.name.startswith("rope_f")}
    rope = getattr(config, "rope_parameters", None) or {}
    if not (rules or factors) or rope.get("rope_type", "default") != "default":
        return
    found = factors.get("rope_freqs.weight")
    if found is not None and len(factors) == 1 and not rules:
        plain = float(rope["rope_theta"]) ** (-torch.arange(len(found)) / len(found))
        config.rope_parameters = {**rope, **_LLAMA_3, "factor": float(found.max())}
        frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        if frequencies.shape == plain.shape and torch.allclose(plain / torch.tensor(found), frequencies, rtol=1e-4):
            return
    raise InputError(
        f"{path}: its rotary positions are scaled ({[*rules, *factors][0]}) in a way that transformers does not read "
        "from GGUF files; use this model's safetensors."
    )


def _encode_as_trained(path: Path, reader: Any, tokenizer: Any) -> None:
    """Let a byte-level BPE tokenizer read texts as the one that the model was trained with.

    transformers splits texts as GPT-2 does where it does not know a file's way, and knows no rules but merges.
    """
    if _text(reader, "tokenizer.ggml.model") != "gpt2":
        return
    backend, way = tokenizer.backend_tokenizer, _text(reader, "tokenizer.ggml.pre")
    if way in _LLAMA_3_NAMES:
        backend.model.ignore_merges = True
        if reader.get_field("tokenizer.ggml.add_bos_token") is None:  # old files; llama.cpp takes it for granted
            tokenizer.add_bos_token = True
    elif way in _DIGITS_APART:
        parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        backend.pre_tokenizer = pre_tokenizers.Sequence(parts)
    elif way not in _AS_GPT2 and isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        logger.warning(
            "%s: how its tokenizer splits texts (%s) is not known to transformers, so its tokens may not be those that "
            "the model was trained on; if you can, use this model's safetensors",
            *(path, way or "it does not say"),
        )


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _counted(tensors: Sequence[Any], **_: Any) -> Iterator[Any]:
    """tqdm's place."""
    with progress_bar("Loading", "tensors") as move:
        for number, tensor in enumerate(tensors, 1):
            yield tensor
            move(number, len(tensors))
