"""Cells on an existing Ray cluster: handed out as tasks, tried again when a worker dies."""

import importlib.util
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from likra.errors import InputError
from likra.study.cells import Cell, Store, run_cell

RETRIES = 5  # of one cell, when the worker that runs it dies


def run_on_ray(cells: Sequence[Cell], store: Store, address: str, progress: Callable[[int, str], None]) -> None:
    """Run cells as Ray tasks and keep their results here.

    Each task takes one GPU where the cluster has any, else one CPU. Workers must find the models and the data under the
    same names as here; results travel through Ray, so that no disk need be shared.

    Args:
        cells: The cells.
        store: Where their results are kept.
        address: As `ray.init` takes it: `auto`, `host:port`, `ray://host:port`.
        progress: Called with (cells finished, a note).

    Raises:
        InputError: Ray is missing, the cluster cannot be reached, or a cell cannot be worked on as it is set.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("--ray needs Ray: pip install 'likra[ray]'.")
    _check_address(address)
    ray: Any = importlib.import_module("ray")
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise InputError(f"--ray {address}: no cluster there ({str(error).splitlines()[0]}).") from None
    resources = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {"num_cpus": 1}
    # Whatever a cell writes is found again by its key, so a task can be repeated without harm.
    task = ray.remote(max_retries=RETRIES, **resources)(_run)
    waiting = {task.remote(cell.work, cell.settings): cell for cell in cells}
    done = 0
    progress(0, "")
    try:
        while waiting:
            [ready], _ = ray.wait(list(waiting), num_returns=1)
            cell = waiting.pop(ready)
            refused, files = ray.get(ready)
            if refused is not None:
                raise InputError(f"{cell.label}: {refused}")
            # A folder of its own: what a local run has left unfinished is no part of it, nor it of a local run's.
            work = Path(tempfile.mkdtemp(prefix=f".{cell.key}-", dir=store.folder))
            for name, content in files.items():
                path = work / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            store.finish(cell, work)
            done += 1
            progress(done, f"({cell.label})")
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.RaySystemError) as failure:
        reason = str(failure).strip().splitlines()[0]
        raise InputError(f"--ray {address}: a cell was lost {RETRIES + 1} times ({reason}).") from None
    finally:
        for left in waiting:
            ray.cancel(left, force=True)
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise InputError if nobody listens at a host:port: Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"--ray {address}: no cluster there ({error.strerror or error}).") from None


def _run(work: str, settings: str) -> tuple[str | None, dict[str, bytes]]:
    """On a worker: run a cell in a folder of its own; returns what was wrong with it, or its files."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    cell = Cell(work, settings)
    with tempfile.TemporaryDirectory(prefix="likra-") as folder:
        try:
            run_cell(cell, Path(folder), lambda done, total, note="": None)
        except InputError as error:
            return str(error), {}
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return None, {str(path.relative_to(folder)): path.read_bytes() for path in paths}
