"""Watching a run: progress bars on a terminal, metrics for Prometheus, records for the summary."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TimeElapsedColumn

from monitoring.metrics import Metrics
from monitoring.pane_metrics import STAGES
from stream.events import Outcome
from stream.fine_tune_book import StoredFineTunes
from stream.sequence_kernel import HITS_NEXT, HITS_SEQUENCE, SCORED, SEQUENCES, TRANSITIONS
from stream.worker import BatchAccount
from tidegate.cli.alert_planning import AlertDecision
from tidegate.cli.assembly import Assembly
from tidegate.cli.bars import TerminalBars
from tidegate.cli.exporting import Pulse
from tidegate.cli.observing import TableWatch, show_fine_tunes, show_objective, show_records, tell_record
from tidegate.cli.records import PaneRecord
from tidegate.contracts import RefreshResult

_DESCRIPTION_WIDTH = 60


class Bars(TerminalBars):
    """Progress bars of a run: records read and, while they go on, training and inference. Silent off a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, TimeElapsedColumn())
        self._records = self._progress.add_task("reading", total=None)
        self._work = self._progress.add_task("", visible=False)

    def begin(self, n_read: int, n_expected: int | None) -> None:
        """Show how far an earlier process of the run had come."""
        self._progress.update(self._records, completed=n_read, total=n_expected)

    def on_records(self, n_records: int) -> None:
        """Move on by what was read."""
        self._progress.update(self._records, advance=n_records)

    def on_decision(self, explanation: str) -> None:
        """Show what was decided last."""
        self._progress.update(self._records, description=explanation[:_DESCRIPTION_WIDTH])
        self._progress.update(self._work, visible=False)

    def on_panes(self, n_done: int, n_panes: int) -> None:
        """Show how far a backtest has come."""
        self.show("panes", n_done, n_panes)

    def show(self, what: str, n_done: int, n_all: int) -> None:
        """Show how far what goes on beside the reading has come; what is done goes away."""
        self._progress.update(self._work, description=what, completed=n_done, total=n_all, visible=n_done < n_all)


class Watcher:
    """Passes what happens on to metrics and bars, and keeps the records for the summary."""

    def __init__(
        self,
        assembly: Assembly,
        metrics: Metrics,
        bars: Bars,
        pulse: Pulse,
        hit_rate_objective: float | None = None,
    ) -> None:
        self._metrics, self._bars, self._pulse, self._objective = metrics, bars, pulse, hit_rate_objective
        self._measuring = assembly.parts.deciding.measuring
        self._table = TableWatch(metrics, assembly.parts.refreshing.tables)
        self.records = list(assembly.records)
        metrics.observe_batch(dict.fromkeys(map(str, Outcome), 0))
        metrics.show_lengths(self._measuring.pane_ms, self._measuring.window_panes)
        show_records(metrics, self.records)
        self._show(self.records[-1] if self.records else None)
        bars.begin(sum(assembly.parts.worker.outcomes.values()), assembly.source.n_records_expected)

    def on_batch(self, batch: BatchAccount) -> None:
        """Count a batch."""
        outcomes = {str(outcome): n for outcome, n in batch.outcomes.items()}
        n = batch.figures.tolist()
        self._metrics.observe_batch(outcomes, transitions=n[TRANSITIONS], sequences=n[SEQUENCES])
        self._metrics.observe_scores(n[SCORED], next_hits=n[HITS_NEXT], sequence_hits=n[HITS_SEQUENCE])
        if batch.watermark_ms is not None:
            self._metrics.observe_watermark(batch.watermark_ms)
        self._bars.on_records(batch.n_records)
        self._pulse.beat()
        self._pulse.progress()

    def on_record(self, record: PaneRecord) -> None:
        """Show and keep what was decided at a pane's end."""
        self.records.append(record)
        tell_record(self._metrics, record)
        if record.decision is not None:
            self._bars.on_decision(record.decision.explanation)
        self._show(record)

    def on_alert(self, decision: AlertDecision, result: RefreshResult) -> None:
        """Show what an alert has brought about."""
        if decision.record.decision is not None:
            self._metrics.observe_decision(decision.record.decision)
            self._bars.on_decision(decision.record.decision.explanation)
        self._metrics.observe_result(result)
        self._table.look()

    def _show(self, last: PaneRecord | None) -> None:
        """Show what serves, and how far the run has come: in one process all stages of a pane end together."""
        self._table.look()
        if last is None:
            return
        self._metrics.observe_panes(dict.fromkeys(STAGES, last.pane), last.pane, self._measuring.pane_ms)
        reader, window_panes = self._measuring.reader, self._measuring.window_panes
        show_fine_tunes(self._metrics, StoredFineTunes(reader.database), reader.run_id)
        show_objective(self._metrics, self._objective, reader, last, window_panes)
