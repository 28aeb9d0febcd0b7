"""The metrics as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, make_asgi_app

_Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]


def metrics_asgi(registry: CollectorRegistry) -> AsgiApp:
    """Build the ASGI app that answers ``/metrics`` with `registry`, in the format the scraper asks for."""
    app: AsgiApp = make_asgi_app(registry)
    return app


def render(registry: CollectorRegistry) -> str:
    """Write `registry` in the text format.

    Examples
    --------
    >>> render(CollectorRegistry())
    ''
    """
    return generate_latest(registry).decode()
