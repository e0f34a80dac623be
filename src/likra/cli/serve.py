"""`likra serve`: answers over HTTP."""

import contextlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Annotated

import typer

from likra.cli import options


@contextlib.contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """Ctrl-C while the model is loaded ends the process at once, not by an exception that a second one could meet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGINT, before)
        raise


@options.opens_heads
@_interrupted_at_once()
def serve(
    heads: options.Heads,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is every address of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="LIKRA_API_KEY",
            metavar="KEY",
            help="Answer only those who send 'Authorization: Bearer KEY'. Other users of this machine can see a "
            "command's options; give it by the environment.",
        ),
    ] = None,
    weight: options.Weight = None,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a request waits for others to be read with.")
    ] = 5,
    max_batch: Annotated[int, typer.Option(min=1, help="Candidates read together.")] = 256,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Requests that may wait; more are refused with 429 and Retry-After.")
    ] = 256,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds within which a request is answered, or refused with 429.")
    ] = 30,
    max_candidates: Annotated[int, typer.Option(min=1, help="Candidates of one request.")] = 1000,
    max_characters: Annotated[int, typer.Option(min=1, help="Characters of a question, or of a candidate.")] = 20_000,
    max_body: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Size of one request.")] = 2**20,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Serve heads over HTTP, and a page to try them on; needs `pip install 'likra[serve]'`.

    POST /v1/score takes a question and choices. POST /v1/rerank has the form of Cohere, Jina and vLLM: point their
    clients here. GET / is the page, /docs the request schemas, /metrics is for Prometheus, and /health says
    whether the server is there. SIGTERM or Ctrl-C answers what was accepted, then ends.
    """
    from likra.errors import InputError

    if lacking := [name for name in ("fastapi", "uvicorn", "prometheus_client") if not importlib.util.find_spec(name)]:
        raise InputError(f"likra serve needs {lacking[0]}: pip install 'likra[serve]'.")

    from likra.scoring.scores import check_weight
    from likra.serve import Limits, bind, check_key, create_app
    from likra.serve import serve as run

    if api_key is not None:
        check_key(api_key)
    limits = Limits(
        max_body=max_body,
        max_candidates=max_candidates,
        max_characters=max_characters,
        max_queue=max_queue,
        timeout=timeout,
        max_wait=max_wait_ms / 1000,
        max_batch=max_batch,
    )
    bound = bind(host, port)
    likra = how.open(heads)
    if weight is not None:
        check_weight(weight)
        likra.weight = weight
    calibrated = likra.calibration or likra.lone_calibration
    if calibrated and not likra.probable() and not likra.probable(lone=True):
        options.note("these heads are calibrated for another weight or normalization; no probabilities are served")
    if api_key is None and not bound.getsockname()[0].startswith("127.") and bound.getsockname()[0] != "::1":
        options.note(f"whoever can reach {host} can use this server; give it a key (LIKRA_API_KEY)")
    name = heads.resolve().name
    app = create_app(likra, name, limits, key=api_key, memory=options.in_bytes(memory))
    shown = f"[{host}]" if ":" in host else host

    def ready() -> None:
        typer.echo(f"likra: serving {name} at http://{shown}:{bound.getsockname()[1]} (Ctrl-C ends it)")

    run(app, bound, limits, ready)
    # Nothing is left to do, and Python would give the signals back before it is gone, while a second Ctrl-C can come.
    sys.stdout.flush()
    os._exit(0)
