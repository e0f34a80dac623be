"""`POST /v1/systemone`, held to the library, to the clients of others, and to what is refused."""

import asyncio
import gzip
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from likra import Likra, Question
from likra.data.decisions import read_decision, state_text, worded
from likra.serve import Limits, Models, create_app
from likra.serve.decisions import DecisionRequest
from likra.utils.runtime import QUIET
from tests.conftest import PATIENCE
from tests.serve.conftest import client, listening

STATE = {"ticket": "Mira Voss plays the cello.", "plan": "pro"}
TEAM = {"billing": "Charges, refunds", "web": None, "other": "Anything else"}
LEVELS = ["can wait", "this week", "today"]
QUESTIONS: dict[str, Any] = {
    "music": {"type": "noul", "instructions": "Is this about music?"},
    "team": {"type": "choice", "instructions": "Which team?", "criteria": TEAM},
    "urgency": {"type": "score", "instructions": "How urgent?", "criteria": LEVELS},
}


def body(questions: Mapping[str, Any] = QUESTIONS, state: Any = STATE, **more: Any) -> dict[str, Any]:
    return {"state": state, "questions": dict(questions), **more}


@pytest.fixture(scope="module")
def server(calibrated: Likra) -> Iterator[TestClient]:
    with client(calibrated, Limits(timeout=PATIENCE)) as found:
        yield found


def expected(likra: Likra, name: str) -> dict[str, float]:
    """Probabilities of a question's options by the library, each question read alone."""
    question = worded(state_text(STATE), read_decision(QUESTIONS[name]))
    return {one.text: one.probability or 0.0 for one in likra.score(question.text, question.choices)}


def test_answers_are_the_librarys(server: TestClient, calibrated: Likra) -> None:
    found = server.post("/v1/systemone", json=body()).json()
    music, team, urgency = (expected(calibrated, name) for name in QUESTIONS)
    answers = found["answers"]
    assert [(name, answer["type"]) for name, answer in answers.items()] == [
        *(("music", "noul"), ("team", "choice"), ("urgency", "score"))
    ]
    assert answers["music"]["noul"] == pytest.approx(music["yes"], abs=1e-4)
    assert answers["team"]["probabilities"] == pytest.approx(team, abs=1e-4)
    assert answers["team"]["choice"] == max(team, key=team.__getitem__)
    assert answers["team"]["confidence"] == pytest.approx((max(team.values()) - 1 / 3) / (2 / 3), abs=1e-4)
    of_levels = [urgency[level] for level in LEVELS]
    assert list(answers["urgency"]["probabilities"].values()) == pytest.approx(of_levels, abs=1e-4)
    assert answers["urgency"]["score"] == pytest.approx(of_levels[1] + 2 * of_levels[2], abs=1e-4)
    assert answers["urgency"]["legend"] == {"0": "can wait", "1": "this week", "2": "today"}
    assert found["model"] == "world-heads" and found["calibrated"] and found["usage"]["output_tokens"] == 0


def test_without_a_calibration_it_says_so_and_gives_the_softmax_of_the_ratio(likra: Likra) -> None:
    with client(likra) as plain:
        found = plain.post("/v1/systemone", json=body()).json()
    question = worded(state_text(STATE), read_decision(QUESTIONS["team"]))
    scores = np.array([one.score for one in likra.score(question.text, question.choices)])
    share = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    assert not found["calibrated"] and not found["answers"]["team"]["calibrated"]
    assert list(found["answers"]["team"]["probabilities"].values()) == pytest.approx(share.tolist(), abs=1e-4)


def test_the_order_of_options_and_questions_changes_nothing(server: TestClient) -> None:
    chance = random.Random(0)
    names = [f"option {number}" for number in range(6)]
    plain = body({"a": {"type": "choice", "instructions": "Which?", "criteria": dict.fromkeys(names)}, **QUESTIONS})
    first = server.post("/v1/systemone", json=plain).json()["answers"]

    def shuffled(seed: int) -> dict[str, Any]:
        questions = {name: dict(one) for name, one in plain["questions"].items()}
        for one in questions.values():
            if one["type"] == "choice":
                one["criteria"] = dict(chance.sample(list(one["criteria"].items()), len(one["criteria"])))
        return body(dict(chance.sample(list(questions.items()), len(questions))))

    sent = [shuffled(seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda one: server.post("/v1/systemone", json=one).json()["answers"], sent))
    for request, answers in zip(sent, got, strict=True):
        assert list(answers) == list(request["questions"])
        for name, answer in answers.items():
            if "probabilities" in answer:
                assert answer["probabilities"] == pytest.approx(first[name]["probabilities"], abs=1e-4)
                assert answer.get("choice") == first[name].get("choice")
            else:
                assert answer["noul"] == pytest.approx(first[name]["noul"], abs=1e-4)


class Tied:
    """A likra to which all candidates are the same."""

    def __init__(self, likra: Likra) -> None:
        self._likra = likra

    def likelihoods(self, *arguments: Any, **how: Any) -> Any:
        table = self._likra.likelihoods(*arguments, **how)
        table.logprob_HQC[:] = np.where(np.isnan(table.logprob_HQC), np.nan, -1.5)
        return table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._likra, name)


@pytest.mark.parametrize("order", itertools.permutations(TEAM))
def test_ties_are_shared_and_named_alike(calibrated: Likra, order: tuple[str, ...]) -> None:
    asked = {"team": {"type": "choice", "instructions": "Which?", "criteria": {name: TEAM[name] for name in order}}}
    with client(Tied(calibrated)) as tied:
        answer = tied.post("/v1/systemone", json=body(asked)).json()["answers"]["team"]
    assert list(answer["probabilities"]) == list(order) and set(answer["probabilities"].values()) == {1 / 3}
    assert (answer["choice"], answer["confidence"]) == ("billing", 0.0)


def test_questions_about_one_state_read_it_once(calibrated: Likra) -> None:
    state = " ".join(["Mira Voss plays the cello and Ana Ruiz the harp."] * 20)
    many = {f"q{number}": {"type": "noul", "instructions": f"Is it number {number}?"} for number in range(16)}
    with client(calibrated) as server:

        def counted(questions: Mapping[str, Any]) -> tuple[float, float, int]:
            used = server.post("/v1/systemone", json=body(questions, state)).json()["usage"]["input_tokens"]
            lines = server.get("/metrics").text.splitlines()
            value = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("likra_")}
            return value["likra_asked_tokens_total"], value["likra_read_tokens_total"], used

        asked_1, read_1, used_1 = counted({"q0": many["q0"]})
        asked_17, read_17, used_16 = counted(many)
    assert read_1 == used_1 and read_17 - read_1 == used_16
    assert asked_17 - asked_1 > 30 * used_1 * 0.9 and used_16 < 3 * used_1


def test_heads_of_a_table_answer_about_their_labels_as_they_learned_them(calibrated: Likra) -> None:
    labels = ("cello", "harp", "organ")
    text = "Which instrument does Mira Voss play?"
    asked = {"team": {"type": "choice", "instructions": "Pick.", "criteria": {"organ": "Pipes", "cello": None}}}
    learned = {"team": {"type": "choice", "instructions": "Pick.", "criteria": dict.fromkeys(labels)}}
    before = dict(calibrated.training)
    calibrated.training["columns"] = {"text": "ticket", "label": "team", "labels": list(labels)}
    try:
        for state in (text, {"ticket": text}):
            [question] = DecisionRequest.read(json.dumps(body(learned, state)).encode(), Limits()).questions(
                calibrated, Limits()
            )
            assert question.text == text
        for state, questions in (({"ticket": text, "plan": "pro"}, learned), (text, asked)):
            [question] = DecisionRequest.read(json.dumps(body(questions, state)).encode(), Limits()).questions(
                calibrated, Limits()
            )
            assert question.text.startswith(state_text(state)) and "Pick." in question.text
        with client(calibrated) as server:
            for questions, own in ((learned, True), (asked, False)):
                answer = server.post("/v1/systemone", json=body(questions, text)).json()["answers"]["team"]
                assert (answer["as_learned"], answer["calibrated"], "note" not in answer) == (own, own, own)
            assert "learned one question, a choice between cello, harp, organ" in answer["note"]
            answer = server.post("/v1/systemone", json=body(learned, {"ticket": text, "plan": "pro"})).json()
            assert "an object with the field 'ticket' and no other" in answer["answers"]["team"]["note"]
            for choices in (labels[::-1], labels[:2], (*labels, "lute"), ("Cello", "harp", "organ")):
                said = server.post("/v1/score", json={"question": text, "choices": choices}).json()["choices"]
                assert {one["probability"] is None for one in said} == {{*choices} != {*labels}}
            sent = {"question": text, "choices": labels[:2], "min_confidence": 0.5}
            assert "a choice between all of these" in server.post("/v1/score", json=sent).json()["detail"]
    finally:
        calibrated.training = before


# Several models, and a base alone.


def test_several_heads_share_a_base_and_answer_as_alone(heads: Any, calibrated: Likra, tmp_path: Any) -> None:
    from likra import TrainingConfig
    from likra.serve import base_alone

    config = TrainingConfig(learning_rate=1e-3, adapt="completion", seed=1)
    other = Likra.from_base("world", training_config=config, role="base-likra").fit("world", limit=8, runtime=QUIET)
    other.save_pretrained(tmp_path / "other")
    question = Question("q", "Which instrument does Mira Voss play?", ("cello", "harp"))
    alone = {
        "world-heads": calibrated.score(question.text, question.choices),
        "other": other.score(question.text, question.choices),
    }
    models = Models()
    for folder in (heads, tmp_path / "other"):
        models.add(folder.name, Likra.from_pretrained(folder, model=models.base() or None))
    assert models["world-heads"].base.model is models["other"].base.model
    asked = {"question": question.text, "choices": list(question.choices)}
    with TestClient(create_app(models, Limits(max_wait=0.05, timeout=PATIENCE))) as server:

        def scores(model: str | None) -> list[float]:
            sent = asked if model is None else {**asked, "model": model}
            return [one["score"] for one in server.post("/v1/score", json=sent).json()["choices"]]

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(scores, ["other", "world-heads", None, "other"] * 4))
        for got, name in zip(found, ["other", "world-heads", "world-heads", "other"] * 4, strict=True):
            assert got == pytest.approx([one.score for one in alone[name]], abs=1e-4)
        assert server.get("/health", params={"model": "other"}).json()["model"] == "other"
        assert server.get("/health", params={"model": "third"}).status_code == 422
        stranger = server.post("/v1/systemone", json=body(model="jev-latest"))
        assert stranger.status_code == 422 and "field 'model'" in stranger.json()["detail"]
        decided = server.post("/v1/systemone", json=body(model="other")).json()
        assert decided["model"] == "other" and not decided["calibrated"]
        assert [one["name"] for one in server.get("/v1/models").json()["models"]] == ["world-heads", "other"]

    base = base_alone(other.base)
    other.trained.remove()
    with client(base) as server:
        found = server.post("/v1/score", json=asked).json()["choices"]
        assert [one["score"] for one in found] == [one["base"] for one in found]
        assert not server.post("/v1/systemone", json=body()).json()["calibrated"]


# The clients of others.


@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
def test_systemone_client(calibrated: Likra, later: bool) -> None:
    systemone = pytest.importorskip("systemone", reason="systemone-client is not installed")
    asked = {
        "music": systemone.Noul("Is this about music?", "Instruments count."),
        "team": systemone.Choice("Which team?", TEAM),
        "urgency": systemone.Score("How urgent?", LEVELS),
    }

    def call(address: str, key: str, questions: Any) -> Any:
        if not later:
            with systemone.Client(address, api_key=key, timeout=PATIENCE) as own:
                return own.system_one(state=STATE, questions=questions)

        async def run() -> Any:
            async with systemone.AsyncClient(address, api_key=key, timeout=PATIENCE) as own:
                return await own.system_one(state=STATE, questions=questions)

        return asyncio.run(run())

    with listening(create_app({"world-heads": calibrated}, key="secret-7")) as address:
        found = call(address, "secret-7", asked)
        team = expected(calibrated, "team")
        assert found.model == "world-heads" and found.usage.input_tokens > 10
        assert 0 < found.nouls["music"].noul < 1
        assert found.choices["team"].probabilities == pytest.approx(team, abs=1e-4)
        assert list(found.scores["urgency"].legend.values()) == LEVELS
        with pytest.raises(systemone.SystemOneError) as caught:
            call(address, "another", asked)
        assert caught.value.status == 401
        with pytest.raises(systemone.SystemOneError) as caught:
            call(address, "secret-7", {"box": {"type": "box", "instructions": "Where?"}})
        assert caught.value.status == 422 and "questions.box.type" in caught.value.detail


@pytest.mark.parametrize("later", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("compression", [False, "zstd"])
def test_typesafe_sdk(calibrated: Likra, later: bool, compression: Any) -> None:
    sdk = pytest.importorskip("typesafe_sdk", reason="typesafe-sdk is not installed")
    asked = {
        "music": sdk.Noul(instructions={"task": "Is this about music?"}, criteria={"true": "It is", "false": None}),
        "team": sdk.Choice(instructions="Which team?", criteria=TEAM),
        "silent": sdk.Choice(criteria={"cello": "Four strings", "harp": ["Many", "strings"]}),
        "urgency": sdk.Score(instructions="How urgent?", criteria=[*LEVELS, {"what": "now"}]),
    }
    state = {**STATE, "more": "cello " * 150 if compression else "a"}  # smaller bodies are sent as they are
    limits = Limits(max_characters=5000, timeout=PATIENCE)

    def call(address: str, key: str, questions: Any) -> tuple[Any, Any]:
        how = {"base_url": address, "api_key": key, "compression": compression, "timeout": PATIENCE}
        how["retry"] = sdk.RetryPolicy(max_retries=0)
        if not later:
            with sdk.TypeSafeClient(**how) as own:
                return own.system_one(state, questions), own.models.list()

        async def run() -> tuple[Any, Any]:
            async with sdk.AsyncTypeSafeClient(**how) as own:
                return await own.system_one(state, questions), await own.models.list()

        return asyncio.run(run())

    with listening(create_app({"world-heads": calibrated}, limits, key="secret-7")) as address:
        found, models = call(address, "secret-7", asked)
        assert found.model == "world-heads" and found.request_id and found.usage.input_tokens > 10
        assert set(found.choices) == {"team", "silent"} and 0 < found.nouls["music"].noul < 1
        assert sum(found.scores["urgency"].probabilities.values()) == pytest.approx(1)
        assert found.scores["urgency"].legend[3] == {"what": "now"}
        assert [one.name for one in models.models] == ["world-heads"]
        with pytest.raises(sdk.TypeSafeAPIError) as caught:
            call(address, "another", asked)
        assert caught.value.status == 401
        with pytest.raises(sdk.TypeSafeAPIError) as caught:
            call(address, "secret-7", {"one": sdk.Choice(instructions="Which?", criteria={"one": None})})
        assert caught.value.status == 422 and "questions.one.criteria" in str(caught.value)


def test_typesafe_sdk_tries_again_when_the_server_is_full(calibrated: Likra) -> None:
    sdk = pytest.importorskip("typesafe_sdk", reason="typesafe-sdk is not installed")
    asked = {"music": sdk.Noul(instructions="Is this about music?")}
    app = create_app({"world-heads": calibrated}, Limits(max_queue=1, max_wait=0, max_batch=1, timeout=PATIENCE))
    with listening(app) as address:

        def call(_: int) -> float:
            policy = sdk.RetryPolicy(max_retries=50)
            with sdk.TypeSafeClient(base_url=address, api_key="k", retry=policy, timeout=PATIENCE) as own:
                return float(own.system_one("A cello.", asked).nouls["music"].noul)

        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(call, range(6)))
    assert found == pytest.approx([found[0]] * 6, abs=1e-4)


# What is refused.

MANY = {f"o{number}": None for number in range(256)}
REFUSED: list[tuple[Any, str]] = [
    (body({}), "field 'questions' is empty"),
    ({"state": "a"}, "field 'questions' is missing"),
    ({"questions": QUESTIONS}, "field 'state' is missing"),
    (body(state=""), "field 'state' is empty"),
    (body(state=3), "field 'state' is int"),
    (body(state="\ud800"), "field 'state' holds half"),
    ({"state": "a", "questions": [1]}, "field 'questions' is not an object"),
    (body({"a": 1}), "field 'questions.a' is int"),
    (body({"a": {"type": "box", "instructions": "Where?"}}), "field 'questions.a.type' is 'box'"),
    (body({"a": {"type": ["noul"], "instructions": "Is it?"}}), "field 'questions.a.type' is ['noul']"),
    (body({"a": {"instructions": "Is it?"}}), "field 'questions.a.type' is None"),
    (body({"a": {"type": "noul"}}), "field 'questions.a.instructions' is empty"),
    (body({"a": {"type": "noul", "instructions": " "}}), "field 'questions.a.instructions' is empty"),
    (body({"a": {"type": "noul", "instructions": 3}}), "field 'questions.a.instructions' is 3"),
    (body({"a": {"type": "noul", "instructions": "\udc00"}}), "field 'questions.a.instructions' holds half"),
    (
        body({"a": {"type": "choice", "instructions": "W?", "criteria": {"one": None}}}),
        "'questions.a.criteria' has 1 opt",
    ),
    (body({"a": {"type": "choice", "instructions": "W?", "criteria": MANY}}), "'questions.a.criteria' has 256 options"),
    (
        body({"a": {"type": "choice", "instructions": "W?", "criteria": {"a": 1, "b": 2}}}),
        "'questions.a.criteria.a' is 1",
    ),
    (
        body({"a": {"type": "choice", "instructions": "W?", "criteria": {"a": "", "a ": ""}}}),
        "has the option 'a' twice",
    ),
    (body({"a": {"type": "choice", "instructions": "W?", "criteria": {"": "x", "b": ""}}}), "an option without a text"),
    (body({"a": {"type": "choice", "instructions": "W?", "criteria": ["a", "b"]}}), "'questions.a.criteria' is list"),
    (body({"a": {"type": "score", "instructions": "W?", "criteria": ["a"]}}), "'questions.a.criteria' has 1 option"),
    (body({"a": {"type": "score", "instructions": "W?", "criteria": [*"abcdefghijk"]}}), "has 11 options"),
    (body({"a": {"type": "score", "instructions": "W?", "criteria": ["a", "a"]}}), "has the option 'a' twice"),
    (body({f"q{n}": QUESTIONS["music"] for n in range(200)}), "field 'questions' has 200 questions"),
    (body(model=3), "field 'model' is not text"),
    (body(assets={"x": {"type": "image"}}), "field 'assets'"),
    (body(state="cello " * 600), "field 'state' is too long: with questions."),
    (body({"a": {"type": "noul", "instructions": "cello " * 600}}), "field 'questions.a' is too long: with the state"),
    (body({"a": {"type": "noul", "criteria": "cello " * 600}}), "field 'questions.a' is too long: with the state"),
    (body(state="a" * 30_000), "field 'state' has a text of 30000 characters"),
    (body({"a" * 1000: {"type": "x"}}), f"field 'questions.{'a' * 40}.type'"),
]


@pytest.mark.parametrize(("sent", "line"), REFUSED, ids=[line[:50] for _, line in REFUSED])
def test_what_breaks_the_rules_is_refused_with_its_path(server: TestClient, sent: Any, line: str) -> None:
    response = server.post(
        "/v1/systemone", content=json.dumps(sent).encode(), headers={"content-type": "application/json"}
    )
    said = response.json()["detail"]
    assert response.status_code == 422 and line in said and "\n" not in said and len(said) < 400


@pytest.mark.parametrize(
    ("sent", "headers", "status", "line"),
    [
        (b'{"state": "a", "questions": {"q": {"type": "noul"', {}, 422, "the body, at byte"),
        (b"[" * 100_000, {}, 422, "the body"),
        (b"[1]", {}, 422, "not a JSON object"),
        (b"\xff\xfe\xfd", {}, 422, "the body"),
        (
            b'{"state": "a", "questions": {"q": {"type": "choice", "criteria": {"a": null, "a": 1}}}}',
            *({}, 422, "field 'questions.q.criteria' has 'a' twice"),
        ),
        (
            b'{"state": "a", "questions": {"q": {"type": "noul"}, "q": {"type": "noul"}}}',
            *({}, 422, "field 'questions' has 'q' twice"),
        ),
        (b'{"state": {"a": NaN}, "questions": {"q": {}}}', {}, 422, "field 'state' is not JSON"),
        (b'{"state": "a", "state": "b", "questions": {"q": {}}}', {}, 422, "the body has 'state' twice"),
        (b'{"state": {"a": [{"b": 1, "b": 2}]}, "questions": {"q": {}}}', {}, 422, "field 'state.a' has 'b' twice"),
        (
            b'{"state": "s", "questions": {"u": {"type": "score", "instructions": "i", "criteria": ["x", '
            + b"[" * 300
            + b'"a"'
            + b"]" * 300
            + b"]}}}",
            {},
            422,
            "field 'questions.u.criteria' is nested deeper",
        ),
        (json.dumps(body()).encode(), {"content-type": "text/plain"}, 422, "Content-Type"),
        (b"a" * 2**21, {}, 413, "larger than"),
        (gzip.compress(b"a" * 2**21), {"content-encoding": "gzip"}, 413, "larger than"),
        (b"not gzip", {"content-encoding": "gzip"}, 415, "is not gzip"),
        (gzip.compress(json.dumps(body()).encode())[:-20], {"content-encoding": "gzip"}, 415, "in the midst"),
        (b"{}", {"content-encoding": "br"}, 415, "compressed by 'br'"),
    ],
    ids=range(16),
)
def test_bodies_that_are_no_request(server: TestClient, sent: bytes, headers: Any, status: int, line: str) -> None:
    response = server.post("/v1/systemone", content=sent, headers={"content-type": "application/json", **headers})
    assert (response.status_code, line in response.json()["detail"]) == (status, True), response.text


def test_a_compressed_body_is_read(server: TestClient) -> None:
    plain = json.dumps(body()).encode()
    packed = gzip.compress(plain[:20]) + gzip.compress(plain[20:])  # members may follow one another
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert server.post("/v1/systemone", content=packed, headers=headers).status_code == 200


def test_a_state_that_is_too_long_spoils_nobody_elses(calibrated: Likra) -> None:
    with client(calibrated, Limits(max_wait=PATIENCE, max_batch=5 * 8, timeout=PATIENCE)) as server:

        def status(number: int) -> int:
            state = "cello " * 600 if number == 3 else f"cello {number}"
            return server.post("/v1/systemone", json=body(state=state)).status_code

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(status, range(5))) == [200, 200, 200, 422, 200]
