"""Runs the application: one address, and an end that answers what was accepted."""

import contextlib
import math
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.server import HANDLED_SIGNALS

from likra.errors import InputError
from likra.serve.limits import Limits

_BACKLOG = 2048
_GRACE = 5.0  # seconds beyond the time limit, after which not even a shutdown waits


class _Server(uvicorn.Server):
    """Ends with what was accepted; at once when it is told so twice."""

    def take_signals(self) -> None:
        """From here on signals come to `handle_exit`, in the main thread.

        While it runs, uvicorn takes them too; what it gives back when it has ended are these.
        """
        if threading.current_thread() is threading.main_thread():
            for sig in HANDLED_SIGNALS:
                signal.signal(sig, self.handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own would wait for the model's thread, and raise the signal again in the end.
        if self.should_exit:
            _say("likra: ended at once; what was accepted is not answered\n")
            os._exit(128 + sig)
        self.should_exit = True
        _say("likra: answering what was accepted; Ctrl-C again ends at once\n")


def _say(line: str) -> None:
    """Write to standard error, also in the midst of somebody else's write to `sys.stderr`, which is not reentrant."""
    with contextlib.suppress(OSError):
        os.write(2, line.encode())


def bind(host: str, port: int) -> socket.socket:
    """A socket at that address, which does not listen yet.

    Raises:
        InputError: The address is not this machine's, or is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: {reason}; choose another address.") from None
    return bound


def serve(app: FastAPI, bound: socket.socket, limits: Limits, ready: Callable[[], None]) -> None:
    """Answer until SIGINT or SIGTERM; then take no more, answer what was accepted, and return.

    The second of these signals ends the process at once with 128 + its number, also after this has returned.

    Args:
        app: The application.
        bound: Where clients come in, from `bind`.
        limits: Those of the application.
        ready: Called once clients can come.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=math.ceil(limits.timeout + _GRACE),
    )
    server = _Server(config)
    server.take_signals()
    bound.listen(_BACKLOG)
    ready()
    server.run(sockets=[bound])
