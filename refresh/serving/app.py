"""The service's routes: one pair, many pairs, health, readiness, its own description, and where metrics are mounted.

Every answer carries the table version it comes from; every refusal is JSON with what was found and what to do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from refresh.lookup import Lookup
from refresh.serving.answers import Answers, refusal, refused
from refresh.serving.openapi import openapi_document
from refresh.serving.records import MAX_BODY_BYTES, VERSION_HEADER, Reply


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, {VERSION_HEADER: str(reply.version)}, media_type="application/json")


class _MountedApp:
    """Lets a route hand a whole ASGI app one exact path; mounting would redirect it to the path with a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _Handlers:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._description = msgspec.json.encode(openapi_document())

    async def next_of_one(self, request: Request) -> Response:
        return _response(self._answers.next_of_one(request.scope["query_string"]))

    async def next_of_many(self, request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return self._too_large()
        except ClientDisconnect:  # there is nobody to answer
            return Response(status_code=400)
        steps = self._answers.steps_of_many(body)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return _response(end.value)
            await asyncio.sleep(0)

    def _too_large(self) -> Response:
        self._answers.tally.add("batch", 413, seconds=0.0)
        found = f"the body is larger than {MAX_BODY_BYTES} bytes"
        response = _response(refusal(413, found, "Send fewer pairs at a time", "body", self._answers.lookup.version))
        response.headers["connection"] = "close"  # the rest of the body is not read
        return response

    async def healthz(self, _: Request) -> Response:
        return _response(self._answers.health())

    async def readyz(self, _: Request) -> Response:
        return _response(self._answers.readiness())

    async def openapi(self, _: Request) -> Response:
        return _response(Reply(200, self._answers.lookup.version, self._description))

    async def refused_by_route(self, request: Request, error: Exception) -> Response:
        """Say in JSON what the router refuses: an unknown path or method."""
        assert isinstance(error, HTTPException)
        self._answers.tally.add("other", error.status_code, seconds=0.0)
        found = f"{request.method} {request.url.path}: {error.detail}"
        mend = "Use /v1/next, /v1/next:batch (POST), /healthz, /readyz, /openapi.json or /metrics"
        return _response(refusal(error.status_code, found, mend, version=self._answers.lookup.version))

    async def failed(self, _: Request, error: Exception) -> Response:
        self._answers.tally.add("other", 500, seconds=0.0)
        return _response(refused(error, self._answers.lookup.version))


def build_app(answers: Answers, metrics_asgi: ASGIApp | None = None, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Build the service around a lookup.

    While the app runs, a thread follows the table's pointer, so that no request waits for a new version to load.

    Parameters
    ----------
    answers : Answers
    metrics_asgi : ASGI app, optional
        Answers ``/metrics``.
    more : further routes, of whoever runs the service
    """
    handlers = _Handlers(answers)
    routes: list[BaseRoute] = [
        Route("/v1/next", handlers.next_of_one, methods=["GET"]),
        Route("/v1/next:batch", handlers.next_of_many, methods=["POST"]),
        Route("/healthz", handlers.healthz, methods=["GET"]),
        Route("/readyz", handlers.readyz, methods=["GET"]),
        Route("/openapi.json", handlers.openapi, methods=["GET"]),
    ]
    if metrics_asgi is not None:
        routes.append(Route("/metrics", _MountedApp(metrics_asgi), methods=["GET"]))
    routes.extend(more)

    @asynccontextmanager
    async def follow(_: Starlette) -> AsyncIterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=_follow, args=(answers.lookup, stop), name="tidegate-follow", daemon=True)
        thread.start()
        yield
        stop.set()
        await asyncio.to_thread(thread.join)

    errors: dict[type[Exception], ExceptionHandler] = {
        HTTPException: handlers.refused_by_route,
        Exception: handlers.failed,
    }
    app = Starlette(routes=routes, exception_handlers=errors, lifespan=follow)
    app.router.redirect_slashes = False  # to wherever the request's own Host header says
    app.state.answers = answers
    return app


def _follow(lookup: Lookup, stop: threading.Event) -> None:
    """Poll twice as often as a request would, so that a request never finds the look-up due."""
    while not stop.wait(lookup.check_every_ms / 2_000):
        lookup.poll()
