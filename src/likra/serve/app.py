"""The HTTP application: what each path answers."""

import functools
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from likra import __version__
from likra.data.few_shot import checked
from likra.errors import InputError
from likra.likra import Likra
from likra.scoring.config import Scoring
from likra.scoring.likelihoods import Likelihoods
from likra.serve.batcher import Batcher, ModelGone, Overloaded
from likra.serve.decisions import DecisionRequest, answers
from likra.serve.gate import Gate
from likra.serve.limits import Limits
from likra.serve.metrics import Metrics
from likra.serve.models import Models, distinct_tokens
from likra.serve.page import PAGE, POLICY
from likra.serve.schemas import (
    ApiVersion,
    DecisionBody,
    DecisionResponse,
    Document,
    Health,
    Meta,
    ModelList,
    ModelMetadata,
    RankedDocument,
    Refusal,
    RerankRequest,
    RerankResponse,
    RiskCoverage,
    ScoredChoice,
    ScoreRequest,
    ScoreResponse,
    Text,
    Usage,
    inlined,
)
from likra.utils.runtime import Runtime

_SAY_JSON = "send JSON, and say so: 'Content-Type: application/json'"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body cannot be parsed."},
    401: {"model": Refusal, "description": "The key is missing or wrong."},
    408: {"model": Refusal, "description": "The body did not arrive in time."},
    413: {"model": Refusal, "description": "The body is too large."},
    415: {"model": Refusal, "description": "The body is compressed in a way that is not read."},
    422: {"model": Refusal, "description": "The request cannot be answered as it is."},
    429: {"model": Refusal, "description": "Too many requests are waiting; Retry-After says when to try again."},
    503: {"model": Refusal, "description": "The model is not read any more; the server must be started again."},
}
#: The body of a decision request, for /openapi.json: it is parsed by `DecisionRequest`, which sees what JSON had twice.
DECISION_BODY = {"requestBody": {"content": {"application/json": {"schema": inlined(DecisionBody)}}, "required": True}}


def create_app(
    models: Models | Mapping[str, Likra],
    limits: Limits | None = None,
    *,
    key: str | None = None,
    memory: int | None = None,
) -> FastAPI:
    """The application; runs under any ASGI server, in one process.

    Args:
        models: What is served, by the names that clients see; nothing else may use it while the application runs.
        limits: What a request may be.
        key: The bearer token that clients must send, if any.
        memory: Bytes that reading may take beside the model; default: a share of what is free.
    """
    models = models if isinstance(models, Models) else Models.of(models)
    limits = limits or Limits()
    metrics = Metrics()
    runtime = Runtime(memory, cache=False, progress=False)
    read = functools.partial(models.read, runtime=runtime, on_tokens=metrics.shared)
    batcher = Batcher(read, limits, metrics.read)
    metrics.waiting.set_function(lambda: batcher.waiting)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        batcher.stop()

    # The gate checks the key; this only says so in /openapi.json.
    secured = [Security(HTTPBearer(auto_error=False))] if key else []
    app = FastAPI(title="likra", version=__version__, redoc_url=None, lifespan=running)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InputError, _unusable)
    app.add_exception_handler(Overloaded, _overloaded)
    app.add_exception_handler(ModelGone, _gone)

    async def ask(
        model: str | None, question: str, candidates: Sequence[str], fields: tuple[str, str]
    ) -> tuple[str, Likra, Likelihoods]:
        name = models.named(model)
        limits.check(question, candidates, fields)
        table, _ = await batcher.likelihoods(name, [checked(models[name].style, question, candidates)])
        return name, models[name], table

    @app.post("/v1/score", responses=_REFUSALS, dependencies=secured)
    async def score(request: ScoreRequest) -> ScoreResponse:
        """Score candidate answers to a question."""
        name, likra, table = await ask(request.model, request.question, request.choices, ("question", "choices"))
        scoring = Scoring(weight=request.weight, min_confidence=request.min_confidence)
        [candidates] = likra.candidates(table, scoring)
        best = max(range(len(candidates)), key=lambda place: candidates[place].score)
        withheld = candidates[best].withheld
        return ScoreResponse(
            model=name,
            weight=scoring.weight_or(likra.weight),
            choices=[ScoredChoice.model_validate(candidate) for candidate in candidates],
            best=best,
            answer=None if withheld else best,
            withheld=withheld,
            abstained=withheld,
        )

    # Cohere's clients send to /v1 or /v2, Jina's to /v1, vLLM's to all three.
    @app.post("/v1/rerank", responses=_REFUSALS, dependencies=secured)
    @app.post("/v2/rerank", responses=_REFUSALS, dependencies=secured)
    @app.post("/rerank", responses=_REFUSALS, dependencies=secured)
    async def rerank(request: RerankRequest, http: Request) -> RerankResponse:
        """Rank documents for a query, in the form of Cohere, Jina and vLLM."""
        name, likra, table = await ask(request.model, request.query, request.documents, ("query", "documents"))
        [candidates] = likra.candidates(table, Scoring(min_confidence=request.min_confidence))
        ranked = sorted(range(len(candidates)), key=lambda place: -candidates[place].score)
        results = []
        for place in ranked[: request.top_n or None]:
            candidate = candidates[place]
            results.append(
                RankedDocument(
                    index=place,
                    relevance_score=candidate.score if candidate.probability is None else candidate.probability,
                    withheld=candidate.withheld,
                    document=None if request.return_documents is False else Document(text=candidate.text),
                )
            )
        return RerankResponse(
            id=str(uuid.uuid4()),
            model=request.model or name,
            results=results,
            usage=Usage(total_tokens=int(table.tokens_QC.sum())),
            meta=Meta(api_version=ApiVersion(version="2" if http.url.path.startswith("/v2/") else "1")),
        )

    # Other servers of this form answer at the other two paths.
    of_decisions: dict[str, Any] = {"openapi_extra": DECISION_BODY, "response_model_exclude_unset": True}
    of_decisions |= {"responses": _REFUSALS, "dependencies": secured}

    @app.post("/v1/systemone", **of_decisions)
    @app.post("/systemone", **of_decisions)
    @app.post("/inference/v1/systemone", **of_decisions)
    async def decide(http: Request) -> DecisionResponse:
        """Answer typed questions about a state, in the form of decision models."""
        if "json" not in http.headers.get("content-type", ""):
            raise InputError(f"the body: {_SAY_JSON}.")
        request = DecisionRequest.read(await http.body(), limits)
        name = models.named(request.model)
        table, encoded = await batcher.likelihoods(name, request.questions(models[name], limits))
        found = answers(request, models[name], table)
        return DecisionResponse.model_validate(
            {
                "model": name,
                "answers": found,
                "usage": {"input_tokens": distinct_tokens(encoded), "output_tokens": 0},
                "calibrated": all(answer["calibrated"] for answer in found.values()),
            }
        )

    @app.get("/v1/models", responses={401: _REFUSALS[401]}, dependencies=secured)
    async def listed() -> ModelList:
        """The models of this server."""
        return ModelList(models=[ModelMetadata(**models.described(name)) for name in models.names])

    gone = {"model": Health, "description": _REFUSALS[503]["description"]}

    @app.get("/health", responses={422: _REFUSALS[422], 503: gone})
    async def health(response: Response, model: Text | None = None) -> Health:
        """Whether the server is there and reads its model, and what it serves."""
        name = models.named(model)
        likra = models[name]
        if not batcher.alive:
            response.status_code = 503
        return Health(
            status="ok" if batcher.alive else "failed",
            version=__version__,
            model=name,
            models=list(models.names),
            heads=list(likra.heads),
            weight=likra.weight,
            style=likra.style,
            calibrated=bool(likra.probable() or likra.probable(lone=True)),
            risk_coverage=_risk_coverage(likra),
            key_required=key is not None,
        )

    @app.get("/metrics", dependencies=secured, response_class=Response, responses={401: _REFUSALS[401]})
    async def counters() -> Response:
        """What Prometheus collects."""
        return Response(metrics.text(), media_type=metrics.content_type)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})

    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(Gate, limits=limits, metrics=metrics, paths=paths, key=key)
    return app


def _risk_coverage(likra: Likra) -> RiskCoverage | None:
    record = likra.calibration
    if record is None or likra.probable() is None:
        return None
    kept = record.automation
    return RiskCoverage(
        points=list(record.risk_coverage),
        questions=record.questions,
        budget=kept.budget if kept else None,
        threshold=kept.average.threshold if kept and kept.average else None,
    )


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """One line about the first thing that is wrong; what was sent is not sent back."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part)[:40] for part in first["loc"][1:])
    reason = first.get("ctx", {}).get("error", first["msg"]) if first["type"] == "json_invalid" else first["msg"]
    where = "the body" if not place else f"the body, at byte {place}" if first["type"] == "json_invalid" else place
    if not place and "json" not in request.headers.get("content-type", ""):
        reason = _SAY_JSON
    return _refusal(422, f"{where}: {reason}")


async def _unusable(request: Request, error: Exception) -> JSONResponse:
    return _refusal(422, str(error))


async def _overloaded(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Overloaded)
    response = _refusal(429, str(error))
    response.headers["Retry-After"] = str(error.retry_after)
    return response


async def _gone(request: Request, error: Exception) -> JSONResponse:
    return _refusal(503, str(error))


def _refusal(status: int, detail: str) -> JSONResponse:
    # What was sent may hold half a surrogate pair, which cannot be written as UTF-8.
    line = " ".join(detail.encode("utf-8", "backslashreplace").decode().split())
    return JSONResponse({"detail": line}, status)
