"""`likra serve` under many clients, under more than it can take, killed while busy, and given nonsense.

    python benchmarks/serve.py

The server is `likra serve` in a process of its own, on heads trained on 64 questions of the embedded model; the clients
are this process. Every answer is compared with the library's own, and the server's count with the clients': none is
lost, and none is given twice. `--parts load,overload,kill,malformed` chooses what is run.
"""

import argparse
import asyncio
import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from likra import Likra, TrainingConfig
from likra.data import Question, load
from likra.utils.runtime import QUIET

import common

sys.path.append(str(Path(__file__).parents[1]))
from tests.serve.malformed import requests

TOLERANCE = 1e-4


@dataclass
class Outcome:
    """What clients got.

    Attributes:
        seconds: status -> how long each request took; status 0 is a connection that was refused or closed.
        took: How long all of it took, in seconds.
    """

    seconds: dict[int, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    took: float = 0.0

    def quantile(self, status: int, share: float) -> str:
        """Milliseconds within which such a share of the requests was answered."""
        found = sorted(self.seconds[status])
        return f"{1000 * found[min(len(found) - 1, int(share * len(found)))]:.0f}" if found else "-"


@contextlib.contextmanager
def server(heads: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `likra serve`, and its address."""
    command = [sys.executable, "-m", "likra", "serve", str(heads), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, re.findall(r"http://\S+", process.stdout.readline())[0]
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        raise SystemExit(f"the server ended with {process.returncode}")


class Judge:
    """Knows the right answers: the library's, each question read alone."""

    def __init__(self, likra: Likra, questions: list[Question]) -> None:
        self.questions = questions
        self.expected = [likra.score(question.text, question.choices) for question in questions]

    def check(self, number: int, answer: dict) -> None:
        """End the benchmark unless the answer is the library's."""
        expected = self.expected[number]
        for choice, candidate in zip(answer["choices"], expected, strict=True):
            differ = [
                abs(choice[name] - getattr(candidate, name)) for name in ("score", "positive", "negative", "base")
            ]
            if choice["text"] != candidate.text or max(differ) > TOLERANCE:
                raise SystemExit(f"question {number}: {choice} is not {candidate}")
        if expected[answer["answer"]].score < max(candidate.score for candidate in expected) - TOLERANCE:
            raise SystemExit(f"question {number}: {answer['answer']} is not the best")


async def ask(judge: Judge, address: str, clients: int, seconds: float, outcome: Outcome) -> None:
    """So many clients, each of which asks again as soon as it has an answer."""
    end = time.monotonic() + seconds

    async def one(number: int) -> None:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            while time.monotonic() < end:
                number = (number + 1) % len(judge.questions)
                question = judge.questions[number]
                body = {"question": question.text, "choices": list(question.choices)}
                start = time.monotonic()
                try:
                    response = await client.post("/v1/score", json=body)
                except httpx.TransportError:
                    outcome.seconds[0].append(time.monotonic() - start)
                    return
                outcome.seconds[response.status_code].append(time.monotonic() - start)
                if response.status_code == 200:
                    judge.check(number, response.json())
                elif response.status_code == 429:
                    if int(response.headers["retry-after"]) < 1:
                        raise SystemExit("429 without a time to wait")
                    await asyncio.sleep(0.2)  # impatient: it was told to wait for a second or more
                else:
                    raise SystemExit(f"status {response.status_code}: {response.text}")

    start = time.monotonic()
    await asyncio.gather(*(one(client * 7) for client in range(clients)))
    outcome.took = time.monotonic() - start


def counted(address: str, status: int, path: str = "/v1/score") -> int:
    """How many answers of this status the server says it gave at a path."""
    found = re.findall(rf'likra_requests_total{{path="{path}",status="{status}"}} (\S+)', _metrics(address))
    return int(float(found[0])) if found else 0


def _metrics(address: str) -> str:
    return httpx.get(f"{address}/metrics").text


def under_load(judge: Judge, heads: Path, clients: int, seconds: float) -> None:
    """Many clients, beside one that asks one question at a time."""
    print(f"Every answer is the library's (within {TOLERANCE}), and the server gave as many as clients got.\n")
    print("| clients | seconds | answers | a second | candidates in a batch | p50, ms | p99, ms |")
    print("|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for number in (1, clients):
        with server(heads) as (_, address):
            httpx.post(f"{address}/v1/score", json={"question": "Which?", "choices": ["warm", "up"]})
            outcome = Outcome()
            before = counted(address, 200)
            asyncio.run(ask(judge, address, number, seconds, outcome))
            got, given = len(outcome.seconds[200]), counted(address, 200) - before
            sums = dict(re.findall(r"likra_batch_candidates_(sum|count) (\S+)", _metrics(address)))
        together = float(sums["sum"]) / float(sums["count"])
        if set(outcome.seconds) != {200} or got != given:
            raise SystemExit(f"got {got}, given {given}, statuses {set(outcome.seconds)}")
        print(
            f"| {number} | {outcome.took:.0f} | {got} | {got / outcome.took:.1f} | {together:.0f} "
            f"| {outcome.quantile(200, 0.5)} | {outcome.quantile(200, 0.99)} |",
            flush=True,
        )


def overloaded(judge: Judge, heads: Path, clients: int) -> None:
    """More than the queue holds."""
    print(f"\n{clients} clients, 15 s, a queue of 8 requests, batches of 16 candidates, a time limit of 1 s.\n")
    print("| status | answers | p50, ms | p99, ms | longest, ms |\n|---:|---:|---:|---:|---:|")
    with server(heads, "--max-queue", "8", "--max-batch", "16", "--timeout", "1") as (_, address):
        outcome = Outcome()
        asyncio.run(ask(judge, address, clients, 15, outcome))
        for status in sorted(outcome.seconds):
            if status not in (200, 429) or counted(address, status) != len(outcome.seconds[status]):
                raise SystemExit(
                    f"status {status}: got {len(outcome.seconds[status])}, given {counted(address, status)}"
                )
    for status in sorted(outcome.seconds):
        row = " | ".join(outcome.quantile(status, share) for share in (0.5, 0.99, 1))
        print(f"| {status} | {len(outcome.seconds[status])} | {row} |", flush=True)


def killed(judge: Judge, heads: Path, clients: int, rounds: int = 5) -> None:
    """SIGTERM while all clients wait for an answer."""
    print(f"\nSIGTERM while {clients} clients ask, {rounds} times.\n")
    print("| round | answered | of them after SIGTERM | refused, connection closed | seconds to the end | exit code |")
    print("|---:|---:|---:|---:|---:|---:|", flush=True)
    for turn in range(rounds):
        with server(heads) as (process, address):
            outcome = Outcome()

            async def busy(address: str, outcome: Outcome, process: subprocess.Popen[str]) -> tuple[int, float]:
                asking = asyncio.create_task(ask(judge, address, clients, 60, outcome))
                await asyncio.sleep(2 + turn / 7)  # noqa: B023
                before, start = len(outcome.seconds[200]), time.monotonic()
                process.send_signal(signal.SIGTERM)
                await asking
                await asyncio.to_thread(process.wait)
                return before, time.monotonic() - start

            before, took = asyncio.run(busy(address, outcome, process))
        answered, closed = len(outcome.seconds[200]), len(outcome.seconds[0])
        print(
            f"| {turn + 1} | {answered} | {answered - before} | {closed} | {took:.1f} | {process.returncode} |",
            flush=True,
        )


def malformed(judge: Judge, heads: Path, count: int) -> None:
    """Nonsense, from eight clients at once."""
    with server(heads) as (_, address):
        outcome = Outcome()

        async def send() -> None:
            left = requests(count)

            async def one() -> None:
                async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                    for path, headers, body in left:
                        start = time.monotonic()
                        response = await client.post(path, content=body, headers=headers)
                        outcome.seconds[response.status_code].append(time.monotonic() - start)
                        if response.status_code >= 500:
                            raise SystemExit(f"{path} {headers} {body[:500]!r}: {response.status_code}")

            await asyncio.gather(*(one() for _ in range(8)))

        asyncio.run(send())
        after = Outcome()
        asyncio.run(ask(judge, address, 1, 1, after))
    print(f"\n{count} malformed requests, 8 clients; the server answers as before afterwards.\n")
    print("| status | answers | p50, ms | longest, ms |\n|---:|---:|---:|---:|")
    for status in sorted(outcome.seconds):
        found = outcome.seconds[status]
        print(f"| {status} | {len(found)} | {outcome.quantile(status, 0.5)} | {1000 * max(found):.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="world", help="a pretrained model (a folder, a GGUF file)")
    parser.add_argument("--parts", default="load,overload,kill,malformed")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--malformed", type=int, default=10_000, help="how many malformed requests")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    likra = Likra.from_base(options.model, training_config=TrainingConfig(learning_rate=1e-3)).fit(
        "world", limit=64, runtime=QUIET
    )
    heads = common.scratch() / "world-heads"
    likra.save_pretrained(heads)
    judge = Judge(likra, load("world").questions["test"])
    print(
        f"{common.machine()}; {Path(options.model).name}, heads of 64 questions, "
        f"{len(judge.questions)} test questions, seed 0\n"
    )
    parts = {
        "load": lambda: under_load(judge, heads, options.clients, options.seconds),
        "overload": lambda: overloaded(judge, heads, options.clients),
        "kill": lambda: killed(judge, heads, options.clients),
        "malformed": lambda: malformed(judge, heads, options.malformed),
    }
    for name in options.parts.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
