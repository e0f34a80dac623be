"""Checksums of weights that are not read again while the weights are known to be unchanged."""

from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

_SAMPLES = 1024  # values of a tensor that are looked at each time

#: What may write to a tensor's memory and leave its version as it was.
_BEHIND = ("data", "numpy", "__array__", "__dlpack__", "untyped_storage", "storage", "_typed_storage", "requires_grad_")


class Watched(nn.Parameter):
    """A parameter that remembers whether its memory was handed out for writes that torch does not count.

    `tensor._version` counts what operations write in place (`add_`, `copy_`, an optimizer, `load_state_dict`), under
    any name and through any view. It does not count what is written through `tensor.data`, as PEFT's merging does,
    through NumPy, or by a fused optimizer. Once such a name of a parameter was given to anyone, who may keep it, or it
    was made trainable, its memory is read each time.
    """


def _handed_out(name: str) -> property:
    plain = getattr(nn.Parameter, name)
    descriptor = hasattr(plain, "__set__")

    def get(self: Watched) -> Any:
        self.__dict__["_likra_handed_out"] = True
        return plain.__get__(self, type(self))

    def put(self: Watched, value: Any) -> None:
        self.__dict__["_likra_handed_out"] = True
        plain.__set__(self, value)

    return property(get, put if descriptor else None)


for _name in _BEHIND:
    setattr(Watched, _name, _handed_out(_name))


def _trained(self: Watched, value: bool) -> None:
    self.__dict__["_likra_handed_out"] = True  # a fused optimizer counts nothing either
    nn.Parameter.requires_grad.__set__(self, value)  # type: ignore[attr-defined]


Watched.requires_grad = property(nn.Parameter.requires_grad.__get__, _trained)  # type: ignore[assignment,attr-defined]


def watch(model: nn.Module) -> None:
    """Make every plain parameter of a model a `Watched` one, in place: the same object, with the same memory."""
    for parameter in model.parameters():
        if type(parameter) is nn.Parameter:
            parameter.__class__ = Watched


class Checksums:
    """Checksums of tensors, each taken again only where the tensor may have changed.

    A tensor is taken to be unchanged where it is a `Watched` parameter and all of this holds: it is the same object at
    the same address with the same shape, strides and type; its version is the same; its memory was never handed out
    (`Watched`); and 1,024 of its values, evenly spaced, are bit for bit what they were. All else is read anew: buffers,
    quantised weights, tensors of inference mode, parameters that are no plain ones.

    So everything is seen that torch's operations write, and that PEFT, transformers or an optimizer write by way of
    `.data`. What is not seen is a write of a few values that neither: through `.data` or NumPy of a *view* of a
    parameter (`weight[0].data[3] = 1`), or by code outside of torch that kept the memory's address.
    """

    def __init__(self, checksum: Any) -> None:
        """`checksum` gives that of a tensor."""
        self._checksum = checksum
        self._known: Any = WeakTensorKeyDictionary()

    def of(self, tensor: torch.Tensor) -> str:
        """The checksum of a tensor as it is now."""
        state = _state(tensor)
        known = self._known.get(tensor) if state else None
        if known and known[0] == state and torch.equal(known[1], _sample(tensor)):
            return str(known[2])
        found = str(self._checksum(tensor))
        if state:
            self._known[tensor] = state, _sample(tensor), found
        return found


def _state(tensor: torch.Tensor) -> tuple[Any, ...] | None:
    """What changes with a tensor; None where that does not tell."""
    if not isinstance(tensor, Watched) or tensor.__dict__.get("_likra_handed_out") or tensor.is_inference():
        return None
    if not tensor.is_contiguous():
        return None
    return torch.Tensor.data_ptr(tensor), tensor._version, tuple(tensor.shape), tensor.dtype, tensor.device


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().view(-1)
    return flat[:: max(1, flat.numel() // _SAMPLES)].view(-1).clone()
