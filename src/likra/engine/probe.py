"""Whether a model can be read as packed trees: found by trying, once."""

import inspect
import itertools
import logging
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from likra.engine.attention import CannotShare, KVCache
from likra.engine.float32_library import settings
from likra.engine.forward import logits_at, read
from likra.engine.memory import out_of_memory
from likra.engine.plan import PREFIX, RangePlanner
from likra.engine.tree import Tree
from likra.models.thread_lock import alone

logger = logging.getLogger(__name__)

_ALONE = "%s cannot share one reading of what its prompts have in common; each is read on its own (slower)."
_FOUND = "_likra_can_share"  # set on the model: what trying it found
_EXACT = (torch.float32, torch.float64)
#: Where a model says how many experts it has.
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
#: What models call the attention of a layer.
_ATTENTION = ("self_attn", "self_attention", "attention", "attn")
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_BRANCHES = ((17, 19, 23), (17, 31), (37,))


@alone(lambda model, *_, **__: model)
def can_share(model: PreTrainedModel, longest: int) -> bool:
    """Whether packed trees give the likelihoods of plain forward passes, for sequences of at most `longest` tokens.

    A model whose tokens depend on more than their ancestors and positions (a recurrent state, an attention of another
    kind) reads every sequence on its own instead; a warning says so.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    # Long enough for what packed trees do, and for the sliding window to matter where it will.
    length = min(PREFIX, getattr(config, "max_position_embeddings", PREFIX) - 6) + 6
    if window is not None and window < longest:
        length = max(length, window + 6)
    found: dict[int, bool] = model.__dict__.setdefault(_FOUND, {})
    if length not in found:
        found[length] = _probe(model, length)
        if not found[length]:
            logger.warning(_ALONE, type(model).__name__)
    if found[length] and not scales_alike(model, longest):
        logger.warning(_ALONE, type(model).__name__)
        return False
    return found[length]


def scales_alike(model: PreTrainedModel, longest: int) -> bool:
    """False where the rotation of a token depends on the longest sequence that is read beside it."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    return not any(
        kind.get("rope_type") in ("dynamic", "longrope")
        and longest > (kind.get("original_max_position_embeddings") or config.max_position_embeddings)
        for kind in kinds
    )


# Float32 as it is meant, whatever the program allows (TF32).
@settings(torch.backends.cuda.matmul, "ieee")
@torch.inference_mode()
def _probe(model: PreTrainedModel, length: int) -> bool:
    config = model.config.get_text_config()
    # Chunks (Llama 4) and local layers (GPT-Neo) would pass for full attention on a short probe.
    if set(getattr(config, "layer_types", None) or ()) - _KNOWN_LAYERS or getattr(config, "attention_types", None):
        return False
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    vocabulary = config.vocab_size
    context = tuple((5 + 7 * place + place * place) % vocabulary for place in range(max(1, length - 3)))
    branches = [tuple(token % vocabulary for token in branch) for branch in _BRANCHES]
    tree = Tree.of([(context + branch, 0) for branch in branches])
    at = torch.tensor([path[-1] for path in tree.paths])
    try:
        whole = _packed(model, tree, [len(tree)])
        # And in two stretches, the second of which finds the context in the cache.
        split = _packed(model, tree, [len(context), len(tree)])
        # A short context will do where every token is tried in turn; a long one makes prefixes and chains.
        if not _blind_to_others(model, Tree.of([(context[:6] + branch, 0) for branch in branches]), every=True):
            return False
        if not _blind_to_others(model, tree, every=False):
            return False
    except (CannotShare, TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
        if out_of_memory(error):
            raise
        logger.debug("packed reading failed", exc_info=True)
        return False
    ids = [torch.tensor([context + branch], device=model.device) for branch in branches]
    plain = torch.cat([logits_at(model, 1, input_ids=row)[0] for row in ids])
    likely = plain.float().log_softmax(-1)
    if not likely.isfinite().all():
        return True  # a broken model; scoring and training report it
    near = likely > likely.amax(-1, keepdim=True) - 10  # rounding may change the unlikely ones by more
    for logits in (whole[at], split[at]):
        gaps = (logits.to(likely.device).float().log_softmax(-1) - likely).abs()[near]
        # Half precision rounds single logits by as much as a wrong mask would move them, but not all of them.
        exact = model.dtype in _EXACT and getattr(model, "hf_quantizer", None) is None
        if not (gaps.max() < 1e-3 if exact else gaps.mean() < 0.3):
            return False
    return True


def _packed(
    model: PreTrainedModel, tree: Tree, stops: list[int], changed: int | None = None, watched: nn.Module | None = None
) -> torch.Tensor:
    """Logits [N, V] at every node, read in stretches that end at `stops`; with another token at node `changed`.

    Of a module that is watched, its output [N, D] instead.
    """
    cache = KVCache()
    found: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output).detach().flatten(0, -2).clone())

    hook = watched.register_forward_hook(keep) if watched is not None else None
    try:
        _stretches(model, tree, stops, changed, cache, found)
    finally:
        if hook is not None:
            hook.remove()
    return torch.cat(seen if watched is not None else found)


def _stretches(
    model: PreTrainedModel, tree: Tree, stops: list[int], changed: int | None, cache: KVCache, found: list[torch.Tensor]
) -> None:
    for start, stop in itertools.pairwise([0, *stops]):
        plan = RangePlanner(tree, start, stop, 1, int(tree.depth_N.max()) + 1).plan()
        if changed is not None and start <= changed < stop:
            vocabulary = model.config.get_text_config().vocab_size
            plan.ids_N[changed - start] = (plan.ids_N[changed - start] + vocabulary // 2) % vocabulary
        found.append(read(model, plan, cache, torch.arange(stop - start)))


def _blind_to_others(model: PreTrainedModel, tree: Tree, *, every: bool) -> bool:
    """Whether a token moves nothing but what follows it, and that.

    Another token in one place must not change a bit of the logits anywhere but at its descendants, for what a mask
    hides counts exactly 0. This holds in every precision, where a comparison with plain passes sees rounding before it
    sees a wrong mask. Only experts compute several tokens together, and round anew: where there are some, the first
    layer's attention is watched instead, before which there are none. (8 bits find outliers among all tokens.)
    """
    config = model.config.get_text_config()
    if getattr(model, "is_loaded_in_8bit", False):
        return True
    watched = None
    if any(getattr(config, name, None) for name in _EXPERTS):
        named = dict(model.named_modules())
        watched = next((named[name] for name in named if name.rpartition(".")[2] in _ATTENTION), None)
        if watched is None:
            return True
    above, branching, second, third = map(int, tree.paths[0][-4:])
    # In one stretch, and in two, whose second finds what it needs of the first in the cache.
    for stops in ([len(tree)], [third + 1, len(tree)]):
        usual = _packed(model, tree, stops, watched=watched)
        for changed in (above, branching, second, third, len(tree) - 1) if every else (second,):
            moved = (_packed(model, tree, stops, changed, watched) != usual).any(-1).cpu().numpy()
            nodes = np.arange(len(tree))
            below = (nodes >= changed) & (nodes < tree.end_N[changed])
            if moved[~below].any():
                return False
            # Nearer ones must move; what is far may be rounded away, or lie before a sliding window.
            if not moved[below & (tree.depth_N <= tree.depth_N[changed] + 1)].all():
                return False
    return True
