"""What evaluator and controller export of the store, and what a run's records say as metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from prometheus_client import CollectorRegistry

from monitoring.drift_metrics import DriftMetrics
from monitoring.metrics import AnsweringMetrics
from monitoring.pane_metrics import PaneMetrics
from refresh.finetune.book import FineTuneBook
from refresh.table_store import TableStore
from stream.alert_book import AlertBook
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import DECISIONS, RECORDS, REPORTS, RESULTS, Ledger
from stream.run_reader import RunReader
from stream.sequence_kernel import HITS_NEXT, SCORED
from tidegate.cli.alert_planning import decision_of, result_of
from tidegate.cli.answering import next_unrecorded
from tidegate.cli.records import PaneDecision, PaneRecord, decode_record
from tidegate.cli.roles import Role
from tidegate.contracts import AlertStatus, FineTuneStatus
from tidegate.errors import TableError

_LOG = logging.getLogger("tidegate.control")
_KEPT_OF_LEVEL = 0.9  # what a hit rate may lose of its level, as where a fine-tune is flagged


def tell_record(metrics: AnsweringMetrics, record: PaneRecord) -> None:
    """Count and show what was decided at a pane's end."""
    if record.report is not None:
        metrics.observe_report(record.report)
    if record.decision is not None:
        metrics.observe_decision(record.decision)
    if record.result is not None:
        metrics.observe_result(record.result)
    _show_weights(metrics, record)


def show_records(metrics: AnsweringMetrics, records: Iterable[PaneRecord]) -> None:
    """Show what an earlier process of the run has counted, so that a restart forgets no drift that lasts."""
    for record in records:
        if record.report is not None:
            metrics.show_report(record.report)
        if record.result is not None:
            metrics.show_result(record.result)
        _show_weights(metrics, record)


def _show_weights(metrics: AnsweringMetrics, record: PaneRecord) -> None:
    """Show which weights answer, and whether a flag for others is open: none once it is answered."""
    metrics.observe_weights(record.weights_version, record.weights_since_ms)
    if record.fine_tune is not None and record.fine_tune.is_flagged:
        metrics.observe_fine_tune_flag()
    elif record.fine_tune is not None:
        metrics.observe_fine_tune_verdict()


def show_fine_tunes(metrics: AnsweringMetrics, book: FineTuneBook, run_id: str) -> None:
    """Show the run's fine-tunes by status, each since its last step."""
    since_ms: dict[FineTuneStatus, list[int]] = {}
    for fine_tune in book.list(run_id):
        if fine_tune.steps:
            since_ms.setdefault(fine_tune.status, []).append(fine_tune.steps[-1].at_ms)
    metrics.observe_fine_tunes(since_ms)


class TableWatch:
    """Shows the table that serves, whoever made it serve: a refresh, or a person."""

    def __init__(self, metrics: AnsweringMetrics, tables: TableStore) -> None:
        self._metrics, self._tables = metrics, tables
        self._shown: int | None = None

    def look(self) -> None:
        """Look at the pointer; one that cannot be read is left to whoever needs it."""
        try:
            version = self._tables.current()
            if version is None or version == self._shown:
                return
            manifest = self._tables.manifest(version)
        except TableError:
            return
        self._metrics.observe_model(manifest.engine_name, manifest.engine_fingerprint)
        self._metrics.observe_table(
            version, rows=manifest.rows, backoff_rows=manifest.backoff_rows, published_ms=manifest.created_ms
        )
        self._shown = version


def show_objective(
    metrics: DriftMetrics, asked: float | None, reader: RunReader, record: PaneRecord | None, window_panes: int
) -> None:
    """Show the hit rate that alerts hold against.

    Parameters
    ----------
    asked : --hit-rate-objective
    record : of the last answered pane: its fine-tune's level, where there was one, is what weights can do
    window_panes : scored panes that make up the level where there was none, the earliest that the store has
    """
    if asked is not None:
        metrics.show_objective(asked)
        return
    level = record.fine_tune.hit_rate_level if record is not None and record.fine_tune is not None else None
    if level is None:
        scored = [figures for figures in reader.stats().values() if figures[SCORED]][:window_panes]
        n_scored = sum(int(figures[SCORED]) for figures in scored)
        is_settled = len(scored) == window_panes and n_scored > 0
        level = sum(int(figures[HITS_NEXT]) for figures in scored) / n_scored if is_settled else None
    metrics.show_objective(None if level is None else _KEPT_OF_LEVEL * level)


@dataclass(frozen=True, slots=True)
class PaneWatch:
    """Shows how far a run has come, as its store says."""

    metrics: PaneMetrics
    ledger: Ledger
    pane_ms: int

    def of_evaluator(self) -> None:
        """Show what is counted, closed and reported."""
        state, marks = self.ledger.state(), self.ledger.marks()
        counted = None
        if state.n_partitions is not None and len(marks) == state.n_partitions and state.first_pane is not None:
            latest_ms = max((mark.latest_ms for mark in marks.values() if mark.latest_ms is not None), default=0)
            counted_ms = min(*(mark.counted_ms for mark in marks.values()), latest_ms + self.pane_ms)
            counted = max(state.first_pane - 1, counted_ms // self.pane_ms - 1)
        counted = state.closed_pane if state.has_ended else counted
        last = {"counted": counted, "closed": state.closed_pane, "reported": self.ledger.last_pane(REPORTS)}
        self.metrics.observe_panes(last, state.first_pane, self.pane_ms)

    def of_controller(self) -> None:
        """Show what is reported, decided and recorded, and the order that is open."""
        state = self.ledger.state()
        tables = {"reported": REPORTS, "decided": DECISIONS, "recorded": RECORDS}
        last = {stage: self.ledger.last_pane(table) for stage, table in tables.items()}
        self.metrics.observe_panes(last, state.first_pane, self.pane_ms)
        self.metrics.observe_order(self._open_order())

    def _open_order(self) -> str | None:
        return self._of_pane() or self._of_alert()

    def _of_pane(self) -> str | None:
        pane = next_unrecorded(self.ledger)
        body = None if pane is None else self.ledger.get(DECISIONS, pane)
        if pane is None or body is None or self.ledger.get(RESULTS, pane) is not None:
            return None
        decision = msgspec.json.decode(body, type=PaneDecision)
        return str(pane) if decision.asks_for_refresh else None

    def _of_alert(self) -> str | None:
        request = AlertBook(self.ledger.database, self.ledger.run_id).next()
        return f"alert {request.number}" if request is not None and request.status is AlertStatus.ORDERED else None


class AlertWatch:
    """Counts and shows what alerts have brought about from the beginning on, each once."""

    def __init__(self, metrics: AnsweringMetrics, book: AlertBook) -> None:
        self._metrics, self._book, self._number = metrics, book, 0

    def begin(self) -> None:
        """Pass over what earlier controllers have counted."""
        self._number = max((request.number for request in self._book.answered()), default=0)

    def look(self) -> None:
        """Count what was answered since."""
        for request in self._book.answered_after(self._number):
            self._number = request.number
            decision = decision_of(request).record.decision
            if decision is not None:
                self._metrics.observe_decision(decision)
            self._metrics.observe_result(result_of(request))


class ControlObserver:
    """What the controller exports: what it records, and what the store says of the run, looked at now and then."""

    def __init__(self, role: Role) -> None:
        self.metrics = AnsweringMetrics(CollectorRegistry(), role.clock)
        self._role = role
        self._panes = PaneWatch(self.metrics, role.ledger, role.sequences.pane_ms)
        self._table = TableWatch(self.metrics, role.tables)
        self._alerts = AlertWatch(self.metrics, AlertBook(role.database, role.run_id))
        self._fine_tunes = StoredFineTunes(role.database)
        self._last: PaneRecord | None = None

    def begin(self) -> None:
        """Show what earlier controllers of the run have recorded last."""
        pane_ms, window_panes = self._role.sequences.pane_ms, self._role.sequences.window_panes
        self.metrics.show_lengths(pane_ms, window_panes)
        last = self._role.ledger.last_pane(RECORDS)
        panes = [] if last is None else range(last - 2 * window_panes, last + 1)
        bodies = [self._role.ledger.get(RECORDS, pane) for pane in panes]
        records = [decode_record(body) for body in bodies if body is not None]
        show_records(self.metrics, records)
        self._alerts.begin()
        self._last = records[-1] if records else None
        self._show_objective()

    def on_record(self, record: PaneRecord) -> None:
        """Count and log a record."""
        tell_record(self.metrics, record)
        self._last = record
        self._show_objective()
        explanation = record.decision.explanation if record.decision else "no decision"
        _LOG.info("pane %d: %s; table version %s serves", record.pane, explanation, record.table_version)

    def look(self) -> None:
        """Look how far the run has come, and what serves."""
        self._panes.of_controller()
        self._table.look()
        self._alerts.look()
        show_fine_tunes(self.metrics, self._fine_tunes, self._role.run_id)

    def _show_objective(self) -> None:
        asked, window_panes = self._role.settings.hit_rate_objective, self._role.sequences.window_panes
        show_objective(self.metrics, asked, self._role.ledger, self._last, window_panes)
