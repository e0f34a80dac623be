"""`likra serve` as a process: its line, its refusals, and its end."""

import importlib.util
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from likra import Likra
from likra.cli import serve
from likra.errors import InputError
from likra.questions import Question


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_answers_what_was_accepted_and_exits_with_0(
    heads: Path, calibrated: Likra, world: list[Question]
) -> None:
    command = [sys.executable, "-m", "likra", "serve", str(heads), "--port", "0", "--max-batch", "64"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        found = re.fullmatch(r"likra: serving world-heads at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
        assert found, (line, process.stderr and process.stderr.read())
        with httpx.Client(base_url=found[1], timeout=60, limits=httpx.Limits(max_connections=40)) as client:

            def ask(question: Question, times: int = 1) -> httpx.Response:
                documents = [f"{choice} {number}" for number in range(times) for choice in question.choices]
                return client.post("/v1/rerank", json={"query": question.text, "documents": documents})

            def waiting() -> int:
                counted = client.get("/metrics").text
                return int(float(re.findall(r"^likra_waiting_requests (\S+)$", counted, re.MULTILINE)[0]))

            with ThreadPoolExecutor(30) as pool:
                longest = pool.submit(ask, world[0], 1000 // len(world[0].choices))
                asked = [pool.submit(ask, question) for question in world[1:30]]
                while waiting() < len(asked) and not longest.done():
                    time.sleep(0.01)
                assert not longest.done()  # all were accepted while the model was busy
                process.send_signal(signal.SIGTERM)
                answers = [answer.result() for answer in asked]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{found[1]}/health")
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and output == ""
    assert longest.result().status_code == 200
    for answer, question in zip(answers, world[1:], strict=False):
        assert answer.status_code == 200
        expected = calibrated.score(question.text, [f"{choice} 0" for choice in question.choices])
        got = {result["document"]["text"]: result["relevance_score"] for result in answer.json()["results"]}
        assert got == pytest.approx({candidate.text: candidate.probability for candidate in expected}, abs=1e-3)


def test_what_cannot_be_served_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"--host 192\.0\.2\.1 --port 0: .*; choose another"):
        serve.serve(tmp_path, host="192.0.2.1", port=0)  # an address of documentation (RFC 5737), nobody's own
    with pytest.raises(InputError, match="--api-key"):
        serve.serve(tmp_path, port=0, api_key="two words")
    with pytest.raises(InputError, match="--timeout inf: must be a finite number"):
        serve.serve(tmp_path, port=0, timeout=float("inf"))
    with pytest.raises(InputError, match="no heads folder"):
        serve.serve(tmp_path, port=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'likra\[serve\]'"):
        serve.serve(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_told_twice_it_ends_at_once(heads: Path, world: list[Question]) -> None:
    command = [sys.executable, "-m", "likra", "serve", str(heads), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        address = process.stdout.readline().split(" at ")[1].split()[0]
        with ThreadPoolExecutor(8) as pool:
            asked = []
            for number in range(8):
                choices = [f"{number} {choice} {place}" for place in range(250) for choice in world[0].choices]
                body = {"question": world[number].text, "choices": choices}
                asked.append(pool.submit(httpx.post, f"{address}/v1/score", json=body, timeout=60))
            time.sleep(0.5)
            assert not all(one.done() for one in asked)
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and output == ""
    assert errors.splitlines() == [
        "likra: answering what was accepted; Ctrl-C again ends at once",
        "likra: ended at once; what was accepted is not answered",
    ]
