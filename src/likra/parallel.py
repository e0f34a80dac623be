"""Data parallel runs: the same program in several processes (`accelerate launch`, `torchrun`), each with its share.

Nothing is shared unless `start` was called: a program that has its own plans for its processes is left alone.
"""

import datetime
import os
from typing import Any

_started = False


def start() -> None:
    """Join the processes that `accelerate launch` or `torchrun` started, if they did; NCCL on GPUs, else gloo."""
    global _started
    if _started or int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    if not distributed.is_initialized():
        # A long limit: ranks wait for each other's share of the work.
        distributed.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo", timeout=datetime.timedelta(hours=6)
        )
    _started = True


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if _started else 0


def world() -> int:
    """Number of processes."""
    return int(os.environ["WORLD_SIZE"]) if _started else 1


def local_rank() -> int:
    """Number of this process on its machine, from 0: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def gather(value: Any) -> list[Any]:
    """Every process's value, in the order of their ranks, on every process."""
    if not _started:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world()
    distributed.all_gather_object(values, value)
    return values


def add_up(tensors: list[Any]) -> None:
    """Replace tensors of one dtype and device by their sums over all processes."""
    if not _started:
        return
    import torch
    from torch import distributed

    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def wait() -> None:
    """Wait until every process is here."""
    gather(None)


def finish() -> None:
    """Leave the other processes in good order."""
    global _started
    if _started:
        from torch import distributed

        distributed.destroy_process_group()
        _started = False
