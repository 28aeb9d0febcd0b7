"""One process, one pane after the other: measure → decide → refresh → publish → record.

The stream worker calls `Pipeline.on_pane` when a pane is closed and committed. Everything here is deterministic
in what the store holds, so a crash anywhere before the record is answered by doing the pane again:

1. Measure the window against its reference (and against the window of the last fine-tune).
2. On the first full window: train the model that the engine needs, if it has none.
3. Let the policy plan; carry the plan out; publish the table if it changed (publishing twice is publishing once).
4. Judge the weights; flag a fine-tune.
5. Record report, decision, result and the serving version in the store. Only now the next pane is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from refresh.engines import Engine
from refresh.evidence import Evidence
from refresh.fine_tune_flag import FineTuneState, FlagOptions, PaneEvidence, judge_weights
from refresh.plan import Plan, View, reason_counts, within_codebook
from refresh.policy import Policy
from refresh.refresher import Refresher
from refresh.row_cache import RowCache
from refresh.table import TransitionTable
from refresh.table_store import TableStore
from stream.drift.window import DriftOptions, measure_drift, to_report
from stream.predictions import Predictions, hit_microbits, index_predictions, no_predictions
from stream.sequence_kernel import ANSWERED, HITS_NEXT, HITS_SEQUENCE, SCORED
from stream.store import RunStore
from stream.worker import ClosedPane, StreamWorker
from tidegate.cli.engine_keeper import EngineKeeper
from tidegate.cli.records import PaneRecord
from tidegate.clock import Clock
from tidegate.contracts import Decision, DriftReport, encode
from tidegate.counts import BucketedCounts
from tidegate.hashing import cluster_seeds


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """What the pipeline is made of; `tidegate.cli.assembly` puts it together."""

    store: RunStore
    worker: StreamWorker
    tables: TableStore
    cache: RowCache
    policy: Policy
    engines: EngineKeeper
    drift: DriftOptions
    flags: FlagOptions
    clock: Clock
    top_n: int
    keep_versions: int


class Pipeline:
    """Answers closed panes. One pipeline a run.

    Parameters
    ----------
    parts
    last : the record of the pane that an earlier, interrupted process has answered last, if any
    on_record : called with each pane's record, once it is stored
    on_rows : called with the rows that a refresh has had answered so far, and the rows that it asked for
    """

    def __init__(
        self,
        parts: PipelineParts,
        last: PaneRecord | None,
        on_record: Callable[[PaneRecord], None] = lambda _: None,
        on_rows: Callable[[int, int], None] | None = None,
    ) -> None:
        self._parts = parts
        self._on_record, self._on_rows = on_record, on_rows
        options = parts.worker.sequences.options
        self._pane_ms, self._window_panes = options.pane_ms, options.window_panes
        self._microbits = np.zeros(1, np.int64)
        self._last = last

    def resume(self) -> Predictions:
        """Answer the pane that a crash left unanswered, if any; returns what serves now."""
        closed = self._parts.worker.unanswered_pane
        if closed is not None and (self._last is None or self._last.pane < closed.pane):
            return self.on_pane(closed)
        return self._predictions(closed)

    def on_pane(self, closed: ClosedPane) -> Predictions:
        """Answer one closed pane; the module's docstring numbers the steps."""
        n_panes = closed.pane - closed.first_pane + 1
        record = PaneRecord(
            pane=closed.pane,
            window_end_ms=(closed.pane + 1) * self._pane_ms,
            table_version=self._serving_version(),
            model=self._last.model if self._last else None,
            fine_tune=self._last.fine_tune if self._last else None,
        )
        if n_panes >= self._window_panes:
            record = self._decide(closed, record)
        self._parts.store.record_pane(closed.pane, encode(record))  # 5
        self._last = record
        self._on_record(record)
        return self._predictions(closed)

    def _decide(self, closed: ClosedPane, record: PaneRecord) -> PaneRecord:
        window = self._window(closed.pane)
        report = None
        if closed.pane - 2 * self._window_panes + 1 >= closed.first_pane:  # 1
            report = self._report(closed.pane, window, self._window(closed.pane - self._window_panes))
        since = self._since_fine_tune(closed.pane, window, record.fine_tune)
        record = msgspec.structs.replace(record, report=report, since_fine_tune=since)
        if closed.is_last:  # nothing would be scored by a table that follows the last pane
            return record
        names = self._parts.worker.catalogue.names
        record = self._refresh(closed, names, window, record)
        return self._judge(closed.pane, record)  # 4

    def _window(self, last_pane: int) -> BucketedCounts:
        return self._parts.store.counts(last_pane - self._window_panes + 1, last_pane)

    def _report(self, pane: int, window: BucketedCounts, reference: BucketedCounts) -> DriftReport:
        seeds = cluster_seeds(self._parts.worker.catalogue.names)
        stats = self._parts.worker.sequences.stats.of_pane(pane)
        scored = int(stats[SCORED])
        return to_report(
            measure_drift(window, reference, seeds, self._parts.drift),
            run_id=self._parts.store.run_id,
            window_start_ms=(pane - self._window_panes + 1) * self._pane_ms,
            window_end_ms=(pane + 1) * self._pane_ms,
            pane_ms=self._pane_ms,
            min_support=self._parts.drift.min_support,
            transitions=window.total,
            hit_rate_next=int(stats[HITS_NEXT]) / scored if scored else None,
            hit_rate_sequence=int(stats[HITS_SEQUENCE]) / scored if scored else None,
            coverage=int(stats[ANSWERED]) / scored if scored else None,
        )

    def _since_fine_tune(self, pane: int, window: BucketedCounts, state: FineTuneState | None) -> DriftReport | None:
        """Compare with the window that the weights were tuned on, once the two no longer overlap."""
        if state is None:
            return None
        tuned_pane = state.tuned_window_end_ms // self._pane_ms - 1
        if pane - tuned_pane < self._window_panes:
            return None
        return self._report(pane, window, self._window(tuned_pane))

    def _refresh(self, closed: ClosedPane, names: list[str], window: BucketedCounts, record: PaneRecord) -> PaneRecord:
        engines = self._parts.engines
        engine = engines.engine(names, window, closed.pane, record.model)  # 2
        if record.table_version is None and engines.model is not None:
            tuned = FineTuneState(tuned_window_end_ms=record.window_end_ms)
            record = msgspec.structs.replace(record, model=engines.model, fine_tune=tuned)
        table = self._base_table(names, record)
        view = View(  # 3
            run_id=self._parts.store.run_id,
            pane=closed.pane,
            pane_ms=self._pane_ms,
            panes_since_first_table=closed.pane - closed.first_pane + 1 - self._window_panes,
            evidence=Evidence(window.without_buckets(), cluster_seeds(names)),
            report=record.report,
            table=None if record.table_version is None else table,
        )
        plan = within_codebook(self._parts.policy.plan(view), engine.prompts.codebook.capacity)
        decision = Decision(
            run_id=view.run_id,
            window_end_ms=record.window_end_ms,
            policy=self._parts.policy.name,
            inputs=plan.inputs,
            order=plan.order,
            flag=None,
            explanation=plan.explanation,
        )
        record = msgspec.structs.replace(record, decision=decision)
        if plan.order is None and plan.backoff is None:
            return record
        return self._execute(closed.pane, engine, plan, table, record)

    def _execute(self, pane: int, engine: Engine, plan: Plan, table: TransitionTable, record: PaneRecord) -> PaneRecord:
        started = self._parts.clock.monotonic_seconds()
        version = record.table_version
        refreshed = Refresher(engine, self._parts.cache, top_n=self._parts.top_n).execute(
            plan,
            table,
            table_version=version or 0,
            pane=pane,
            window_end_ms=record.window_end_ms,
            on_progress=self._on_rows,
        )
        result = refreshed.result
        if version is None or refreshed.table.content_checksum() != table.content_checksum():
            version = self._parts.tables.publish(
                refreshed.table,
                window_end_ms=record.window_end_ms,
                trigger=result.trigger,
                reasons=reason_counts(plan),
                engine_name=engine.name,
                engine_fingerprint=engine.fingerprint,
            )
            self._parts.tables.retain(self._parts.keep_versions)
        elapsed = self._parts.clock.monotonic_seconds() - started
        result = msgspec.structs.replace(result, table_version=version, duration_seconds=elapsed)
        return msgspec.structs.replace(record, result=result, table_version=version)

    def _judge(self, pane: int, record: PaneRecord) -> PaneRecord:
        if record.fine_tune is None or record.decision is None:
            return record
        stats = self._parts.worker.sequences.stats.of_pane(pane)
        evidence = PaneEvidence(
            run_id=self._parts.store.run_id,
            window_end_ms=record.window_end_ms,
            since_fine_tune=record.since_fine_tune,
            scored=int(stats[SCORED]),
            hits=int(stats[HITS_NEXT]),
        )
        state, flag = judge_weights(record.fine_tune, evidence, self._parts.flags)
        decision = msgspec.structs.replace(record.decision, flag=flag)
        return msgspec.structs.replace(record, fine_tune=state, decision=decision)

    def _serving_version(self) -> int | None:
        """Tell what this run published last, or the older version that a person rolled back to since."""
        mine = self._last.table_version if self._last else None
        if mine is None:
            return None
        current = self._parts.tables.current()
        return current if current is not None and current < mine else mine

    def _base_table(self, names: list[str], record: PaneRecord) -> TransitionTable:
        if record.table_version is None:
            return TransitionTable.empty(tuple(names), self._parts.top_n)
        return self._parts.tables.load(record.table_version).with_changes(cluster_names=tuple(names))

    def _predictions(self, closed: ClosedPane | None) -> Predictions:
        version = self._serving_version()
        if version is None or closed is None:
            return no_predictions()
        if self._microbits.shape[0] == 1:
            first_window = self._window(closed.first_pane + self._window_panes - 1).without_buckets()
            n_clusters = int(first_window.successors.max(initial=-1)) + 1
            self._microbits = hit_microbits(first_window.successor_totals(n_clusters))
        table = self._parts.tables.load(version)
        return index_predictions(table.pairs, table.clusters[:, 0], table.backoff_clusters, self._microbits)
