"""H named LoRA heads on one frozen base model."""

import contextlib
import hashlib
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import nn

from likra.errors import InputError
from likra.heads.base import Base
from likra.heads.lora import Route, StackedLora, is_linear
from likra.questions.tokens import TokenPair
from likra.reading.turns import alone, alone_with_base, lock_of

Activation = Literal["everywhere", "answer"]
ACTIVATIONS: dict[str, str] = {
    "everywhere": "plain LoRA, on every token (the paper)",
    "answer": "only from the end of the prompt on; the prompt is read by the plain base, once for all heads",
}
ALL_LINEAR = "all-linear"

#: A head's weights: module path -> (A [r, D_in], B [D_out, r]).
HeadWeights = dict[str, tuple[torch.Tensor, torch.Tensor]]


class HeadStack:
    """H heads on one base, as slices of one batched module per adapted linear layer.

    The base's linear layers are replaced in place; `remove()` puts them back. Outside `active(...)` the model is the
    plain base. One thread at a time: `active` and whatever changes the base wait for those that use the base.

    Args:
        base: The base model.
        names: Names of the heads, in the order of their slices.
        rank: Rank of the low-rank update.
        alpha: LoRA alpha; the update is scaled by alpha / rank.
        targets: `all-linear` (every linear layer but the output embedding, as PEFT means it), or name suffixes such
            as `q_proj`.
        activation: `everywhere` or `answer`.
        invocation: With `answer`: token ids that every prompt ends in (those of "Answer:", say). The heads then act
            from the first of them on, as Activated LoRA does (Greenewald et al. 2025, arXiv 2504.12397); without
            them, or on a prompt that ends otherwise, from the prompt's last token on.
        seeds: One seed per head for its first weights. Default: 0, 1, ...

    Raises:
        InputError: No linear layer matches `targets`, a name occurs twice, or the base already carries heads.
    """

    @alone(lambda self, base, *_, **__: base.model)
    def __init__(
        self,
        base: Base,
        names: Sequence[str],
        *,
        rank: int = 16,
        alpha: float = 32,
        targets: str | Sequence[str] = ALL_LINEAR,
        activation: str = "everywhere",
        invocation: Sequence[int] = (),
        seeds: Sequence[int] | None = None,
    ) -> None:
        if len(set(names)) != len(names):
            raise InputError(f"heads {', '.join(names)}: a name occurs twice; name each head once.")
        if activation not in ACTIVATIONS:
            raise InputError(f"--activation {activation}: must be one of {', '.join(ACTIVATIONS)}.")
        self.base = base
        self.names = list(names)
        self.activation = activation
        self.invocation = tuple(invocation) if activation == "answer" else ()
        self.ranks = [rank] * len(names)
        if any(isinstance(module, StackedLora) for module in base.model.modules()):
            raise InputError(
                f"{base.name}: already carries heads; call remove() on their stack, or load the base anew."
            )
        self._route = Route()
        self.layers: dict[str, StackedLora] = {}
        layers: dict[str, StackedLora] = {}
        for path in target_paths(base.model, targets):
            layer = StackedLora(base.model.get_submodule(path), len(names), rank, self._route)
            layer.scaling = [alpha / rank] * len(names)
            layers[path] = layer
        for index, seed in enumerate(seeds if seeds is not None else range(len(names))):
            generator = torch.Generator().manual_seed(seed)
            for layer in layers.values():
                layer.reset(index, generator)
        self.attach(layers)

    def index(self, name: str) -> int:
        """Slice of the head called `name`."""
        if not self.layers:
            raise InputError("these heads were removed from their base; load or train them anew.")
        if name not in self.names:
            raise InputError(f"no head is called {name!r}; the heads are {', '.join(self.names)}.")
        return self.names.index(name)

    @contextlib.contextmanager
    def active(self, spans: Sequence[tuple[str, int, int]], tokens: int) -> Iterator[None]:
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

    def wakes_in(self, context: Sequence[int]) -> bool:
        """Whether a context ends in the invocation tokens (in none, where there are none)."""
        return tuple(context[len(context) - len(self.invocation) :]) == self.invocation

    def reach(self, context: Sequence[int]) -> int:
        """Number of a context's last tokens that heads of `activation="answer"` act on; at least 1.

        These are the invocation tokens where the context ends in them, else its last token alone.
        """
        return len(self.invocation) if self.invocation and self.wakes_in(context) else 1

    def spans_of_rows(self, name: str, pairs: Sequence[TokenPair], length: int) -> list[tuple[str, int, int]]:
        """Spans of one head in a batch of one row per pair, padded on the left to `length`."""
        if self.activation == "everywhere":
            return [(name, 0, len(pairs) * length)]
        ends = ((row + 1) * length for row in range(len(pairs)))
        return [
            (name, end - len(pair.completion) + 1 - self.reach(pair.context), end)
            for end, pair in zip(ends, pairs, strict=True)
        ]

    def parameters(self) -> list[nn.Parameter]:
        """The stacked tensors, two per adapted layer."""
        return [parameter for layer in self.layers.values() for parameter in (layer.a, layer.b)]

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
        found = hashlib.sha256(f"{self.activation} {self.invocation} {self.scaling(name)}".encode())
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
                rank=max([rank, *ranks.values()]),
                targets=list(layers),
                activation=self.activation,
                invocation=self.invocation,
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


def target_paths(model: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """Paths of the linear layers that `targets` names, in the model's order."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    decoder = getattr(model, "get_decoder", lambda: None)()
    text = set((decoder if isinstance(decoder, nn.Module) else model).modules())
    # Only what text passes through: a model of several modalities has towers of other ones.
    linear = [
        path for path, module in model.named_modules() if module in text and is_linear(module) and module is not head
    ]
    if targets == ALL_LINEAR:
        found = linear
    else:
        suffixes = [targets] if isinstance(targets, str) else list(targets)
        found = [path for path in linear if any(path == s or path.endswith(f".{s}") for s in suffixes)]
        missing = [s for s in suffixes if not any(path == s or path.endswith(f".{s}") for path in found)]
        if missing:
            names = sorted({path.rsplit(".", 1)[-1] for path in linear})
            raise InputError(f"--targets {', '.join(missing)}: no such linear layer; there are {', '.join(names)}.")
    if not found:
        raise InputError("the model has no linear layer that a head could adapt.")
    return found


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
