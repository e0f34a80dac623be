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
def test_sigterm_answers_what_was_accepted_and_exits_with_0(heads: Path, likra: Likra, world: list[Question]) -> None:
    command = [sys.executable, "-m", "likra", "serve", str(heads), "--port", "0", "--max-batch", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        found = re.fullmatch(r"likra: serving world-heads at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
        assert found, (line, process.stderr and process.stderr.read())
        with httpx.Client(base_url=found[1], timeout=60, limits=httpx.Limits(max_connections=40)) as client:

            def ask(question: Question) -> tuple[int, int | None]:
                documents = [f"{choice} {number}" for choice in question.choices for number in range(5)]
                try:
                    answer = client.post("/v1/rerank", json={"query": question.text, "documents": documents})
                except httpx.TransportError:
                    return 0, None  # the connection was closed before the request was taken
                return answer.status_code, answer.json()["results"][0]["index"] if answer.is_success else None

            with ThreadPoolExecutor(30) as pool:
                asked = [pool.submit(ask, question) for question in world[:30]]
                while not any(answer.done() for answer in asked):
                    time.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                answers = [answer.result() for answer in asked]
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and output == ""
    # All had been sent before the first was answered.
    assert [status for status, _ in answers].count(200) >= 28
    assert {status for status, _ in answers} <= {200, 0}
    for (status, index), question in zip(answers, world, strict=False):
        documents = [f"{choice} {number}" for choice in question.choices for number in range(5)]
        if status == 200:
            assert index is not None
            scores = [candidate.score for candidate in likra.score(question.text, documents)]
            assert scores[index] == pytest.approx(max(scores), abs=1e-4)


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
