"""From the host to a device, without waiting."""

from collections.abc import Sequence

import torch


def sent(device: torch.device, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The same tensors on a device.

    To a GPU they go in one copy for each dtype, from pinned memory, so that the host does not wait for what the device
    still has to do.

    Example:
        >>> sent(torch.device("cpu"), [torch.tensor([1, 2]), torch.tensor(True)])
        [tensor([1, 2]), tensor(True)]
    """
    if device.type != "cuda":
        return [tensor.to(device) for tensor in tensors]
    found = list(tensors)
    for dtype in {tensor.dtype for tensor in tensors}:
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[place].flatten() for place in places]).pin_memory()
        parts = flat.to(device, non_blocking=True).split([tensors[place].numel() for place in places])
        for place, part in zip(places, parts, strict=True):
            found[place] = part.view(tensors[place].shape)
    return found
