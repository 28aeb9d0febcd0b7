"""Watching a run: progress bars on a terminal, metrics for Prometheus, records for the summary."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from monitoring.metrics import Metrics
from stream.sequence_kernel import HITS_NEXT, HITS_SEQUENCE, SCORED, SEQUENCES, TRANSITIONS
from stream.worker import BatchAccount
from tidegate.cli.assembly import Assembly
from tidegate.cli.records import PaneRecord

_DESCRIPTION_WIDTH = 60


class Bars:
    """Progress bars of a run: records read and, while they go on, training and inference. Silent off a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._records = self._progress.add_task("reading", total=None)
        self._work = self._progress.add_task("", visible=False)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bars away; may be called twice."""
        self._progress.stop()

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

    def on_training(self, lesson: str, n_done: int, n_steps: int) -> None:
        """Show a lesson of the model's training."""
        self._show(f"training: {lesson} (steps)", n_done, n_steps)

    def on_rows(self, n_answered: int, n_asked: int) -> None:
        """Show a refresh's inference."""
        self._show("inferring rows", n_answered, n_asked)

    def on_panes(self, n_done: int, n_panes: int) -> None:
        """Show how far a backtest has come."""
        self._show("panes", n_done, n_panes)

    def _show(self, description: str, n_done: int, n_all: int) -> None:
        self._progress.update(
            self._work, description=description, completed=n_done, total=n_all, visible=n_done < n_all
        )


class Watcher:
    """Passes what happens on to metrics and bars, and keeps the records for the summary."""

    def __init__(self, assembly: Assembly, metrics: Metrics, bars: Bars) -> None:
        self._tables, self._metrics, self._bars = assembly.parts.refreshing.tables, metrics, bars
        self.records = list(assembly.records)
        self._show_flag(assembly.last_record)
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

    def on_record(self, record: PaneRecord) -> None:
        """Show and keep what was decided at a pane's end."""
        self.records.append(record)
        if record.report is not None:
            self._metrics.observe_report(record.report)
        if record.decision is not None:
            self._metrics.observe_decision(record.decision)
            self._bars.on_decision(record.decision.explanation)
        if record.result is not None:
            self._metrics.observe_result(record.result)
        self._show_flag(record)
        if record.table_version is not None:
            self._show_table(record.table_version)

    def _show_flag(self, record: PaneRecord | None) -> None:
        """Show whether a flag is open: also one from before a restart, and none once it is answered."""
        state = record.fine_tune if record else None
        if state is not None and state.is_flagged:
            self._metrics.observe_fine_tune_flag()
        elif state is not None:
            self._metrics.observe_fine_tune_verdict()

    def _show_table(self, version: int) -> None:
        manifest = self._tables.manifest(version)
        self._metrics.observe_model(manifest.engine_name, manifest.engine_fingerprint)
        self._metrics.observe_table(
            version, rows=manifest.rows, backoff_rows=manifest.backoff_rows, published_ms=manifest.created_ms
        )
