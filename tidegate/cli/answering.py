"""The roles that answer reported panes. Each looks into the ledger, does what is next, and writes it down once.

controller: report → decision · refresher: decision → result · controller: result → record. (Reports are the
evaluator's, `tidegate.cli.evaluating`.) Panes are answered one after the other: a decision rests on the record before
it. Where no pane is to be answered, alerts are (`tidegate.cli.alert_answering`); the next pane goes on from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from stream.alert_book import AlertBook
from stream.ledger import DECISIONS, RECORDS, REPORTS, RESULTS, Ledger
from tidegate.cli.alert_answering import AlertController, AlertRefresher
from tidegate.cli.alert_planning import AnsweredPanes
from tidegate.cli.deciding import Deciding
from tidegate.cli.flagging import fine_tune_of
from tidegate.cli.records import PaneDecision, PaneRecord, PaneReport, decode_record
from tidegate.cli.refreshing import Refreshing
from tidegate.clock import Clock, SystemClock
from tidegate.contracts import OrderPlaced, RefreshResult, encode
from tidegate.errors import ConfigError

Announce = Callable[[str, bytes], None]
"""Tell the other roles, by topic; nothing rests on it."""


def next_unrecorded(ledger: Ledger) -> int | None:
    """Find the pane that is to be answered next; None before the first pane is known."""
    last = ledger.last_pane(RECORDS)
    return ledger.state().first_pane if last is None else last + 1


def is_over(ledger: Ledger) -> bool:
    """Whether the run has ended and its last pane is answered; a run that is followed never is."""
    state = ledger.state()
    return state.has_ended and ledger.last_pane(RECORDS) == state.closed_pane


def record_of(ledger: Ledger, pane: int) -> PaneRecord | None:
    """Read the record of a pane, as it stands after the alerts that were answered since; None where there is none."""
    body = ledger.get(RECORDS, pane)
    panes = AnsweredPanes(AlertBook(ledger.database, ledger.run_id))
    return None if body is None else panes.amended(decode_record(body))


@dataclass(frozen=True, slots=True)
class Controller:
    """Decides, and records what became of it."""

    ledger: Ledger
    deciding: Deciding
    announce: Announce
    on_record: Callable[[PaneRecord], None] = lambda _: None
    clock: Clock = field(default_factory=SystemClock)
    alerts: AlertController | None = None

    def advance(self) -> bool:
        """Decide the next reported pane, or record it where its result is there, or decide on an alert.

        False where nothing of that can be.
        """
        return self._advance_pane() or (self.alerts is not None and self.alerts.advance())

    @property
    def _book(self) -> AlertBook:
        return AlertBook(self.ledger.database, self.ledger.run_id)

    def _advance_pane(self) -> bool:
        pane = next_unrecorded(self.ledger)
        body = None if pane is None else self.ledger.get(REPORTS, pane)
        if pane is None or body is None:
            return False
        decided = self.ledger.get(DECISIONS, pane)
        if decided is None:
            if self._book.is_ordered():
                return False  # what an alert brings about is awaited: the pane goes on from it
            self._decide(msgspec.json.decode(body, type=PaneReport))
            return True
        decision = msgspec.json.decode(decided, type=PaneDecision)
        result = self.ledger.get(RESULTS, pane)
        if decision.asks_for_refresh and result is None:
            return False
        known = None if result is None else msgspec.json.decode(result, type=RefreshResult)
        record = self.deciding.conclude(decision.record, known, record_of(self.ledger, pane - 1))
        if self.ledger.put(RECORDS, pane, encode(record), fine_tune_of(record, self.clock.now_ms())):
            self.on_record(record)
        return True

    def remind(self) -> None:
        """Place the order that is open again: its message, or who got it, may be gone."""
        pane = next_unrecorded(self.ledger)
        body = None if pane is None else self.ledger.get(DECISIONS, pane)
        if pane is not None and body is not None and self.ledger.get(RESULTS, pane) is None:
            self._place(msgspec.json.decode(body, type=PaneDecision))
        if self.alerts is not None:
            self.alerts.remind()

    def _decide(self, reported: PaneReport) -> None:
        n_answered = AnsweredPanes(self._book).n_answered(reported.pane - 1)
        last = record_of(self.ledger, reported.pane - 1)
        record = self.deciding.begin(reported.closing, last)
        record, planned = self.deciding.decide(reported.closing, record, reported.report, last)
        decision = PaneDecision(record=record, asks_for_refresh=planned is not None and planned.asks_for_refresh)
        if self._book.put_pane_decision(reported.pane, encode(decision), n_answered):
            self._place(decision)

    def _place(self, decision: PaneDecision) -> None:
        if not decision.asks_for_refresh:
            return
        record = decision.record
        order = record.decision.order if record.decision else None
        placed = OrderPlaced(
            run_id=self.ledger.run_id,
            order_id=order.order_id if order else f"backoff-{record.pane}",
            pane=record.pane,
            window_end_ms=record.window_end_ms,
            trigger=order.trigger if order else None,
            n_rows=len(order.rows) if order else 0,
            all_rows=order.all_rows if order else False,
        )
        self.announce("orders", encode(placed))


@dataclass(frozen=True, slots=True)
class RefreshRole:
    """Carries open orders out."""

    ledger: Ledger
    deciding: Deciding
    refreshing: Refreshing
    announce: Announce
    alerts: AlertRefresher | None = None

    def advance(self) -> bool:
        """Carry the open order out, if there is one: a pane's or an alert's, of which one at a time is open."""
        return self._advance_pane() or (self.alerts is not None and self.alerts.advance())

    def _advance_pane(self) -> bool:
        pane = next_unrecorded(self.ledger)
        body = None if pane is None else self.ledger.get(DECISIONS, pane)
        if pane is None or body is None or self.ledger.get(RESULTS, pane) is not None:
            return False
        decision = msgspec.json.decode(body, type=PaneDecision)
        reported = self.ledger.get(REPORTS, pane)
        if not decision.asks_for_refresh or reported is None:
            return False
        closing = msgspec.json.decode(reported, type=PaneReport).closing
        planned = self.deciding.plan(closing, decision.record, record_of(self.ledger, pane - 1))
        ordered = decision.record.decision.order if decision.record.decision else None
        if planned.plan.order != ordered:
            raise ConfigError(
                f"the order of pane {pane} cannot be planned again: controller and refresher are set differently",
                "Give both the same configuration file and version",
                place="refresher",
            )
        result = encode(self.refreshing.execute(decision.record, planned))
        if self.ledger.put(RESULTS, pane, result):
            self.announce("results", result)
        return True
