"""Pages that read: what each of them asks for, and hands to its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitoring.console import views
from monitoring.console.bill import bill_of
from monitoring.console.facts import AlertFacts, PaneFacts, Prices
from monitoring.console.rendering import page
from monitoring.console.sessions import Sessions
from monitoring.console.source import ConsoleSource
from monitoring.console.verdict import Evidence, judge_freshness, waiting
from monitoring.console.visits import Visit
from tidegate.clock import Clock
from tidegate.contracts import FineTuneStatus
from tidegate.errors import TidegateError

_PAIRS_ON_OVERVIEW, _PAIRS, _DECISIONS_ON_OVERVIEW, _DECISIONS_ON_PAGE = 8, 200, 5, 50
_SPANS = (30, 60, 120, 0)
_DIFF_ROWS = 40
_CLUSTERS = 10
_ROWS_OF_ORDER = 100
_VERSIONS, _MOVES, _DAYS = 50, 30, 92


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


class Pages:
    """Pages that read. Each names the parts that change while they are looked at, so that they stay live."""

    def __init__(self, source: ConsoleSource, sessions: Sessions, options: ConsoleOptions, clock: Clock) -> None:
        self._source, self._sessions, self._options, self._clock = source, sessions, options, clock

    def render(self, visit: Visit, template: str, status: int = 200, **context: Any) -> Response:
        """Render a page with what stands on all of them."""
        source, session = self._source, visit.session
        is_known = session is not None or not self._options.needs_login
        run = visit.read(source.run) if is_known else None
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
        candidates, fine_tunes = visit.read_all(source.candidates), visit.read_all(source.fine_tunes)
        return {
            "/orders": sum(each.is_publishable for each in candidates),
            "/fine-tunes": sum(each.status is FineTuneStatus.PENDING_REVIEW for each in fine_tunes),
        }

    def overview(self, visit: Visit) -> Response:
        """Show the verdict, and what it rests on."""
        source = self._source
        panes, tables = visit.read_all(source.panes), visit.read(source.tables)
        candidates, fine_tunes = visit.read_all(source.candidates), visit.read_all(source.fine_tunes)
        alerts = visit.read_all(source.alerts)
        now_ms = self._clock.now_ms() // 60_000 * 60_000
        seen = Evidence(
            now_ms=now_ms,
            run=visit.read(source.run),
            panes=panes,
            open_order=visit.read(source.open_order),
            progress=visit.read(source.progress),
            tables=tables,
            candidates=candidates,
            alerts=alerts,
        )
        last = self._last_compared(panes)
        detail = visit.read(lambda: source.detail(last.pane)) if last else None
        pairs = views.drifted_pairs(detail.report if detail else None, visit.read_all(source.cluster_names))
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
            bill=bill_of([*panes, *alerts]),
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

    def _last_compared(self, panes: Sequence[PaneFacts]) -> PaneFacts | None:
        return next((pane for pane in reversed(panes) if pane.report is not None), None)

    def _span(self, visit: Visit, panes: Sequence[PaneFacts]) -> tuple[int, Sequence[PaneFacts]]:
        """Panes that charts show: the last so many, or all."""
        asked = visit.number("panes")
        span = asked if asked in _SPANS else _SPANS[1]
        return span, panes[-span:] if span else panes

    def drift(self, visit: Visit) -> Response:
        """Show what drifted in a window, by name."""
        source = self._source
        panes = visit.read_all(source.panes)
        asked = visit.number("pane")
        compared = [pane for pane in panes if pane.report is not None]
        pane = next((each for each in compared if each.pane == asked), None) if asked is not None else None
        pane = pane or self._last_compared(panes)
        detail = visit.read(lambda: source.detail(pane.pane)) if pane else None
        names = visit.read_all(source.cluster_names)
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
            n_clusters=_CLUSTERS,
            earlier=compared[at - 1] if pane and at > 0 else None,
            later=compared[at + 1] if pane and at + 1 < len(compared) else None,
            windows=compared[-span:][::-1] if span else compared[::-1],
            drift_chart=views.drift_chart(shown),
            span=span,
            spans=_SPANS,
        )

    def decisions(self, visit: Visit) -> Response:
        """List what was decided and why."""
        panes = visit.read_all(self._source.panes)
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
        names = visit.read_all(source.cluster_names)
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
        tables = visit.read(self._source.tables)
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
        panes = visit.read_all(source.panes)
        ordered = [pane for pane in reversed(panes) if pane.order is not None and pane.result is not None]
        return self.render(
            visit,
            "orders",
            candidates=visit.read_all(source.candidates),
            open_order=visit.read(source.open_order),
            orders=ordered[:_DECISIONS_ON_PAGE],
            n_orders=len(ordered),
            alerts=visit.read_all(source.alerts)[:_DECISIONS_ON_PAGE],
        )

    def fine_tunes(self, visit: Visit) -> Response:
        """Show fine-tunes, those that wait for a person first."""
        found, panes = visit.read_all(self._source.fine_tunes), visit.read_all(self._source.panes)
        ordered = sorted(found, key=lambda each: each.status is not FineTuneStatus.PENDING_REVIEW)
        return self.render(visit, "fine_tunes", fine_tunes=ordered, last=panes[-1] if panes else None)

    def bill(self, visit: Visit) -> Response:
        """Show what the model was asked for, and what that cost."""
        asked: list[PaneFacts | AlertFacts] = list(visit.read_all(self._source.panes))
        asked += visit.read_all(self._source.alerts)
        return self.render(visit, "bill", bill=bill_of(asked), prices=self._options.prices, n_days=_DAYS)

    def roles(self, visit: Visit) -> Response:
        """Show who works, and how far."""
        source = self._source
        return self.render(
            visit,
            "roles",
            shards=visit.read_all(source.shards),
            progress=visit.read(source.progress),
            open_order=visit.read(source.open_order),
            now_ms=self._clock.now_ms() // 60_000 * 60_000,
        )
