"""`POST /v1/systemone` beside `POST /v1/score`: many clients, shuffled options, and many questions about one state.

    python benchmarks/decisions.py --seconds 60

The server is `likra serve` in a process of its own, on calibrated heads of the embedded model; the clients are this
process. Every answer is compared with the library's own. `--parts load,shuffled,shared` chooses what is run;
`benchmarks/serve.py` does the rest (overload, SIGTERM, malformed requests) for all paths.
"""

import argparse
import asyncio
import itertools
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from likra import Likra, TrainingConfig
from likra.data.decisions import read_decision, worded
from likra.utils.runtime import QUIET
from serve import TOLERANCE, Outcome, counted, server

import common

NAMES = ("Mira Voss", "Ana Ruiz", "Tom Beck", "Lena Ode", "Otto Falk", "Nia Cole", "Jan Vries", "Ida Berg")
OPTIONS = ("cello", "harp", "organ", "flute", "drum", "lute")


def states(count: int) -> list[str]:
    """Texts to decide about."""
    return [
        f"{NAMES[n % 8]} plays in hall {n} with {NAMES[(n * 3 + 1) % 8]}, and again tomorrow." for n in range(count)
    ]


def questions(count: int) -> dict[str, Any]:
    """So many questions about a text, of all three types in turn."""
    kinds = itertools.cycle(("choice", "noul", "score"))
    found: dict[str, Any] = {}
    for number, kind in zip(range(count), kinds, strict=False):
        asked: dict[str, Any] = {"type": kind, "instructions": f"What does number {number} play?"}
        if kind == "choice":
            asked["criteria"] = dict.fromkeys(OPTIONS[number % 3 : number % 3 + 4])
        if kind == "score":
            asked["criteria"] = ["softly", "plainly", "loudly"]
        found[f"q{number}"] = asked
    return found


class Library:
    """Knows the right answers: the library's, each question read alone."""

    def __init__(self, likra: Likra) -> None:
        self._likra = likra
        self._known: dict[tuple[str, str], dict[str, float]] = {}

    def probabilities(self, state: str, asked: dict[str, Any]) -> dict[str, float]:
        """The probability of each option."""
        key = state, str(sorted(asked.get("criteria") or ())) + asked["instructions"]
        if key not in self._known:
            question = worded(state, read_decision(asked))
            found = self._likra.score(question.text, question.choices)
            self._known[key] = {one.text: float(one.probability or 0) for one in found}
        return self._known[key]

    def check(self, state: str, sent: dict[str, Any], answers: dict[str, Any]) -> None:
        """End the benchmark unless these are the library's answers."""
        if list(answers) != list(sent):
            raise SystemExit(f"asked {list(sent)}, answered {list(answers)}")
        for name, asked in sent.items():
            known, answer = self.probabilities(state, asked), answers[name]
            if asked["type"] == "noul":
                got = {"yes": answer["noul"], "no": 1 - answer["noul"]}
            elif asked["type"] == "score":
                got = {level: answer["probabilities"][str(n)] for n, level in enumerate(asked["criteria"])}
            else:
                got = answer["probabilities"]
            if any(abs(got[option] - value) > TOLERANCE for option, value in known.items()):
                raise SystemExit(f"{state} {name}: {got} is not {known}")


async def load(address: str, clients: int, seconds: float, each: Any, outcome: Outcome) -> None:
    """So many clients, each of which asks again as soon as it has an answer."""
    end = time.monotonic() + seconds

    async def one(number: int) -> None:
        async with httpx.AsyncClient(base_url=address, timeout=120) as client:
            for turn in itertools.count():
                if time.monotonic() >= end:
                    return
                path, body, check = each(number * 7 + turn)
                start = time.monotonic()
                response = await client.post(path, json=body)
                outcome.seconds[response.status_code].append(time.monotonic() - start)
                if response.status_code != 200:
                    raise SystemExit(f"status {response.status_code}: {response.text}")
                check(response.json())

    start = time.monotonic()
    await asyncio.gather(*map(one, range(clients)))
    outcome.took = time.monotonic() - start


def under_load(library: Library, heads: Path, clients: int, seconds: float) -> None:
    """The old route and the new one, with 1, 4 and 16 questions a state."""
    texts = states(64)
    print(f"{clients} clients; every answer is the library's (within {TOLERANCE}), and the server gave as many.\n")
    print(
        "| route | questions a request | seconds | requests | questions a second | p50, ms | p99, ms | tokens shared |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for path, count in (("/v1/score", 1), ("/v1/systemone", 1), ("/v1/systemone", 4), ("/v1/systemone", 16)):
        asked = questions(count)
        for text in texts:  # so that the clients wait for nothing but the server
            for one in asked.values():
                library.probabilities(text, one)

        def each(number: int, path: str = path, asked: dict[str, Any] = asked) -> tuple[str, Any, Any]:
            state = texts[number % len(texts)]
            if path == "/v1/systemone":
                body = {"state": state, "questions": asked}
                return path, body, lambda found: library.check(state, asked, found["answers"])
            question = worded(state, read_decision(asked["q0"]))
            known = library.probabilities(state, asked["q0"])

            def check(found: dict[str, Any]) -> None:
                if any(abs(one["probability"] - known[one["text"]]) > TOLERANCE for one in found["choices"]):
                    raise SystemExit(f"{state}: {found} is not {known}")

            return path, {"question": question.text, "choices": list(question.choices)}, check

        with server(heads) as (_, address):
            httpx.post(f"{address}/v1/score", json={"question": "Which?", "choices": ["warm", "up"]}, timeout=120)
            outcome = Outcome()
            before = counted(address, 200, path)
            asyncio.run(load(address, clients, seconds, each, outcome))
            got, given = len(outcome.seconds[200]), counted(address, 200, path) - before
            lines = httpx.get(f"{address}/metrics").text.splitlines()
            tokens = {
                line.split()[0]: float(line.split()[1])
                for line in lines
                if line.startswith("likra_") and "_tokens_total " in line
            }
        if set(outcome.seconds) != {200} or got != given:
            raise SystemExit(f"got {got}, given {given}, statuses {set(outcome.seconds)}")
        shared = 1 - tokens["likra_read_tokens_total"] / tokens["likra_asked_tokens_total"]
        print(
            f"| `{path}` | {count} | {outcome.took:.0f} | {got} | {count * got / outcome.took:.1f} "
            f"| {outcome.quantile(200, 0.5)} | {outcome.quantile(200, 0.99)} | {100 * shared:.0f}% |",
            flush=True,
        )


def shuffled(library: Library, heads: Path, count: int) -> None:
    """One request after another with its options and questions in other orders; two options are always tied."""
    chance, plain, worst = random.Random(0), questions(6), 0.0
    texts = states(16)
    with server(heads) as (_, address), httpx.Client(base_url=address, timeout=120) as client:
        first = {text: client.post("/v1/systemone", json={"state": text, "questions": plain}).json() for text in texts}
        for number in range(count):
            text = texts[number % len(texts)]
            sent = {}
            for name in chance.sample(list(plain), len(plain)):
                asked = dict(plain[name])
                if asked["type"] == "choice":
                    asked["criteria"] = dict.fromkeys(chance.sample(list(asked["criteria"]), len(asked["criteria"])))
                sent[name] = asked
            answers = client.post("/v1/systemone", json={"state": text, "questions": sent}).json()["answers"]
            library.check(text, sent, answers)
            for name, answer in answers.items():
                before = first[text]["answers"][name]
                if answer.get("choice") != before.get("choice"):
                    raise SystemExit(f"{text} {name}: {answer['choice']}, and {before['choice']} in another order")
                for key, value in answer.get("probabilities", {"yes": answer.get("noul")}).items():
                    other = before.get("probabilities", {"yes": before.get("noul")})[key]
                    worst = max(worst, abs(value - other))
    print(
        f"\n{count} requests of 6 questions, options and questions shuffled: no choice changes, and the largest",
        end=" ",
    )
    print(f"difference between probabilities is {worst:.1e}.")


def shared(heads: Path, rounds: int = 40) -> None:
    """Sixteen questions about one state of 300 tokens, and one: which turn comes first alternates."""
    state = " ".join(states(200))
    with server(heads) as (_, address), httpx.Client(base_url=address, timeout=120) as client:

        def ask(text: str, count: int) -> tuple[float, int]:
            body = {
                "state": text,
                "questions": {f"q{n}": {"type": "noul", "instructions": f"Is it {n}?"} for n in range(count)},
            }
            start = time.perf_counter()
            found = client.post("/v1/systemone", json=body).json()
            return time.perf_counter() - start, found["usage"]["input_tokens"]

        words = state.split()
        length = next(n for n in range(50, 400, 5) if ask(" ".join(words[:n]), 1)[1] >= 300)
        took: dict[int, list[float]] = {1: [], 16: []}
        used = {}
        for turn in range(rounds):
            for count in (1, 16) if turn % 2 else (16, 1):
                text = " ".join(words[turn : turn + length])
                seconds, used[count] = ask(text, count)
                took[count].append(seconds)
    ratio = [many / one for one, many in zip(took[1], took[16], strict=True)]
    quartiles = statistics.quantiles(ratio, n=4)
    print(
        f"\n{rounds} states of some 300 tokens, one client: 1 question {1000 * statistics.median(took[1]):.0f} ms "
        f"({used[1]} tokens), 16 questions {1000 * statistics.median(took[16]):.0f} ms ({used[16]} tokens): "
        f"{quartiles[1]:.2f} times as long (quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f})."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="world", help="a pretrained model (a folder, a GGUF file)")
    parser.add_argument("--parts", default="load,shuffled,shared")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--shuffled", type=int, default=2000, help="how many shuffled requests")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    likra = Likra.from_base(asked.model, training_config=TrainingConfig(learning_rate=1e-3))
    likra.fit("world", limit=64, runtime=QUIET).calibrate("world", runtime=QUIET, method="plain")
    heads = common.scratch() / "world-heads"
    likra.save_pretrained(heads)
    library = Library(likra)
    print(f"{common.machine()}; {Path(asked.model).name}, heads of 64 questions of the world, seed 0\n")
    parts = {
        "load": lambda: under_load(library, heads, asked.clients, asked.seconds),
        "shuffled": lambda: shuffled(library, heads, asked.shuffled),
        "shared": lambda: shared(heads),
    }
    for name in asked.parts.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
