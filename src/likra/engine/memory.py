"""How many tokens fit the memory: what reading and training take of it, and what is done when it runs out."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn
from transformers import PreTrainedModel

from likra.engine import kernels
from likra.engine.kernels import AttentionShape
from likra.engine.plan import BLOCK
from likra.errors import OUT_OF_MEMORY, InputError

logger = logging.getLogger(__name__)

_CGROUP = Path("/sys/fs/cgroup")

#: Packed tokens of one forward pass, whatever the memory: more gains no speed.
TOKENS = {"cpu": 2048, "cuda": 16384}
_SHARE = {"cpu": 0.25, "cuda": 0.6}  # of the free memory, where no budget is given
_SPARE = 1.5  # what allocators and temporary tensors take on top of what is counted


@dataclass(frozen=True)
class Budget:
    """What one forward pass may take.

    Attributes:
        tokens: Packed tokens.
        logits: Places at which vocabulary logits are taken.
    """

    tokens: int
    logits: int

    def halved(self) -> "Budget":
        """Half of it, for use once memory has run out."""
        return Budget(max(1, self.tokens // 2), max(1, self.logits // 2))

    def steps(self, size: int, step: Callable[[int, "Budget"], int]) -> None:
        """Read `size` things step by step; where memory runs out, go on from there with half as much at a time.

        Args:
            size: How many.
            step: Reads some from a place on, within a budget; returns the place where it stopped.
        """
        place, budget = 0, self
        while place < size:
            try:
                place = step(place, budget)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or budget.tokens == 1:
                    raise
                budget = budget.halved()
                logger.warning("out of memory; going on with %d tokens at a time", budget.tokens)

    @classmethod
    def of(cls, model: PreTrainedModel, memory: int | None, adapters: int, depth: int) -> "Budget":
        """What fits into `memory` bytes beside the model.

        Args:
            model: The model.
            memory: Bytes; None: a quarter of the free memory of a CPU, 60% of that of a GPU.
            adapters: How many read every token (the base counts as one).
            depth: Tokens of the longest sequence.
        """
        config = model.config.get_text_config()
        # Activations are in float32 whatever the weights are stored in.
        size, most = max(4, model.dtype.itemsize), TOKENS[_kind(model)]
        keys_of_token = _bytes_of_keys(model) * size // model.dtype.itemsize
        cache = config.num_hidden_layers * adapters * depth * keys_of_token
        # Of a token: the residual stream and its copies, the widest layer three times over (gate, up, product),
        # queries and outputs of attention and what is gathered for it, its share of the keys of its block, and its row
        # of the mask.
        keys = depth + BLOCK
        token = size * (
            6 * config.hidden_size + 3 * _widest(model) + 6 * config.num_attention_heads * _head_size(model)
        )
        if not _on_gpu(model):
            token += keys_of_token * (3 + keys / BLOCK) + 5 * keys
        else:  # with masks, for the kernels without them are of half precision
            token += keys_of_token * (3 + (1 + _repeats(model)) * keys / BLOCK) + 5 * keys
        place = config.vocab_size * (size + 8)
        left = _available(model, memory) / _SPARE - cache
        least = adapters * max(token, place) * 2  # one token for every adapter
        if left < least and memory is not None:
            raise InputError(
                f"memory of {memory / 2**30:.3g} GiB: reading {depth} tokens for {adapters} adapters takes at least "
                f"{(cache + least) * _SPARE / 2**30:.2g} GiB; give more, or use shorter prompts."
            )
        left = max(0.0, left)
        # Half for the layers, half for the logits: they do not exist together, but allocators keep what was freed.
        return cls(max(1, min(most, int(left / 2 / token))), max(1, min(most, int(left / 2 / place))))


@dataclass(frozen=True)
class TrainingBudget:
    """What training may take, in bytes.

    Attributes:
        memory: Of one forward and backward pass, and of what is kept for the whole run.
        token: What a token that an adapter reads takes.
        place: What a place with vocabulary logits takes.
        key: What a backward pass keeps of a token's keys and values each time that they are gathered.
        kept: Keys and values of a token in all layers.
    """

    memory: float
    token: float
    place: float
    key: float
    kept: float

    @classmethod
    def of(cls, model: PreTrainedModel, memory: int | None, checkpointing: bool) -> "TrainingBudget":
        """What fits into `memory` bytes beside the model, the heads and their optimizers; None as in `Budget.of`."""
        config = model.config.get_text_config()
        size, layers, keys = model.dtype.itemsize, config.num_hidden_layers, _bytes_of_keys(model)
        # Of a token in a layer: its inputs, norms (in float32 whatever the model's dtype) and products, which are kept
        # for the backward pass. `tests/engine/test_memory_taken.py` holds this to what is allocated.
        layer = size * (8 * config.hidden_size + 5 * _widest(model)) + keys
        layer += 8 * config.hidden_size if size < 4 else 0
        token = (config.hidden_size * size if checkpointing else layer) * layers + layer
        copies = 1 + _repeats(model) if _on_gpu(model) and not _in_runs(model) else 1
        # Three more: what the layer at hand gathers from, and its gradient.
        gathered = ((1 if checkpointing else layers) * copies + 3) * keys
        return cls(_available(model, memory) / _SPARE, token, 12 * config.vocab_size, gathered, keys * layers)

    def cost(self, own: int, length: int, places: int, *, prefix_kept: bool = True) -> float:
        """Bytes that an example of `length` tokens takes, of which an adapter reads `own`, with logits at `places`.

        What the base reads of it is kept for the whole run, or else read for each pass and counted here.
        """
        # A block of tokens gathers the path above it; where sequences are long each has several blocks.
        gathered = max(length, own * (1 + (length - own / 2) / BLOCK))
        prefix = 0.0 if prefix_kept else (length - own) * self.kept
        return own * self.token + places * self.place + gathered * self.key + prefix

    @property
    def most_kept(self) -> int:
        """Tokens whose keys and values may be kept for the whole run."""
        return int(self.memory / 2 / self.kept)

    def room(self, tokens: int) -> float:
        """Bytes that are left for a pass where the keys and values of so many tokens are kept."""
        return self.memory - tokens * self.kept


def _on_gpu(model: PreTrainedModel) -> bool:
    return kernels.kind_of(model.device) != "cpu"


def _repeats(model: PreTrainedModel) -> int:
    """Times that keys and values are copied for kernels that take as many of their heads as of the queries'."""
    heads = model.config.get_text_config().num_attention_heads
    return heads // _key_heads(model) if _key_heads(model) < heads else 0


def _in_runs(model: PreTrainedModel) -> bool:
    heads = model.config.get_text_config().num_attention_heads
    return AttentionShape(model.device, model.dtype, heads, _key_heads(model), _head_size(model)).varlen


def _available(model: PreTrainedModel, memory: int | None) -> float:
    return free_memory(model.device) * _SHARE[_kind(model)] if memory is None else memory


def _kind(model: PreTrainedModel) -> str:
    return "cpu" if model.device.type == "cpu" else "cuda"


def _head_size(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _bytes_of_keys(model: PreTrainedModel) -> int:
    """Bytes of the keys and values of one token in one layer."""
    return int(2 * _key_heads(model) * _head_size(model) * model.dtype.itemsize)


def _key_heads(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _widest(model: PreTrainedModel) -> int:
    """Features of the widest layer but the output embedding."""
    head = model.get_output_embeddings()
    found = [m.out_features for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    return max(found, default=4 * model.config.get_text_config().hidden_size)


def free_memory(device: torch.device) -> int:
    """Bytes free on a device."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    found = [int(psutil.virtual_memory().available)]
    with contextlib.suppress(OSError, ValueError):  # a container's limit, where there is one
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(limit - used)
    return max(0, min(found))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's, accelerate's list, or one told by its text."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    from accelerate.utils.memory import should_reduce_batch_size  # slow to import, and seldom needed

    text = str(error)
    return should_reduce_batch_size(RuntimeError(text)) or any(known in text.lower() for known in OUT_OF_MEMORY)
