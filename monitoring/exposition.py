"""The metrics as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest, make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]


def metrics_asgi(registry: CollectorRegistry) -> AsgiApp:
    """Build the ASGI app that answers ``/metrics`` with `registry`, in the format the scraper asks for."""
    app: AsgiApp = make_asgi_app(registry)
    return app


class ExactRoute:
    """Lets a route hand a whole ASGI app one exact path; mounting would redirect it to the path with a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        await self._app(scope, receive, send)


def status_app(registry: CollectorRegistry, unready: Callable[[], str | None]) -> Starlette:
    """Build what a role answers about itself: ``/metrics``, ``/healthz`` and ``/readyz``, and nothing else.

    ``/healthz`` answers 200 while the process can answer at all: a step may rightly take hours, so nobody should be
    killed by the age of a heartbeat. ``/readyz`` answers 503, with the reason, while the role cannot work.

    Parameters
    ----------
    unready : () -> str | None
        Why the role cannot work now; None where it can.
    """

    def health(_: Request) -> Response:
        return _json(200, {"status": "alive"})

    def readiness(_: Request) -> Response:
        why = unready()
        return _json(200, {"status": "ready"}) if why is None else _json(503, {"status": "unready", "found": why})

    app = Starlette(
        routes=[
            Route("/metrics", ExactRoute(metrics_asgi(registry)), methods=["GET"]),
            Route("/healthz", health, methods=["GET"]),
            Route("/readyz", readiness, methods=["GET"]),
        ]
    )
    app.router.redirect_slashes = False
    return app


def _json(status: int, body: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def render(registry: CollectorRegistry) -> str:
    """Write `registry` in the text format.

    Examples
    --------
    >>> render(CollectorRegistry())
    ''
    """
    return generate_latest(registry).decode()
