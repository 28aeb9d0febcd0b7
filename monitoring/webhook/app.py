"""``POST /alerts``: what a delivery brings is kept before it is answered.

1. The token, before anything of the body is read.
2. The body, bounded in size and time.
3. What it holds (`monitoring.webhook.payload`).
4. Keeping it. Only then 202; 503 where that cannot be done, so that Alertmanager tries again.

Alertmanager takes any 4xx as final, 429 included: so these say that the same request will never do.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler

from monitoring.alert_metrics import AlertMetrics
from monitoring.webhook.openapi import openapi_document
from monitoring.webhook.payload import Found, MalformedError, read_delivery
from monitoring.webhook.records import MAX_BODY_BYTES, PATH, AlertRefusal, AlertsTaken
from tidegate.contracts import AlertEpisode
from tidegate.errors import TidegateError
from tidegate.tokens import Tokens

_LOG = logging.getLogger("tidegate.alerts")

Keep = Callable[[Sequence[AlertEpisode]], Sequence[str]]
"""Keeps episodes, all or none; says of each what became of it (a value of `EPISODES`). May block, and raise."""


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """What a delivery may take.

    Attributes
    ----------
    body_seconds : float     for the body to come
    keep_seconds : float     for the store to take it
    at_once : int            deliveries in hand, those that the store has not taken in time among them
    """

    body_seconds: float = 10.0
    keep_seconds: float = 10.0
    at_once: int = 16


class _RefusedError(Exception):
    def __init__(self, status: int, outcome: str, error: str, mend: str) -> None:
        self.status, self.outcome, self.error, self.mend = status, outcome, error, mend


class AlertHandler:
    """Answers deliveries.

    Parameters
    ----------
    keep : Keep
    metrics : AlertMetrics
    tokens : Tokens, optional     None: whoever reaches it is let in
    limits : AlertLimits, optional
    """

    def __init__(
        self, keep: Keep, metrics: AlertMetrics, tokens: Tokens | None = None, limits: AlertLimits | None = None
    ) -> None:
        self._keep, self._metrics, self._tokens, self._limits = keep, metrics, tokens, limits or AlertLimits()
        self._n_in_hand = 0
        self._threads = ThreadPoolExecutor(self._limits.at_once, thread_name_prefix="alerts")

    async def __call__(self, request: Request) -> Response:
        """Answer one delivery; the module's docstring numbers the steps."""
        try:
            self._admit(request)  # 1
            found = self._read(await self._body(request))  # 2, 3
            taken = await self._kept(found)  # 4
        except ClientDisconnect:  # there is nobody to answer
            self._metrics.deliveries.labels("too_slow").inc()
            return Response(status_code=400)
        except _RefusedError as refused:
            return self._refusal(refused)
        self._metrics.deliveries.labels("taken").inc()
        return Response(msgspec.json.encode(taken), 202, media_type="application/json")

    def _admit(self, request: Request) -> None:
        if self._tokens is not None and not self._tokens.accepts(request.headers.get("authorization")):
            raise _RefusedError(
                401, "unauthorised", "no live token came with the request", "Send one as Authorization: Bearer TOKEN"
            )
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # a page in somebody's browser may send others to loopback, but not this one
            raise _RefusedError(
                415, "malformed", f"the content type is {kind[:64]!r}, not application/json", "Let Alertmanager send it"
            )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            raise _too_large()
        if self._n_in_hand >= self._limits.at_once:
            raise _unavailable(f"{self._n_in_hand} deliveries are in hand already")

    async def _body(self, request: Request) -> bytearray:
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise _too_large()
        except TimeoutError:
            # Not the client's fault for sure: Alertmanager tries again after a 5xx.
            seconds = self._limits.body_seconds
            raise _RefusedError(503, "too_slow", f"the body did not come within {seconds:g} s", "Try again") from None
        return body

    def _read(self, body: bytearray) -> Found:
        try:
            return read_delivery(body)
        except MalformedError as error:
            raise _RefusedError(
                400, "malformed", str(error), "Let Alertmanager's webhook_configs send it, version 4"
            ) from error

    async def _kept(self, found: Found) -> AlertsTaken:
        counts: Counter[str] = Counter(resolved=found.n_resolved)
        if found.episodes:
            counts.update(await self._keep_in_time(found.episodes))
        for outcome, n in counts.items():
            self._metrics.episodes.labels(outcome).inc(n)
        self._metrics.truncated.inc(found.n_truncated)
        if found.n_truncated:
            _LOG.warning("a delivery leaves out %d alerts: let max_alerts be 0", found.n_truncated)
        return AlertsTaken(**counts, truncated=found.n_truncated)

    async def _keep_in_time(self, episodes: Sequence[AlertEpisode]) -> Sequence[str]:
        try:
            return await asyncio.wait_for(asyncio.shield(self._keeping(episodes)), self._limits.keep_seconds)
        except TimeoutError:
            raise _unavailable(f"the store took longer than {self._limits.keep_seconds:g} s") from None
        except TidegateError as error:
            _LOG.warning("a delivery cannot be kept: %s", error)
            raise _unavailable(error.found) from error

    def _keeping(self, episodes: Sequence[AlertEpisode]) -> asyncio.Future[Sequence[str]]:
        """Have the store take episodes in a thread. It may take them after their time: they are known then."""
        self._n_in_hand += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._keep, episodes)

        def end(ended: asyncio.Future[Sequence[str]]) -> None:
            self._n_in_hand -= 1
            if not ended.cancelled():
                ended.exception()  # whoever waited has been told, or has gone

        future.add_done_callback(end)
        return future

    def _refusal(self, refused: _RefusedError) -> Response:
        self._metrics.deliveries.labels(refused.outcome).inc()
        response = _refusal(refused.status, refused.error, refused.mend)
        response.headers["connection"] = "close"  # the rest of a body may not have been read
        if refused.status == 401:
            response.headers["www-authenticate"] = 'Bearer realm="tidegate alerts"'
        return response


def _too_large() -> _RefusedError:
    return _RefusedError(
        413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes", "Group alerts more finely (group_by)"
    )


def _unavailable(found: str) -> _RefusedError:
    return _RefusedError(503, "unavailable", found, "Try again")


def _refusal(status: int, error: str, mend: str) -> Response:
    return Response(msgspec.json.encode(AlertRefusal(error, mend)), status, media_type="application/json")


def alert_routes(handler: AlertHandler) -> list[BaseRoute]:
    """Give the routes to be mounted in an app."""
    return [Route(PATH, handler.__call__, methods=["POST"])]


def build_alert_app(handler: AlertHandler, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Build an app of its own.

    Parameters
    ----------
    more : further routes, such as health and metrics
    """
    document = msgspec.json.encode(openapi_document())

    async def openapi(_: Request) -> Response:
        return Response(document, media_type="application/json")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = _refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}", f"POST {PATH}")
        response.headers.update(error.headers or {})
        return response

    async def failed(_: Request, error: Exception) -> Response:
        _LOG.error("a delivery failed", exc_info=error)
        return _refusal(500, f"{type(error).__name__}: this is a fault of Tidegate", "Try again, and look at its log")

    routes = [*alert_routes(handler), Route("/openapi.json", openapi, methods=["GET"]), *more]
    errors: dict[type[Exception], ExceptionHandler] = {HTTPException: refused, Exception: failed}
    app = Starlette(routes=routes, exception_handlers=errors)
    app.router.redirect_slashes = False  # to wherever the request's own Host header says
    return app
