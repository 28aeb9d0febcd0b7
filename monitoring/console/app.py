"""The console's routes: pages that read, and what stands around all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib.resources import files

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from monitoring.console.acting import Acting
from monitoring.console.guard import Guard
from monitoring.console.pages import ConsoleOptions, Pages
from monitoring.console.sessions import Sessions
from monitoring.console.source import ConsoleActions, ConsoleSource
from monitoring.console.visits import Visit, to_login
from tidegate.clock import Clock
from tidegate.errors import TidegateError

_LOG = logging.getLogger(__name__)
_STATIC = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

Handler = Callable[[Visit], Response]


def build_console(
    source: ConsoleSource, actions: ConsoleActions, sessions: Sessions, options: ConsoleOptions, clock: Clock
) -> ASGIApp:
    """Build the console around what it reads and what it lets people do.

    Parameters
    ----------
    sessions : without tokens nobody can log in, and nothing can be done
    """
    shown = Pages(source, sessions, options, clock)
    acting = Acting(source, actions, sessions, shown.render, is_https=options.is_https)
    pages: dict[str, Handler] = {
        "/": shown.overview,
        "/drift": shown.drift,
        "/decisions": shown.decisions,
        "/decisions/one": shown.decision,
        "/tables": shown.tables,
        "/tables/diff": shown.diff,
        "/orders": shown.orders,
        "/fine-tunes": shown.fine_tunes,
        "/bill": shown.bill,
        "/roles": shown.roles,
    }

    def read(handler: Handler, visit: Visit) -> Response:
        return to_login(visit) if options.needs_login and visit.session is None else handler(visit)

    def routed(path: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, partial(_answered, handler, sessions, shown), methods=[method])

    routes: list[BaseRoute] = [routed(path, partial(read, handler)) for path, handler in pages.items()]
    routes += [routed(path, handler) for path, handler in acting.forms().items()]
    routes += [routed(path, handler, "POST") for path, handler in acting.deeds().items()]
    routes += [Route(f"/static/{name}", partial(_static, name), methods=["GET"]) for name in _STATIC]
    routes.append(Route("/healthz", _healthz, methods=["GET"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: shown.refused_by_route})
    app.router.redirect_slashes = False  # to wherever the request's own Host header says
    return Guard(app, options.host)


async def _answered(handler: Handler, sessions: Sessions, shown: Pages, request: Request) -> Response:
    """Make a page in a thread, which is left to itself where the guard gives up waiting."""
    visit = Visit.of(request, sessions)
    try:
        return await anyio.to_thread.run_sync(handler, visit, abandon_on_cancel=True)
    except TidegateError as error:
        return shown.problem(visit, 503, str(error))
    except Exception:
        _LOG.exception("a page could not be made")
        return shown.problem(
            visit, 500, "This page could not be made. See the console's log; it is a fault of Tidegate."
        )


async def _static(name: str, _: Request) -> Response:
    body = files("monitoring").joinpath("templates", "console", name).read_bytes()
    return Response(body, media_type=_STATIC[name], headers={"cache-control": "no-cache"})


async def _healthz(_: Request) -> Response:
    return Response("ok\n", media_type="text/plain")
