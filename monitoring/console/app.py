"""The console's routes: pages that read, and what stands around all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from monitoring.console import views
from monitoring.console.acting import Acting
from monitoring.console.bill import bill_of
from monitoring.console.facts import PaneFacts, Prices
from monitoring.console.guard import Guard
from monitoring.console.rendering import page
from monitoring.console.sessions import Sessions
from monitoring.console.source import ConsoleActions, ConsoleSource
from monitoring.console.verdict import Evidence, judge_freshness, waiting
from monitoring.console.visits import Visit, to_login
from tidegate.clock import Clock
from tidegate.contracts import FineTuneStatus
from tidegate.errors import TidegateError

_LOG = logging.getLogger(__name__)
_STATIC = {"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8"}
_PAIRS_ON_OVERVIEW, _PAIRS, _DECISIONS_ON_OVERVIEW, _DECISIONS_ON_PAGE = 8, 200, 5, 50
_SPANS = (30, 60, 120, 0)
_DIFF_ROWS = 100
_ROWS_OF_ORDER = 100
_VERSIONS, _MOVES = 50, 30

Handler = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """How a console behaves.

    Attributes
    ----------
    host : str                  what it listens on
    needs_login : bool          also for reading
    live_seconds : int          between looks for news
    is_https : bool             cookies go over TLS only; something before the console speaks it
    """

    host: str = "127.0.0.1"
    needs_login: bool = False
    prices: Prices = field(default_factory=Prices)
    live_seconds: int = 5
    is_https: bool = False


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


class Pages:
    """Pages that read. Each names the parts that change while they are looked at, so that they stay live."""

    def __init__(self, source: ConsoleSource, sessions: Sessions, options: ConsoleOptions, clock: Clock) -> None:
        self._source, self._sessions, self._options, self._clock = source, sessions, options, clock

    def render(self, visit: Visit, template: str, status: int = 200, **context: Any) -> Response:
        """Render a page with what stands on all of them."""
        source, session = self._source, visit.session
        is_known = session is not None or not self._options.needs_login
        run = visit.read(source.run, None) if is_known else None
        notice = None
        if session is not None and not visit.is_live:
            notice, session.notice = session.notice, None
        return page(
            template,
            visit.if_none_match if visit.is_live else None,
            status,
            **{
                "n_waiting": self._n_waiting(visit) if is_known else {},
                "problems": visit.problems,
                "visit": visit,
                "session": session,
                "run": run,
                "notice": notice,
                "can_login": self._sessions.tokens is not None,
                "is_known": is_known,
                "live_seconds": self._options.live_seconds,
                **context,
            },
        )

    def problem(self, visit: Visit, status: int, sentence: str) -> Response:
        """Say why there is no page."""
        return self.render(visit, "problem", status, sentence=sentence)

    async def refused_by_route(self, request: Request, error: Exception) -> Response:
        """Say what the router refuses: an unknown path or method."""
        assert isinstance(error, HTTPException)
        visit = Visit.of(request, self._sessions)
        sentence = "There is no such page." if error.status_code == 404 else f"{error.detail}."
        return await anyio.to_thread.run_sync(self.problem, visit, error.status_code, sentence)

    def _n_waiting(self, visit: Visit) -> dict[str, int]:
        source = self._source
        candidates, fine_tunes = visit.read(source.candidates, ()), visit.read(source.fine_tunes, ())
        return {
            "/orders": sum(each.is_publishable for each in candidates),
            "/fine-tunes": sum(each.status is FineTuneStatus.PENDING_REVIEW for each in fine_tunes),
        }

    def overview(self, visit: Visit) -> Response:
        """Show the verdict, and what it rests on."""
        source = self._source
        panes, tables = visit.read(source.panes, ()), visit.read(source.tables, None)
        candidates, fine_tunes = visit.read(source.candidates, ()), visit.read(source.fine_tunes, ())
        now_ms = self._clock.now_ms() // 60_000 * 60_000
        seen = Evidence(
            now_ms=now_ms,
            run=visit.read(source.run, None),
            panes=panes,
            open_order=visit.read(source.open_order, None),
            progress=visit.read(source.progress, None),
            tables=tables,
            candidates=candidates,
        )
        last = self._last_compared(panes)
        detail = visit.read(lambda: source.detail(last.pane), None) if last else None
        pairs = views.drifted_pairs(detail.report if detail else None, visit.read(source.cluster_names, ()))
        span, shown = self._span(visit, panes)
        return self.render(
            visit,
            "overview",
            verdict=judge_freshness(seen),
            waiting=waiting(candidates, fine_tunes, tables),
            tables=tables,
            serving=tables.version(tables.serving) if tables else None,
            last=panes[-1] if panes else None,
            compared=last,
            next_rate=views.hit_rate(panes, "next"),
            sequence_rate=views.hit_rate(panes, "sequence"),
            bill=bill_of(panes),
            prices=self._options.prices,
            pairs=pairs[:_PAIRS_ON_OVERVIEW],
            n_pairs=len(pairs),
            decisions=views.chosen(panes, "all")[:_DECISIONS_ON_OVERVIEW],
            drift_chart=views.drift_chart(shown),
            hits_chart=views.hits_chart(shown),
            span=span,
            spans=_SPANS,
            now_ms=now_ms,
        )

    def _last_compared(self, panes: Any) -> PaneFacts | None:
        return next((pane for pane in reversed(panes) if pane.report is not None), None)

    def _span(self, visit: Visit, panes: Any) -> tuple[int, Any]:
        """Panes that charts show: the last so many, or all."""
        asked = visit.number("panes")
        span = asked if asked in _SPANS else _SPANS[1]
        return span, panes[-span:] if span else panes

    def drift(self, visit: Visit) -> Response:
        """Show what drifted in a window, by name."""
        source = self._source
        panes = visit.read(source.panes, ())
        asked = visit.number("pane")
        compared = [pane for pane in panes if pane.report is not None]
        pane = next((each for each in compared if each.pane == asked), None) if asked is not None else None
        pane = pane or self._last_compared(panes)
        detail = visit.read(lambda: source.detail(pane.pane), None) if pane else None
        names = visit.read(source.cluster_names, ())
        report = detail.report if detail else None
        pairs = views.drifted_pairs(report, names)
        span, shown = self._span(visit, panes)
        at = compared.index(pane) if pane in compared else 0
        return self.render(
            visit,
            "drift",
            pane=pane,
            report=report,
            pairs=pairs[:_PAIRS],
            n_pairs=len(pairs),
            names=names,
            name_of=views.name_of,
            earlier=compared[at - 1] if pane and at > 0 else None,
            later=compared[at + 1] if pane and at + 1 < len(compared) else None,
            windows=compared[-span:][::-1] if span else compared[::-1],
            drift_chart=views.drift_chart(shown),
            span=span,
            spans=_SPANS,
        )

    def decisions(self, visit: Visit) -> Response:
        """List what was decided and why."""
        panes = visit.read(self._source.panes, ())
        show = visit.query.get("show", "all")
        show = show if show in views.FILTERS else "all"
        found, before = views.chosen(panes, show), visit.number("before")
        rest = [pane for pane in found if before is None or pane.pane < before]
        listed = rest[:_DECISIONS_ON_PAGE]
        return self.render(
            visit,
            "decisions",
            decisions=listed,
            n_found=len(found),
            filters=views.FILTERS,
            show=show,
            before=before,
            next_before=listed[-1].pane if len(rest) > len(listed) else None,
        )

    def decision(self, visit: Visit) -> Response:
        """Show one decision with all that it rested on."""
        pane, source = visit.number("pane"), self._source
        detail = source.detail(pane) if pane is not None else None
        if detail is None:
            return self.problem(visit, 404, "There is no such pane.")
        names = visit.read(source.cluster_names, ())
        rows = sorted(detail.rows, key=lambda row: -row.gain_hits)
        return self.render(
            visit,
            "decision",
            facts=detail.facts,
            decision=detail.decision,
            report=detail.report,
            rows=rows[:_ROWS_OF_ORDER],
            n_rows=len(rows),
            names=names,
            name_of=views.name_of,
            prices=self._options.prices,
        )

    def tables(self, visit: Visit) -> Response:
        """List versions and the moves of the pointer."""
        tables = visit.read(self._source.tables, None)
        return self.render(visit, "tables", tables=tables, n_versions=_VERSIONS, n_moves=_MOVES)

    def diff(self, visit: Visit) -> Response:
        """Show what sets two versions apart, in names."""
        old, new = visit.number("old"), visit.number("new")
        if old is None or new is None:
            return self.problem(visit, 400, "Name two versions.")
        try:
            found = self._source.diff(old, new, _DIFF_ROWS)
        except TidegateError as error:
            return self.problem(visit, 404, str(error))
        return self.render(visit, "diff", diff=found)

    def orders(self, visit: Visit) -> Response:
        """Show orders, what their gates said, and candidates that are held."""
        source = self._source
        panes = visit.read(source.panes, ())
        ordered = [pane for pane in reversed(panes) if pane.order is not None and pane.result is not None]
        return self.render(
            visit,
            "orders",
            candidates=visit.read(source.candidates, ()),
            open_order=visit.read(source.open_order, None),
            orders=ordered[:_DECISIONS_ON_PAGE],
            n_orders=len(ordered),
        )

    def fine_tunes(self, visit: Visit) -> Response:
        """Show fine-tunes, those that wait for a person first."""
        found = visit.read(self._source.fine_tunes, ())
        ordered = sorted(found, key=lambda each: each.status is not FineTuneStatus.PENDING_REVIEW)
        return self.render(visit, "fine_tunes", fine_tunes=ordered)

    def bill(self, visit: Visit) -> Response:
        """Show what the model was asked for, and what that cost."""
        panes = visit.read(self._source.panes, ())
        return self.render(visit, "bill", bill=bill_of(panes), prices=self._options.prices)

    def roles(self, visit: Visit) -> Response:
        """Show who works, and how far."""
        source = self._source
        return self.render(
            visit,
            "roles",
            shards=visit.read(source.shards, ()),
            progress=visit.read(source.progress, None),
            open_order=visit.read(source.open_order, None),
            now_ms=self._clock.now_ms() // 60_000 * 60_000,
        )
