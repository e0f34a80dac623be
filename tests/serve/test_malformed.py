"""Whatever is sent, the server answers, and no answer is its own fault."""

import contextlib
import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from likra import Likra
from likra.serve import Limits, create_app
from tests.conftest import PATIENCE
from tests.serve.conftest import client, listening
from tests.serve.malformed import requests

REFUSED = {400, 408, 413, 415, 422, 429}


def test_malformed_requests_are_refused(likra: Likra) -> None:
    statuses = []
    with client(likra, Limits(timeout=PATIENCE)) as server:
        for path, headers, body in requests(400):
            response = server.post(path, content=body, headers=headers)
            assert response.status_code in REFUSED | {200}, (path, headers, body[:200], response.text)
            if response.status_code != 200:
                assert list(response.json()) == ["detail"] and len(response.text) < 1000
            statuses.append(response.status_code)
        assert server.get("/health").status_code == 200
    # The requests are wrong in many ways, not all in one.
    assert set(statuses) == {200, 400, 413, 422}
    assert statuses.count(422) > 100


def test_answers_keep_to_the_openapi_document(likra: Likra) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    schemathesis.checks.load_all_checks()
    names = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
    checks = schemathesis.checks.CHECKS.get_by_names(names)
    seen = set()
    with listening(create_app({"world-heads": likra}, Limits(max_wait=0, timeout=PATIENCE))) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        for operation in operations:

            @given(operation.as_strategy())
            @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
            def ask(case: Any) -> None:
                seen.add((case.path, case.call_and_validate(checks=checks, timeout=PATIENCE).status_code))

            ask()
    decisions = {"/v1/systemone", "/systemone", "/inference/v1/systemone"}
    ranking = {"/v1/rerank", "/v2/rerank", "/rerank"}
    assert {path for path, _ in seen} == {"/v1/score", "/v1/models", "/health", "/metrics"} | ranking | decisions
    assert {("/v1/score", 200), ("/v1/rerank", 200)} <= seen and any((path, 200) in seen for path in decisions)


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"POST /v1/score HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 18 + b"\r\n\r\n{}",
        b"POST /v1/score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_what_is_no_http_ends_soon(likra: Likra, sent: bytes) -> None:
    with listening(create_app({"world-heads": likra}, Limits(timeout=0.5))) as address:
        port = int(address.rsplit(":", 1)[1])
        # Whoever is not answered waits for longer than the server does, and fails.
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line:
            with contextlib.suppress(ConnectionError):
                line.sendall(sent)
            with contextlib.suppress(ConnectionError):
                answer = line.recv(1000)
                assert not answer or answer.split()[1][:1] == b"4"
        assert httpx.get(f"{address}/health", timeout=PATIENCE).status_code == 200
