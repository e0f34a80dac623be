"""`likra serve`: answers over HTTP."""

import contextlib
import datetime
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
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


def _name_of(where: Path) -> str:
    """What clients call a model: the name of its folder or file, or its name on the hub."""
    return where.resolve().name if where.exists() else where.as_posix()


def _written(where: Path) -> datetime.date | None:
    """When the files of a model were written; None where it is not here."""
    from likra.utils.locations import MANIFEST

    files = [file for file in (where / MANIFEST, where) if file.exists()]
    return datetime.date.fromtimestamp(files[0].stat().st_mtime) if files else None


@options.opens_heads
@_interrupted_at_once()
def serve(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Folders that `likra train` wrote, or owner/name on the Hugging Face hub: several on one base, which "
            "a request chooses by its field `model`. Or one base model, untrained: a hub id, a folder, a GGUF file, or "
            "`world`.",
            show_default=False,
        ),
    ],
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
    max_questions: Annotated[int, typer.Option(min=1, help="Questions about one state, of one request.")] = 100,
    max_characters: Annotated[
        int, typer.Option(min=1, help="Characters of a question or state, or of a candidate.")
    ] = 20_000,
    max_body: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Size of one request.")] = 2**20,
    memory: options.Memory = None,
    *,
    how: options.Loading,
) -> None:
    """Serve heads over HTTP, and a page to try them on; needs `pip install 'likra[serve]'`.

    POST /v1/systemone is the form of decision models: a state, typed questions about it, and a probability for every
    answer; point their clients here. POST /v1/score takes a question and choices. POST /v1/rerank has the form of
    Cohere, Jina and vLLM: point their clients here. GET / is the page, /docs the request schemas, /metrics is for
    Prometheus, and /health says whether the server is there. SIGTERM or Ctrl-C answers what was accepted, then ends.
    """
    from likra.errors import InputError

    if lacking := [name for name in ("fastapi", "uvicorn", "prometheus_client") if not importlib.util.find_spec(name)]:
        raise InputError(f"likra serve needs {lacking[0]}: pip install 'likra[serve]'.")

    from likra.utils.locations import is_base

    alone = [where for where in models if is_base(where, how.revision)]
    if alone and len(models) > 1:
        raise InputError(f"{alone[0]}: is a base model, which is served alone; give folders of heads, or this one.")
    for where in models:
        how.check(where, trained=not alone)

    names = [_name_of(where) for where in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two models are named {twice}; rename one of their folders, so that clients can choose.")

    from likra.scoring.scores import check_weight
    from likra.serve import Limits, Models, base_alone, bind, check_key, create_app
    from likra.serve import serve as run

    if api_key is not None:
        check_key(api_key)
    limits = Limits(
        max_body=max_body,
        max_candidates=max_candidates,
        max_questions=max_questions,
        max_characters=max_characters,
        max_queue=max_queue,
        timeout=timeout,
        max_wait=max_wait_ms / 1000,
        max_batch=max_batch,
    )
    bound = bind(host, port)
    if weight is not None:
        check_weight(weight)
    served = Models()
    for where, name in zip(models, names, strict=True):
        likra = base_alone(how.open_base(str(where))) if alone else how.open(where, served.base())
        likra.weight = likra.weight if weight is None else weight
        calibrated = likra.calibration or likra.lone_calibration
        if calibrated and not likra.probable() and not likra.probable(lone=True):
            options.note(
                f"{where}: calibrated for another weight or normalization; no calibrated probabilities are served"
            )
        served.add(name, likra, _written(where))
    if api_key is None and not bound.getsockname()[0].startswith("127.") and bound.getsockname()[0] != "::1":
        options.note(f"whoever can reach {host} can use this server; give it a key (LIKRA_API_KEY)")
    app = create_app(served, limits, key=api_key, memory=options.in_bytes(memory))
    shown = f"[{host}]" if ":" in host else host

    def ready() -> None:
        typer.echo(
            f"likra: serving {', '.join(served.names)} at http://{shown}:{bound.getsockname()[1]} (Ctrl-C ends it)"
        )

    run(app, bound, limits, ready)
    # Nothing is left to do, and Python would give the signals back before it is gone, while a second Ctrl-C can come.
    sys.stdout.flush()
    os._exit(0)
