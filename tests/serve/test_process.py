"""`likra serve` as a process: its line, its refusals, and its end."""

import contextlib
import importlib.util
import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

from likra import Likra
from likra.cli import serve
from likra.data import Question
from likra.errors import InputError
from likra.serve import server as server_module
from tests.conftest import PATIENCE, Run, Spawn, until

HELD = Path(__file__).with_name("held.py")
ANSWERING = "likra: answering what was accepted; Ctrl-C again ends at once"
ENDED = "likra: ended at once; what was accepted is not answered"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")


class Server:
    """A `likra serve` whose model is held, and clients who ask it."""

    def __init__(self, spawn: Spawn, pool: ThreadPoolExecutor, heads: Path, *options: str) -> None:
        command = [sys.executable, str(HELD), "serve", str(heads), "--port", "0", "--timeout", str(PATIENCE), *options]
        pipe = subprocess.PIPE
        self.process = spawn(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self._pool = pool
        line = self.line()
        found = re.fullmatch(rf"likra: serving {heads.name} at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)", line)
        assert found, (line, self.process.communicate(timeout=PATIENCE))
        self.address = found[1]

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def complaint(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline().rstrip("\n")

    def let_go(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None  # which `communicate` would flush

    def ask(self, question: Question) -> "Future[httpx.Response]":
        body = {"query": question.text, "documents": list(question.choices)}
        return self._pool.submit(httpx.post, f"{self.address}/v1/rerank", json=body, timeout=PATIENCE)

    def waiting(self) -> float:
        counted = httpx.get(f"{self.address}/metrics", timeout=PATIENCE).text
        [value] = re.findall(r"^likra_waiting_requests (\S+)$", counted, re.MULTILINE)
        return float(value)

    def busy_with(self, questions: list[Question]) -> "list[Future[httpx.Response]]":
        """Have the first read, and the others wait; returns once the server says so."""
        asked = [self.ask(questions[0])]
        assert self.line() == "reading"
        asked += [self.ask(question) for question in questions[1:]]
        until(lambda: self.waiting() == len(questions) - 1)
        return asked

    def end(self) -> list[str]:
        """The rest of its complaints, once it is gone."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return errors.splitlines()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as found:
        yield found


@pytest.fixture
def start(pool: ThreadPoolExecutor, spawn: Spawn, heads: Path) -> Callable[..., Server]:
    """Starts servers; they end before the pool waits for its clients."""
    return lambda *options: Server(spawn, pool, heads, *options)


@posix
def test_sigterm_answers_what_was_accepted_and_exits_with_0(
    start: Callable[..., Server], calibrated: Likra, world: list[Question]
) -> None:
    server = start("--max-batch", "64")
    asked = server.busy_with(world[:30])
    server.process.send_signal(signal.SIGTERM)
    assert server.complaint() == ANSWERING

    def closed() -> bool:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{server.address}/health", timeout=PATIENCE)
            return False
        return True

    until(closed)
    assert not any(answer.done() for answer in asked)
    server.let_go()
    for answer, question in zip(asked, world, strict=False):
        assert answer.result().status_code == 200
        expected = calibrated.score(question.text, question.choices)
        got = {result["index"]: result["relevance_score"] for result in answer.result().json()["results"]}
        assert got == pytest.approx({place: c.probability for place, c in enumerate(expected)}, abs=1e-3)
    assert server.end() == [] and server.process.returncode == 0


@posix
@pytest.mark.parametrize(
    "signals",
    list(itertools.product((signal.SIGINT, signal.SIGTERM), repeat=2)),
    ids=lambda pair: "-".join(s.name for s in pair),
)
def test_told_twice_it_ends_at_once(
    start: Callable[..., Server], world: list[Question], signals: tuple[signal.Signals, signal.Signals]
) -> None:
    server = start()
    asked = server.busy_with(world[:3])
    for number, line in zip(signals, (ANSWERING, ENDED), strict=True):
        server.process.send_signal(number)
        assert server.complaint() == line
    assert server.end() == []
    assert server.process.returncode == 128 + signals[1]
    for answer in asked:
        assert isinstance(answer.exception(), httpx.TransportError)


@posix
def test_idle_and_told_once_it_exits_with_0(start: Callable[..., Server]) -> None:
    server = start()
    server.process.send_signal(signal.SIGINT)
    assert server.end() == [ANSWERING]
    assert server.process.returncode == 0


#: Serves, is told to end, and is told again at the moment that its argument names.
_MOMENTS = """
    import atexit, contextlib, signal, sys
    import fastapi
    from likra.serve import Limits, bind, serve, server

    moment = sys.argv[1]

    def at(reached):
        early = moment in ("ready", "starting", "started")
        if reached == (moment if early else "started"):
            signal.raise_signal(signal.SIGINT)
        if reached == moment:
            print(moment, flush=True)
            signal.raise_signal(signal.SIGINT)
            print("survived", flush=True)

    @contextlib.asynccontextmanager
    async def life(app):
        at("starting")
        yield
        at("stopped")

    class Server(server._Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            at("started")

    server._Server = Server
    atexit.register(at, "exit")
    serve(fastapi.FastAPI(lifespan=life), bind("127.0.0.1", 0), Limits(), lambda: at("ready"))
    at("returned")
"""


@posix
@pytest.mark.parametrize("moment", ["ready", "starting", "started", "stopped", "returned", "exit"])
def test_told_twice_at_any_moment(moment: str, run: Run, tmp_path: Path) -> None:
    script = tmp_path / "moments.py"
    script.write_text(textwrap.dedent(_MOMENTS))
    done = run([sys.executable, str(script), moment])
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (130, f"{moment}\n", [ANSWERING, ENDED])


def test_once_answered_nothing_is_left_in_which_a_signal_could_be_lost(
    heads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends the process itself: Python would give the signals back before it is gone."""

    class Gone(BaseException):
        pass

    def leave(code: int) -> None:
        raise Gone(code)

    monkeypatch.setattr("likra.serve.serve", lambda app, bound, limits, ready: bound.close())
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Gone, match="0"):
        serve.serve([heads], port=0)


@pytest.mark.parametrize(("first", "second"), itertools.product((signal.SIGINT, signal.SIGTERM), repeat=2))
def test_the_second_signal_ends_with_its_number(
    first: int, second: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server_module, "os", SimpleNamespace(_exit=sys.exit, write=os.write))
    server = server_module._Server(uvicorn.Config(lambda: None))
    server.handle_exit(first, None)
    assert server.should_exit and capfd.readouterr().err == f"{ANSWERING}\n"
    with pytest.raises(SystemExit) as ended:
        server.handle_exit(second, None)
    assert (ended.value.code, capfd.readouterr().err) == (128 + second, f"{ENDED}\n")


def test_a_signal_is_heard_where_standard_error_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(descriptor: int, text: bytes) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(server_module, "os", SimpleNamespace(_exit=sys.exit, write=closed))
    server = server_module._Server(uvicorn.Config(lambda: None))
    server.handle_exit(signal.SIGINT, None)
    with pytest.raises(SystemExit, match="130"):
        server.handle_exit(signal.SIGINT, None)


def test_what_cannot_be_served_is_said_before_anything_is_loaded(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InputError, match=r"--host 192\.0\.2\.1 --port 0: .*; choose another"):
        serve.serve([heads], host="192.0.2.1", port=0)  # an address of documentation (RFC 5737), nobody's own
    with pytest.raises(InputError, match="--api-key"):
        serve.serve([heads], port=0, api_key="two words")
    with pytest.raises(InputError, match="--timeout inf: must be a finite number"):
        serve.serve([heads], port=0, timeout=float("inf"))
    with pytest.raises(InputError, match="holds no adapters"):
        serve.serve([tmp_path], port=0)
    with pytest.raises(InputError, match="two models are named world-heads; rename"):
        serve.serve([heads, heads], port=0)
    with pytest.raises(InputError, match="world: is a base model, which is served alone"):
        serve.serve([heads, Path("world")], port=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'likra\[serve\]'"):
        serve.serve([heads])
    assert signal.getsignal(signal.SIGINT) is before
