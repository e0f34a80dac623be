"""H named LoRA heads on one frozen base model."""

import contextlib
import hashlib
import math
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from likra.data.tokens import TokenizedExample
from likra.errors import InputError, StateError
from likra.models.base import Base
from likra.models.lora import Route, StackedLora, is_linear
from likra.models.lora_config import ADAPT, ALL_LINEAR, LoraShape, check_lora, lora_config, scaling_of
from likra.models.thread_lock import alone, alone_with_base, lock_of
from likra.scoring.likelihoods import BASE

if TYPE_CHECKING:
    from peft import LoraConfig

#: (head, first token, one past its last token) of a flattened batch.
Span = tuple[str, int, int]
#: A head's weights: module path -> (A [r, D_in], B [D_out, r]).
HeadWeights = dict[str, tuple[torch.Tensor, torch.Tensor]]


class HeadStack:
    """H heads on one base, as slices of one batched module per adapted linear layer.

    The base's linear layers are replaced in place; `remove()` puts them back. Outside `active(...)` the model is the
    plain base. One thread at a time: `active` and whatever changes the base wait for those that use the base.

    Args:
        base: The base model.
        names: Names of the heads, in the order of their slices.
        lora: The adapters' shape; default: `lora_config()`.
        adapt: One of `ADAPT`.
        invocation_tokens: With `adapt="completion"`: token ids that every prompt ends in (those of "Answer:", say). The
            adapters then act from the first of them on, as Activated LoRA does (Greenewald et al. 2025, arXiv
            2504.12397); without them, or on a prompt that ends otherwise, from the prompt's last token on.
        seeds: One seed per head for its first weights. Default: 0, 1, ...

    Raises:
        InputError: No linear layer matches `target_modules`, or a name occurs twice.
        StateError: The base already carries heads.
    """

    @alone(lambda self, base, *_, **__: base.model)
    def __init__(
        self,
        base: Base,
        names: Sequence[str],
        *,
        lora: "LoraConfig | LoraShape | None" = None,
        adapt: str = "everywhere",
        invocation_tokens: Sequence[int] = (),
        seeds: Sequence[int] | None = None,
    ) -> None:
        if len(set(names)) != len(names):
            raise InputError(f"heads {', '.join(names)}: a name occurs twice; name each head once.")
        if adapt not in ADAPT:
            raise InputError(f"adapt must be one of {', '.join(ADAPT)}, got {adapt!r}.")
        shape = lora or lora_config()
        check_lora(shape)
        self.base = base
        self.names = list(names)
        self.adapt = adapt
        self.invocation_tokens = tuple(invocation_tokens) if adapt == "completion" else ()
        self.ranks = [shape.r] * len(names)
        if any(isinstance(module, StackedLora) for module in base.model.modules()):
            raise StateError(
                f"{base.name}: already carries heads; call remove() on their stack, or load the base anew."
            )
        self._route = Route()
        self.layers: dict[str, StackedLora] = {}
        layers: dict[str, StackedLora] = {}
        for path in target_paths(base.model, shape.target_modules):
            layer = StackedLora(base.model.get_submodule(path), len(names), shape.r, self._route)
            layer.scaling = [scaling_of(shape)] * len(names)
            layers[path] = layer
        for index, seed in enumerate(seeds if seeds is not None else range(len(names))):
            generator = torch.Generator().manual_seed(seed)
            for layer in layers.values():
                layer.reset(index, generator)
        self.attach(layers)

    def index(self, name: str) -> int:
        """Slice of the head called `name`."""
        if not self.layers:
            raise StateError("these heads were removed from their base; load or train them anew.")
        if name not in self.names:
            raise InputError(f"no head is called {name!r}; the heads are {', '.join(self.names)}.")
        return self.names.index(name)

    @contextlib.contextmanager
    def active(self, spans: Sequence[Span], tokens: int) -> Iterator[None]:
        """Within the block, heads read their tokens of the batch, and the plain base the others.

        Args:
            spans: (head, first token, one past its last) in the order of the flattened batch; none overlap.
            tokens: Tokens of the batch.
        """
        route = self._route
        with lock_of(self.base.model):
            before = route.spans, route.tokens
            route.spans, route.tokens = [(self.index(name), first, last) for name, first, last in spans], tokens
            route.thread = threading.get_ident()
            try:
                yield
            finally:
                route.spans, route.tokens = before

    def ends_in_invocation(self, context: Sequence[int]) -> bool:
        """Whether a context ends in the invocation tokens (in none, where there are none)."""
        return tuple(context[len(context) - len(self.invocation_tokens) :]) == self.invocation_tokens

    def num_base_tokens(self, context: Sequence[int]) -> int:
        """Number of a context's first tokens that the plain base reads for all adapters; 0 with `adapt="everywhere"`.

        The others are the invocation tokens where the context ends in them, else its last token alone.
        """
        if self.adapt == "everywhere":
            return 0
        adapted = len(self.invocation_tokens) if self.invocation_tokens and self.ends_in_invocation(context) else 1
        return len(context) - adapted

    def spans_of_rows(self, name: str, pairs: Sequence[TokenizedExample], length: int, first: int = 0) -> list[Span]:
        """Spans of one head in a batch of one row per pair, padded on the left to `length`, after `first` tokens.

        The plain base, called `base`, has none.
        """
        if name == BASE:
            return []
        if self.adapt == "everywhere":
            return [(name, first, first + len(pairs) * length)]
        ends = (first + (row + 1) * length for row in range(len(pairs)))
        return [
            (name, end - len(pair.inputs) + self.num_base_tokens(pair.context), end)
            for end, pair in zip(ends, pairs, strict=True)
        ]

    def parameters(self) -> list[nn.Parameter]:
        """The stacked tensors, two per adapted layer."""
        return [parameter for layer in self.layers.values() for parameter in (layer.a, layer.b)]

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def weights(self, name: str) -> HeadWeights:
        """One head's weights, trimmed to its own rank; views of the stack's tensors."""
        index = self.index(name)
        rank = self.ranks[index]
        return {
            path: (layer.a.data[index, :rank], layer.b.data[index, :, :rank]) for path, layer in self.layers.items()
        }

    def scaling(self, name: str) -> float:
        """One head's scaling, alpha / rank."""
        return next(iter(self.layers.values())).scaling[self.index(name)]

    @alone_with_base
    @torch.no_grad()
    def set_weights(self, name: str, weights: HeadWeights, *, rank: int, scaling: float) -> None:
        """Overwrite one head. Layers that `weights` lacks get no update; a lower rank than the stack's is padded.

        Raises:
            InputError: A weight, or the scaling, is not finite; the head stays as it was.
        """
        index = self.index(name)
        check_finite(weights, scaling)
        self.ranks[index] = rank
        for path, layer in self.layers.items():
            layer.a[index].zero_()
            layer.b[index].zero_()
            layer.scaling[index] = scaling
            if path in weights:
                a, b = weights[path]
                layer.a[index, : a.shape[0]].copy_(a)
                layer.b[index, :, : a.shape[0]].copy_(b)

    def same(self, one: str, other: str | None) -> bool:
        """Whether two heads compute the same function, bit for bit; None is the base (a head whose B is all zero)."""
        i = self.index(one)
        if other is None:
            return all(not layer.b[i].any() for layer in self.layers.values())
        j = self.index(other)
        return all(
            torch.equal(layer.a[i], layer.a[j])
            and torch.equal(layer.b[i], layer.b[j])
            and layer.scaling[i] == layer.scaling[j]
            for layer in self.layers.values()
        )

    def digest(self, name: str) -> str:
        """Digest of all that a head computes: its weights, its scaling, and where it acts."""
        found = hashlib.sha256(f"{self.adapt} {self.invocation_tokens} {self.scaling(name)}".encode())
        for path, pair in self.weights(name).items():
            found.update(path.encode())
            for tensor in pair:
                found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    @alone_with_base
    def rebuilt(self, names: Sequence[str], rank: int) -> "HeadStack":
        """A stack in this one's place, with other heads: those of the same name as here are the same, others are new.

        Args:
            names: Names of its heads.
            rank: Rank of the new ones.
        """
        kept = {
            name: ({path: (a.clone(), b.clone()) for path, (a, b) in self.weights(name).items()}, self.scaling(name))
            for name in names
            if name in self.names
        }
        ranks = {name: self.ranks[self.index(name)] for name in kept}
        layers = self.remove()
        try:
            stack = HeadStack(
                self.base,
                names,
                lora=LoraShape(r=max([rank, *ranks.values()]), target_modules=list(layers)),
                adapt=self.adapt,
                invocation_tokens=self.invocation_tokens,
            )
        except BaseException:  # no memory for it: these heads stay
            self.attach(layers)
            raise
        for name, (weights, scaling) in kept.items():
            stack.set_weights(name, weights, rank=ranks[name], scaling=scaling)
        return stack

    @alone_with_base
    def remove(self) -> dict[str, StackedLora]:
        """Put the base's own layers back; returns the heads' layers, for `attach`."""
        layers = self.layers
        for path, layer in layers.items():
            _replace(self.base.model, path, layer.base)
        self.layers = {}
        return layers

    @alone_with_base
    def attach(self, layers: dict[str, StackedLora]) -> None:
        """Put layers that `remove` returned in the place of the base's own again; the heads are as they were."""
        self.layers = layers
        for path, layer in layers.items():
            _replace(self.base.model, path, layer)


def check_finite(weights: HeadWeights, scaling: float) -> None:
    """Raise InputError if a head's weights, in float32, or its scaling are not finite."""
    odd = [path for path, pair in weights.items() if not all(side.float().isfinite().all() for side in pair)]
    if odd or not math.isfinite(scaling):
        what = f"weights of {odd[0]} are" if odd else f"scaling {scaling} is"
        raise InputError(f"a head's {what} not finite; train it again, with a lower learning rate.")


def target_paths(model: nn.Module, targets: str | Collection[str] | None) -> list[str]:
    """Paths of the linear layers that PEFT's `target_modules` names, in the model's order.

    Args:
        model: The base.
        targets: `all-linear` (every linear layer but the output embedding), name suffixes such as `q_proj`, a regular
            expression for whole paths, or None for what PEFT adapts of such a model by default.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    decoder = getattr(model, "get_decoder", lambda: None)()
    text = set((decoder if isinstance(decoder, nn.Module) else model).modules())
    # Only what text passes through: a model of several modalities has towers of other ones.
    linear = [
        path for path, module in model.named_modules() if module in text and is_linear(module) and module is not head
    ]
    if targets is None:
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as USUAL

        kind = getattr(getattr(model, "config", None), "model_type", None)
        if kind not in USUAL:
            raise InputError(f"target_modules: PEFT has no default for a model of type {kind}; name the layers.")
        targets = USUAL[kind]
    if targets == ALL_LINEAR:
        found = linear
    elif isinstance(targets, str):
        found = [path for path in linear if re.fullmatch(targets, path)]
        if not found:
            raise InputError(
                f"target_modules must match linear layers; the regular expression {targets!r} matches no whole "
                "path. Give a list of names for the ends of paths."
            )
    else:
        suffixes = list(targets)
        found = [path for path in linear if any(path == s or path.endswith(f".{s}") for s in suffixes)]
        missing = [s for s in suffixes if not any(path == s or path.endswith(f".{s}") for path in found)]
        if missing:
            names = sorted({path.rsplit(".", 1)[-1] for path in linear})
            raise InputError(
                f"target_modules must name linear layers; there is no {', '.join(sorted(missing))}, but "
                f"{', '.join(names)}."
            )
    if not found:
        raise InputError("the model has no linear layer that a head could adapt.")
    return found


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
