"""What stands before the application: the key, the size of a body, a name and a count for each request."""

import asyncio
import hmac
import logging
import time
import uuid

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likra.errors import InputError
from likra.serve.compressed import TooLong, decompressed
from likra.serve.limits import Limits
from likra.serve.metrics import Metrics

logger = logging.getLogger(__name__)

#: What anybody may see: the page (which asks for the key), whether the server is there, and the form of its answers.
OPEN = ("/", "/health", "/docs", "/openapi.json")
#: The header that names a request, refused or not, as clients of decision models show it; the log has the same name.
_REQUEST_ID = b"x-typesafe-request-id"


class Gate:
    """Refuses a request before anything of it is parsed."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, paths: frozenset[str], key: str | None) -> None:
        """
        Args:
            app: The application behind it.
            limits: The size of a body, and the time that it may take to arrive.
            metrics: Where requests are counted.
            paths: Those that are counted by name.
            key: The bearer token that all but the open paths ask for, if any.
        """
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._paths = paths
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        path = scope["path"] if scope["path"] in self._paths else "other"

        begun = False
        request_id = str(uuid.uuid4())

        async def counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), (_REQUEST_ID, request_id.encode())]
                self._metrics.requests.labels(path, message["status"]).inc()
            await send(message)

        try:
            await self._pass(scope, receive, counted)
        except Exception:
            logger.exception("request %s failed", request_id)
            if begun:
                raise
            await _refusal(500, "the server failed on this request; its log says why.")(scope, receive, counted)
        finally:
            self._metrics.seconds.labels(path).observe(time.monotonic() - start)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        limit = self._limits.max_body
        if self._key is not None and scope["path"] not in OPEN and not self._knows(headers.get("authorization", "")):
            response = _refusal(401, "this server wants its key; send 'Authorization: Bearer KEY'.")
            response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        length = headers.get("content-length", "")
        too_large = _refusal(413, f"the body is larger than the {limit} bytes that this server takes; send less.")
        if length.isdecimal() and int(length[:20]) > limit:
            await too_large(scope, receive, send)
            return
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.timeout):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > limit:
                        await too_large(scope, receive, send)
                        return
        except TimeoutError:
            response = _refusal(408, f"the body did not arrive within {self._limits.timeout:g} s; send it faster.")
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        try:
            plain = decompressed(bytes(body), headers.get("content-encoding", ""), limit)
        except TooLong:
            await too_large(scope, receive, send)
            return
        except InputError as error:
            await _refusal(415, str(error))(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": plain, "more_body": False}

        await self._app(scope, replay, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        expected = (self._key or "").encode()
        # In constant time, so that a key cannot be guessed letter by letter.
        return hmac.compare_digest(token.strip().encode("latin-1"), expected) and scheme.lower() == "bearer"


def _refusal(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
