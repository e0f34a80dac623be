"""Data parallel runs: the same program in several processes (`accelerate launch`, `torchrun`), each with its share.

Processes are joined only by `start`, so that a program that starts processes of its own is left alone.
"""

import datetime
import os
import sys
from typing import Any

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")  # as launchers name it
_state: Any = None  # accelerate's, once there are several processes


def start() -> None:
    """Join the processes that a launcher started, if it did; NCCL on GPUs, else gloo."""
    global _state
    if _state is not None or not any(int(os.environ.get(name, "1")) > 1 for name in _SIZES):
        return
    import torch
    from accelerate import PartialState

    # A long limit, because processes wait for each other's share of the work.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=datetime.timedelta(hours=6))
    _state = state if state.num_processes > 1 else None


def rank() -> int:
    """Number of this process, from 0."""
    return int(_state.process_index) if _state else 0


def world() -> int:
    """Number of processes."""
    return int(_state.num_processes) if _state else 1


def local_rank() -> int:
    """Number of this process on its machine, from 0: the number of its GPU."""
    return int(_state.local_process_index) if _state else 0


def gather(value: Any) -> list[Any]:
    """Every process's value, in the order of their ranks, on every process."""
    if _state is None:
        return [value]
    from accelerate.utils import gather_object

    return list(gather_object([value]))


def add_up(tensors: list[Any]) -> None:
    """Replace tensors of one dtype and device by their sums over all processes, in one message.

    (accelerate's `reduce` sends one for each tensor.)
    """
    if _state is None:
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
    """End this process with exit code 0 once all others have come here too; does nothing where there is only one."""
    if _state is not None:
        wait()
        _state.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # the communication library's threads sometimes abort the interpreter's own shutdown
