"""What each path answers, held to the library; and everything that is refused."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from likra import Likra
from likra.data import Question
from likra.errors import InputError
from likra.likra import Candidate
from likra.serve import Limits, bind, check_key
from likra.serve.batcher import Batcher
from likra.serve.metrics import Metrics
from tests.conftest import PATIENCE, until
from tests.serve.conftest import Held, client

# What a likelihood was read together with may change the last bits of a float32.
close = {"rel": 1e-5, "abs": 1e-4}


@pytest.fixture(scope="module")
def server(likra: Likra) -> Iterator[TestClient]:
    with client(likra) as found:
        yield found


def asked(question: Question, **options: Any) -> dict[str, Any]:
    return {"question": question.text, "choices": list(question.choices), **options}


def ranked(question: Question, **options: Any) -> dict[str, Any]:
    return {"query": question.text, "documents": list(question.choices), **options}


def same(choice: dict[str, Any], candidate: Candidate) -> None:
    expected = dataclasses.asdict(candidate)
    assert choice.pop("text") == expected.pop("text")
    assert choice.pop("probability") == expected.pop("probability")
    assert choice == pytest.approx(expected, **close)


def together(candidates: int) -> Limits:
    """Limits under which so many candidates are awaited, and read together."""
    return Limits(max_wait=PATIENCE, max_batch=candidates, timeout=PATIENCE)


def said(response: Any) -> str:
    """The one line of a refusal."""
    assert list(response.json()) == ["detail"]
    line = response.json()["detail"]
    assert isinstance(line, str) and line and "\n" not in line
    return line


def test_scores_are_the_librarys(server: TestClient, likra: Likra, world: list[Question]) -> None:
    for question in world[:4]:
        found = server.post("/v1/score", json=asked(question)).json()
        best = found["choices"][found["answer"]]["text"]
        expected = likra.score(question.text, question.choices)
        assert [list(choice) for choice in found["choices"]] == [
            ["text", "score", "positive", "negative", "base", "probability", "withheld"]
        ] * len(expected)
        for choice, candidate in zip(found["choices"], expected, strict=True):
            same(choice, candidate)
        assert best == likra.rank(question.text, question.choices)[0].text
        assert (found["abstained"], found["weight"], found["model"]) == (False, likra.weight, "world-heads")


def test_a_request_may_have_a_weight_of_its_own(server: TestClient, world: list[Question]) -> None:
    found = server.post("/v1/score", json=asked(world[0], weight=0.25)).json()
    assert found["weight"] == 0.25
    for choice in found["choices"]:
        assert choice["score"] == pytest.approx(choice["positive"] - 0.25 * choice["negative"])


def test_requests_at_the_same_time_are_read_together_and_each_gets_its_own(likra: Likra, world: list[Question]) -> None:
    questions = [question for question in world[:24] for _ in range(2)]
    limits = together(sum(len(question.choices) for question in questions))
    with client(likra, limits) as server, ThreadPoolExecutor(len(questions)) as pool:
        found = list(pool.map(lambda question: server.post("/v1/score", json=asked(question)).json(), questions))
        counted = server.get("/metrics").text
    for question, answer in zip(questions, found, strict=True):
        for choice, candidate in zip(answer["choices"], likra.score(question.text, question.choices), strict=True):
            same(choice, candidate)
    assert metric(counted, "likra_batch_candidates_sum") == sum(len(question.choices) for question in questions)
    assert metric(counted, "likra_batch_candidates_count") == 1
    assert metric(counted, 'likra_requests_total{path="/v1/score",status="200"}') == len(questions)
    assert metric(counted, "likra_waiting_requests") == 0


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_reranking_has_the_form_of_cohere_jina_and_vllm(
    server: TestClient, likra: Likra, world: list[Question], path: str
) -> None:
    question = world[1]
    best = likra.rank(question.text, question.choices)
    sent = ranked(question, model="any", rank_fields=["text"], max_tokens_per_doc=9, truncation=True)
    sent["documents"][1] = {"text": question.choices[1], "title": "ignored"}
    found = server.post(path, json=sent).json()
    assert list(found) == ["id", "model", "results", "usage", "meta"]
    assert found["model"] == "any" and found["usage"]["total_tokens"] > len(question.choices)
    assert [result["document"]["text"] for result in found["results"]] == [candidate.text for candidate in best]
    assert [question.choices[result["index"]] for result in found["results"]] == [c.text for c in best]
    scores = [result["relevance_score"] for result in found["results"]]
    assert scores == pytest.approx([candidate.score for candidate in best], **close)
    other = server.post(path, json={**sent, "top_n": 2, "return_documents": False, "model": None}).json()
    assert [result["index"] for result in other["results"]] == [result["index"] for result in found["results"]][:2]
    assert [result["document"] for result in other["results"]] == [None, None]
    assert other["id"] != found["id"] and other["model"] == "world-heads"
    assert len(server.post(path, json={**sent, "top_n": 0}).json()["results"]) == len(question.choices)


def test_calibrated_heads_give_probabilities_and_abstain(calibrated: Likra, world: list[Question]) -> None:
    assert calibrated.calibration
    temperature = calibrated.calibration.calibration.temperature
    question = world[2]
    with client(calibrated) as server:
        health = server.get("/health").json()
        assert health["calibrated"] is True
        curve = health["risk_coverage"]
        assert (curve["questions"], curve["budget"], curve["threshold"]) == (40, None, None)
        assert [*map(tuple, curve["points"])] == list(calibrated.calibration.risk_coverage) != []
        assert server.get("/health", params={"model": "any"}).json() == health  # a lone model, whatever it is called
        found = server.post("/v1/score", json=asked(question)).json()
        powers = [math.exp(choice["score"] / temperature) for choice in found["choices"]]
        sure = [power / sum(powers) for power in powers]
        assert [choice["probability"] for choice in found["choices"]] == pytest.approx(sure)
        results = server.post("/v1/rerank", json=ranked(question)).json()["results"]
        assert [result["relevance_score"] for result in results] == pytest.approx(sorted(sure, reverse=True), abs=1e-4)
        for asks, abstains in ((max(sure) - 0.01, False), (max(sure) + 0.01, True)):
            answer = server.post("/v1/score", json=asked(question, min_confidence=min(1, asks))).json()
            assert answer["abstained"] is abstains
            assert answer["answer"] == (None if abstains else sure.index(max(sure)))
        assert "calibrate" in said(server.post("/v1/score", json=asked(question, weight=0.5, min_confidence=0.5)))


def test_a_document_that_is_sent_twice_is_as_relevant_as_once(calibrated: Likra, world: list[Question]) -> None:
    question = world[2]
    with client(calibrated) as server:

        def relevance(*more: str) -> dict[int, float]:
            sent = {"query": question.text, "documents": [*question.choices, *more]}
            results = server.post("/v1/rerank", json=sent).json()["results"]
            return {result["index"]: result["relevance_score"] for result in results}

        once = relevance()
        for copy in (question.choices[0], f" {question.choices[0]}\u00a0"):
            twice = relevance(copy)
            assert {place: twice[place] for place in once} == pytest.approx(once, abs=1e-3)
            assert twice[len(once)] == twice[0]


def test_without_calibration_there_is_no_confidence_to_ask_for(server: TestClient, world: list[Question]) -> None:
    response = server.post("/v1/score", json=asked(world[0], min_confidence=0.5))
    assert response.status_code == 422 and "calibrate" in said(response)
    health = server.get("/health").json()
    assert health["calibrated"] is False and health["risk_coverage"] is None


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        ({"question": "Which?", "choices": []}, "choices: List should have at least 1 item"),
        ({"question": "Which?"}, "choices: Field required"),
        ({"question": 7, "choices": ["a"]}, "question: Input should be a valid string"),
        ({"question": "Which?", "choices": ["a", " "]}, "choices.1: is empty; give it text"),
        ({"question": "Which?", "choices": ["a"], "wieght": 1}, "wieght: Extra inputs are not permitted"),
        ({"question": "Which?", "choices": ["a"], "weight": 1e9}, "weight: Input should be less than"),
        ({"question": "Which?", "choices": ["a"] * 6}, "6 candidates are more than the 5"),
        ({"question": "Which?", "choices": ["a", "b" * 101]}, "choices.1: has 101 characters"),
        ({"question": "W" * 101, "choices": ["a"]}, "question: has 101 characters"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(likra: Likra, sent: dict[str, Any], line: str) -> None:
    with client(likra, Limits(max_candidates=5, max_characters=100)) as server:
        response = server.post("/v1/score", json=sent)
        assert response.status_code == 422 and line in said(response)


_EITHER = "Input should be text, or an object with `text`"


@pytest.mark.parametrize(
    ("documents", "line"),
    [
        (["dog", ""], "documents.1: is empty; give it text"),
        (["dog", "cat", " \t\n"], "documents.2: is empty"),
        (["\u00a0\u200b"], "documents.0: is empty"),
        (["dog", {"text": ""}], "documents.1: is empty"),
        (["d" * 101], "documents.0: has 101 characters"),
        ([{"title": "dog"}], f"documents.0: {_EITHER}"),
        (["dog", {}], f"documents.1: {_EITHER}"),
        (["dog", None], f"documents.1: {_EITHER}"),
        (["dog", 7], f"documents.1: {_EITHER}"),
        (["dog", True], f"documents.1: {_EITHER}"),
        (["dog", ["cat"]], f"documents.1: {_EITHER}"),
        (["dog", {"text": None}], f"documents.1: {_EITHER}"),
        (["dog", {"text": 7}], f"documents.1: {_EITHER}"),
        (["dog", {"text": {"text": "cat"}}], f"documents.1: {_EITHER}"),
        (["dog", {"text": ["cat"]}], f"documents.1: {_EITHER}"),
        ("dog", "documents: Input should be a valid list"),
        ({"text": "dog"}, "documents: Input should be a valid list"),
        ([], "documents: List should have at least 1 item"),
        (["a"] * 6, "6 candidates are more than the 5"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_a_document_that_cannot_be_ranked_is_named(likra: Likra, path: str, documents: Any, line: str) -> None:
    with client(likra, Limits(max_candidates=5, max_characters=100)) as server:
        response = server.post(path, json={"query": "Which?", "documents": documents})
        assert response.status_code == 422 and said(response).startswith(line)
        long = server.post(path, json={"query": "W" * 101, "documents": ["dog"]})
        assert long.status_code == 422 and said(long).startswith("query: has 101 characters")


def test_half_a_surrogate_pair_is_said_to_be_one(server: TestClient) -> None:
    for document in (r'"\ud800"', r'{"text": "\ud800"}'):
        body = '{"query": "Which?", "documents": ["dog", ' + document + "]}"
        response = server.post("/v1/rerank", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 422
        assert said(response) == "documents.1: Input should be text; it holds half a surrogate pair"


def test_an_overlong_candidate_is_refused(likra: Likra) -> None:
    with client(likra) as server:
        response = server.post("/v1/score", json={"question": "Which?", "choices": ["olives " * 2000]})
        assert response.status_code == 422 and "longer than the model's context" in said(response)


def test_what_cannot_be_read_does_not_spoil_the_batch_of_others(likra: Likra, world: list[Question]) -> None:
    sent = [asked(question) for question in world[:9]]
    sent[4]["choices"][0] = "olives " * 2000  # longer than the model can read
    limits = together(sum(len(body["choices"]) for body in sent))
    with client(likra, limits) as server, ThreadPoolExecutor(9) as pool:
        found = list(pool.map(lambda body: server.post("/v1/score", json=body), sent))
    assert [response.status_code for response in found] == [200] * 4 + [422] + [200] * 4
    for response, question in zip(found, world, strict=False):
        if response.status_code == 200:
            best = likra.rank(question.text, question.choices)[0].text
            assert question.choices[response.json()["answer"]] == best


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(likra: Likra, declared: bool) -> None:
    body = b'{"question": "Which?", "choices": ["' + b"a" * 3000 + b'"]}'
    content = body if declared else iter([body[:1000], body[1000:2000], body[2000:]])
    with client(likra, Limits(max_body=2000)) as server:
        response = server.post("/v1/score", content=content, headers={"content-type": "application/json"})
        assert response.status_code == 413 and "2000 bytes" in said(response)
        assert ("content-length" in response.request.headers) is declared


def test_overload_is_429_with_the_time_to_wait_and_nothing_else(likra: Likra, world: list[Question]) -> None:
    held = Held(likra)
    limits = Limits(max_wait=0, max_batch=4, max_queue=3, timeout=PATIENCE)
    with client(held, limits) as server, ThreadPoolExecutor(5) as pool, held:

        def ask(question: Question) -> "Future[Any]":
            return pool.submit(server.post, "/v1/score", json=asked(question))

        taken = [ask(world[0])]
        assert held.reading.wait(PATIENCE)
        taken += [ask(question) for question in world[1:4]]
        until(lambda: metric(server.get("/metrics").text, "likra_waiting_requests") == 3)
        for question in world[4:20]:
            response = server.post("/v1/score", json=asked(question))
            assert response.status_code == 429
            assert int(response.headers["retry-after"]) >= 1 and "try again in" in said(response)
        assert not any(answer.done() for answer in taken)
    assert [answer.result().status_code for answer in taken] == [200] * 4


def test_who_cannot_be_answered_in_time_is_told_so(likra: Likra, world: list[Question]) -> None:
    held = Held(likra)  # until the answer is there
    with client(held, Limits(timeout=0.2)) as server, held:
        response = server.post("/v1/score", json=asked(world[0]))
        assert response.status_code == 429 and "no answer within 0.2 s" in said(response)


def test_a_key_is_asked_for(likra: Likra, world: list[Question]) -> None:
    requests = set[str]()
    with client(likra, key="secret-7") as server:
        for headers in (
            {},
            {"Authorization": "Bearer secret-8"},
            {"Authorization": "Basic secret-7"},
            {"Authorization": ""},
        ):
            for response in (
                server.post("/v1/score", json=asked(world[0]), headers=headers),
                server.post("/v1/rerank", content=b"{", headers=headers),  # before anything is parsed
                server.get("/metrics", headers=headers),
                server.get("/nothing", headers=headers),
            ):
                assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
                assert "key" in said(response)
                requests.add(response.headers["x-typesafe-request-id"])
        assert len(requests) == 16  # each has a name of its own
        for scheme in ("Bearer", "bearer"):
            headers = {"Authorization": f"{scheme} secret-7"}
            assert server.post("/v1/score", json=asked(world[0]), headers=headers).status_code == 200
        assert server.get("/health").json()["key_required"] is True
        for path in ("/", "/docs", "/openapi.json"):
            assert server.get(path).status_code == 200
        assert "HTTPBearer" in server.get("/openapi.json").json()["components"]["securitySchemes"]


def test_the_counters_do_not_grow_with_made_up_paths(likra: Likra) -> None:
    with client(likra) as server:
        for number in range(5):
            assert server.get(f"/made-up-{number}").status_code == 404
        counted = server.get("/metrics").text
    assert metric(counted, 'likra_requests_total{path="other",status="404"}') == 5
    assert "made-up" not in counted


def test_the_page_lets_nothing_else_in(server: TestClient) -> None:
    response = server.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "http://" not in response.text and "https://" not in response.text


def test_the_page_is_not_empty_without_heads_of_both_kinds(calibrated: Likra, world: list[Question]) -> None:
    alone = Likra(calibrated.base, ("positive",), calibrated.training_config, weight=1.0, style="qa")
    alone.stack = calibrated.stack
    with client(alone) as server:
        assert server.get("/health").json()["heads"] == ["positive"]
        for choice in server.post("/v1/score", json=asked(world[0])).json()["choices"]:
            assert choice["negative"] is None and choice["score"] == choice["positive"]


@pytest.mark.parametrize("key", ["", "two words", "tab\t", "clé", "line\n"])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    with pytest.raises(InputError, match="--api-key"):
        check_key(key)


def test_an_address_that_is_taken_is_refused() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(InputError, match="in use"):
            bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match=r"--host no\.such\.host\.invalid"):
        bind("no.such.host.invalid", 0)


def metric(text: str, name: str) -> float:
    [value] = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.rsplit(" ", 1)[0] == name]
    return float(value)


def test_a_failure_of_ours_is_one_line_and_counted(
    likra: Likra, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(likra, "likelihoods", broken)
    with client(likra) as server:
        answer = server.post("/v1/score", json={"question": "?", "choices": ["a", "b"]})
        assert answer.status_code == 500 and "its log says why" in answer.json()["detail"]
        counted = server.get("/metrics").text
    assert 'path="/v1/score",status="500"} 1.0' in counted
    assert "device is gone" not in answer.text
    assert f"request {answer.headers['x-typesafe-request-id']} failed" in caplog.text


def test_a_symbol_that_cannot_be_read_is_422_and_spoils_nobody_else(
    likra: Likra, world: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the library refuses while it tokenizes a batch."""
    real = likra.likelihoods

    def likelihoods(questions: Sequence[Question], **options: Any) -> Any:
        for question in questions:
            if any("<|im_end|>" in text for text in (question.text, *question.choices)):
                raise InputError("<|im_end|> has no embedding.")
        return real(questions, **options)

    monkeypatch.setattr(likra, "likelihoods", likelihoods)
    sent = [ranked(question) for question in world[:6]]
    sent[1]["documents"][0] = "<|im_end|>"
    sent[4]["query"] += "<|im_end|>"
    limits = together(sum(len(body["documents"]) for body in sent))
    with client(likra, limits) as server, ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda body: server.post("/v1/rerank", json=body), sent))
    assert [response.status_code for response in found] == [200, 422, 200, 200, 422, 200]
    assert all("has no embedding" in said(found[place]) for place in (1, 4))


def test_a_counter_that_fails_is_500_and_the_next_is_answered(
    likra: Likra, world: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = True
    real = Metrics.read

    def read(self: Metrics, candidates: int, seconds: float) -> None:
        if fails:
            raise ValueError("no such counter")
        real(self, candidates, seconds)

    monkeypatch.setattr(Metrics, "read", read)
    with client(likra) as server:
        assert server.post("/v1/score", json=asked(world[0])).status_code == 500
        fails = False
        assert server.post("/v1/score", json=asked(world[0])).status_code == 200
        assert server.get("/health").json()["status"] == "ok"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_model_is_not_read_any_more_says_so(
    likra: Likra, world: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(self: Any) -> None:
        raise MemoryError

    with client(likra) as server:
        assert (server.get("/health").status_code, server.get("/health").json()["status"]) == (200, "ok")
        monkeypatch.setattr(Batcher, "_turn", ends)  # from its next turn on
        assert server.post("/v1/score", json=asked(world[0])).status_code == 200
        until(lambda: server.get("/health").status_code == 503)
        health = server.get("/health").json()
        assert health["status"] == "failed" and health["model"] == "world-heads"
        for path, body in (("/v1/score", asked(world[0])), ("/v1/rerank", ranked(world[0]))):
            response = server.post(path, json=body)
            assert response.status_code == 503 and "start the server again" in said(response)
        assert server.get("/metrics").status_code == 200


def test_withheld_answers_still_show_the_best_guess(calibrated: Likra, world: list[Question]) -> None:
    with client(calibrated) as server:
        sent = asked(world[0])
        shown = server.post("/v1/score", json=sent).json()
        assert shown["withheld"] is shown["abstained"] is False and shown["best"] == shown["answer"]
        probability = shown["choices"][shown["best"]]["probability"]
        for least, withheld in ((probability - 1e-6, False), (min(1.0, probability + 1e-6), probability < 1)):
            found = server.post("/v1/score", json={**sent, "min_confidence": least}).json()
            assert found["withheld"] is withheld and found["best"] == shown["best"]
            assert found["answer"] == (None if withheld else shown["best"])
            assert found["choices"][found["best"]] == {**shown["choices"][shown["best"]], "withheld": withheld}
        documents = {"query": sent["question"], "documents": sent["choices"]}
        plain = server.post("/v1/rerank", json=documents).json()["results"]
        ranked = server.post("/v1/rerank", json={**documents, "min_confidence": probability - 1e-6}).json()["results"]
        assert not any(one["withheld"] for one in plain)
        assert [one["withheld"] for one in ranked] == [one["relevance_score"] < probability - 1e-6 for one in ranked]
        assert [one["index"] for one in ranked] == [one["index"] for one in plain]
        assert server.post("/v1/rerank", json={**documents, "min_confidence": 2}).status_code == 422
