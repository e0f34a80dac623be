"""A connection to a Ray cluster, or to one that is started here for the time being."""

import contextlib
import importlib
import importlib.util
import os
import socket
from collections.abc import Iterator
from typing import Any

from likra.errors import InputError

#: Times that work is tried again when the worker that does it dies.
RETRIES = 5


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected to a cluster within the block.

    Args:
        address: As `ray.init` takes it: `auto`, `host:port`, `ray://host:port`; or `local`, for a cluster of this
            machine that ends with the block.

    Raises:
        InputError: Ray is missing, or the cluster cannot be reached.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("--ray needs Ray: pip install 'likra[ray]'.")
    _check_address(address)
    # Else Ray's own code warns, where there is nothing to be done.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local: dict[str, Any] = {}
    if address == "local":  # what a cluster of its own would tell others, and serve on a port
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local["include_dashboard"] = False
    ray: Any = importlib.import_module("ray")
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise InputError(f"--ray {address}: no cluster there ({str(error).splitlines()[0]}).") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def one_of(ray: Any) -> tuple[dict[str, int], int]:
    """What a worker that reads a model takes of the cluster, one GPU where it has any and else one CPU; and how many
    such workers there can be."""
    found = ray.cluster_resources()
    name, key = ("GPU", "num_gpus") if found.get("GPU") else ("CPU", "num_cpus")
    return {key: 1}, max(1, int(found.get(name, 1)))


def _check_address(address: str) -> None:
    """Raise InputError if nobody listens at a host:port: Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise InputError(f"--ray {address}: no cluster there ({error.strerror or error}).") from None
