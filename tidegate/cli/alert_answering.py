"""Answering alerts: an order out of the rhythm of panes, recorded like any other.

1. controller: open request → the rows that pay now → order (`AlertController`)
2. refresher: order → table version → result (`AlertRefresher`)

The next pane is decided only after the result, and goes on from it. A crash anywhere repeats the step that it was in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from stream.alert_book import AlertRequest
from stream.ledger import DECISIONS, RECORDS
from stream.newest_counts import newest_counts
from tidegate.cli.alert_planning import AlertDecision, AlertPlanning, AnsweredPanes, decided, decision_of
from tidegate.cli.records import PaneRecord
from tidegate.cli.refreshing import Refreshing
from tidegate.cli.scoring import serving_version
from tidegate.clock import Clock
from tidegate.contracts import AlertStatus, OrderPlaced, RefreshResult, encode
from tidegate.counts import BucketedCounts
from tidegate.errors import ConfigError

_LOG = logging.getLogger("tidegate.alerts")

Announce = Callable[[str, bytes], None]
"""Tell the other roles, by topic; nothing rests on it."""


@dataclass(frozen=True, slots=True)
class AlertController:
    """Decides on requests, one after the other."""

    planning: AlertPlanning
    clock: Clock
    announce: Announce = lambda _topic, _body: None

    def advance(self) -> bool:
        """Decide on the next request; False where there is none, or another answer is awaited first."""
        book, ledger = self.planning.book, self.planning.ledger
        request = book.next()
        if request is None or request.status is not AlertStatus.OPEN:
            return False
        pane = ledger.last_pane(RECORDS)
        if pane is not None and ledger.get(DECISIONS, pane + 1) is not None:
            return False
        record = None if pane is None else AnsweredPanes(book).amended(self.planning.record(pane))
        if record is None or record.table_version is None:
            _LOG.info("alert %s needs no order: no table serves yet", request.episode.alert)
            return book.dismiss(request.number, self.clock.now_ms())
        decision, newest = self._decide(request, record)
        body = encode(decision)
        if book.put_decision(request.number, record.pane, body, newest):
            self._place(decision)
        return True

    def remind(self) -> None:
        """Place the order that is open again: its message, or who got it, may be gone."""
        request = self.planning.book.next()
        if request is not None and request.status is AlertStatus.ORDERED:
            self._place(decision_of(request))

    def _decide(self, request: AlertRequest, record: PaneRecord) -> tuple[AlertDecision, BucketedCounts]:
        planning, deciding = self.planning, self.planning.deciding
        reader = deciding.measuring.reader
        newest = newest_counts(reader.database, reader.run_id, record.pane)
        begun = msgspec.structs.replace(
            record,
            table_version=serving_version(deciding.tables, record),
            n_clusters=len(reader.cluster_names()),
            report=None,
            since_fine_tune=None,
            asks_anew=False,
            decision=None,
            result=None,
        )
        number, alert = request.number, request.episode.alert
        decision = AlertDecision(
            run_id=reader.run_id,
            number=number,
            alert=alert,
            policy=planning.policy_of(number, alert).name,
            pane=record.pane,
            first_pane=planning.first_pane,
            decided_ms=self.clock.now_ms(),
            record=begun,
        )
        return decided(decision, planning.plan(decision, newest), newest), newest

    def _place(self, decision: AlertDecision) -> None:
        order = decision.record.decision.order if decision.record.decision else None
        assert order is not None
        placed = OrderPlaced(
            run_id=self.planning.ledger.run_id,
            order_id=order.order_id,
            pane=decision.pane,
            window_end_ms=decision.record.window_end_ms,
            trigger=order.trigger,
            n_rows=len(order.rows),
            all_rows=order.all_rows,
        )
        _LOG.info("alert %s: order %s is placed", decision.alert, order.order_id)
        self.announce("orders", encode(placed))


@dataclass(frozen=True, slots=True)
class AlertRefresher:
    """Carries the orders of alerts out."""

    planning: AlertPlanning
    refreshing: Refreshing
    clock: Clock
    announce: Announce = lambda _topic, _body: None
    on_result: Callable[[AlertDecision, RefreshResult], None] = lambda _decision, _result: None
    on_rows: Callable[[int, int], None] | None = None

    def advance(self) -> bool:
        """Carry the open order out, if there is one.

        Raises
        ------
        ConfigError
            If the order cannot be planned again.
        TidegateError
            Whatever kept it from being carried out; what serves is untouched.
        """
        book = self.planning.book
        request = book.next()
        if request is None or request.status is not AlertStatus.ORDERED:
            return False
        decision, newest = decision_of(request), book.newest(request.number)
        assert newest is not None  # of open requests no counts are dropped
        planned = self.planning.plan(decision, newest)
        ordered = decision.record.decision.order if decision.record.decision else None
        if planned.plan.order != ordered:
            raise ConfigError(
                f"the order of alert {request.number} cannot be planned again: controller and refresher are set "
                "differently",
                "Give both the same configuration file and version",
                place="refresher",
            )
        refreshing = replace(self.refreshing, measuring=self.planning.measuring(decision.pane, newest))
        result = refreshing.execute(self.planning.begun(decision), planned, self.on_rows)
        if book.put_result(request.number, encode(result), self.clock.now_ms()):
            self.announce("results", encode(result))
            self.on_result(decision, result)
        return True
