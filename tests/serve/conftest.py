"""A small likra, and servers of it."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from likra import Likra, TrainingConfig
from likra.data import Question, load
from likra.scoring.likelihoods import Likelihoods
from likra.serve import Limits, bind, create_app
from likra.utils.runtime import QUIET
from tests.conftest import PATIENCE


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads that were trained on sixteen questions of the world, and calibrated."""
    likra = Likra.from_base("world", training_config=TrainingConfig(learning_rate=1e-3))
    likra.fit("world", limit=16, runtime=QUIET)
    likra.calibrate("world", limit=40, runtime=QUIET)
    folder = tmp_path_factory.mktemp("serve") / "world-heads"
    likra.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def calibrated(heads: Path) -> Likra:
    return Likra.from_pretrained(heads)


@pytest.fixture(scope="session")
def likra(heads: Path) -> Likra:
    """The same, without a calibration."""
    plain = Likra.from_pretrained(heads)
    plain.calibration = None
    return plain


@pytest.fixture(scope="session")
def world() -> list[Question]:
    return load("world").questions["test"]


@contextlib.contextmanager
def client(likra: Any, limits: Limits | None = None, **options: Any) -> Iterator[TestClient]:
    """A client of an application in this process; what fails inside of it fails the test."""
    with TestClient(create_app({"world-heads": likra}, limits, **options)) as found:
        yield found


class Held:
    """A likra whose model begins to read, and goes on only when it is let go."""

    def __init__(self, likra: Likra) -> None:
        self._likra = likra
        self.reading, self._go = threading.Event(), threading.Event()

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        """Let go, for good: leave it before the server, which waits for its model."""
        self._go.set()

    def likelihoods(self, questions: Sequence[Question], **how: Any) -> Likelihoods:
        self.reading.set()
        assert self._go.wait(PATIENCE)
        return self._likra.likelihoods(questions, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._likra, name)


@contextlib.contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of an application that runs in a thread."""
    bound = bind("127.0.0.1", 0)
    bound.listen(128)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=PATIENCE))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()
