"""Every metric that Tidegate exports, in one class that takes its registry.

Names follow Prometheus practice: prefix, base units, `_total` for counters. Labels take values of fixed sets only.
A gauge without a value yet has no sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from monitoring.optional_gauge import OptionalGauge
from tidegate.clock import Clock, SystemClock
from tidegate.contracts import Decision, DriftReport, FineTuneReason, RefreshResult, Trigger

OUTCOMES = ("completed", "backoff_only", "gate_failed", "failed", "other")
"""Outcomes of a refresh; any other text is counted as ``other``, so that no text becomes a label of its own."""
GATES = ("validity", "label_mass", "exact_match", "coverage", "rows_changed", "hit_rate", "other")
FAULTS = (
    *("no_answer", "unknown_cluster", "not_new", "duplicate", "gap", "probability", "label_mass"),
    *("output_empty", "output_too_long", "output_control", "output_unknown", "output_not_new", "other"),
)
"""What may be wrong with an answer, and with a free text that should have been one, likewise."""
HIT_KINDS = ("next", "sequence")
LEVELS = ("pair", "backoff")
_ACTIONS = ("nothing", "refresh", "fine_tune")
_DURATION_BUCKETS_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0)


class Metrics:
    """Counters and gauges, told by contracts.

    Counters are exact over the process's life. Label values that are known beforehand start at 0, so that the first
    increase is seen by ``rate()``.

    Parameters
    ----------
    registry : CollectorRegistry
        Nothing is registered anywhere else; kept as an attribute, for whoever exposes it.
    clock : Clock, optional
        Tells ages and lags, which are computed when they are collected.

    Examples
    --------
    >>> registry = CollectorRegistry()
    >>> Metrics(registry).observe_batch({"counted": 3}, transitions=1)
    >>> registry.get_sample_value("tidegate_events_total", {"outcome": "counted"})
    3.0
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        self.registry = registry
        self._clock = clock or SystemClock()
        self._define_stream()
        self._define_drift()
        self._define_hits()
        self._define_decisions()
        self._define_refreshes()
        self._define_table()

    def _counter(self, name: str, documentation: str, label: str = "", values: Iterable[str] = ()) -> Counter:
        counter = Counter(f"tidegate_{name}", documentation, [label] if label else [], registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, documentation: str, *labels: str) -> OptionalGauge:
        return OptionalGauge(f"tidegate_{name}", documentation, self.registry, labels)

    def _define_stream(self) -> None:
        self.events = self._counter("events", "Records read, by what became of them.", "outcome")
        self.transitions = self._counter("transitions", "Transitions (c1, c2, c_next) counted.")
        self.sequences = self._counter("sequences", "Sequences of a user's positive watches that were started.")
        self.watermark = self._gauge(
            "watermark_timestamp_seconds", "Event time that every partition has passed, in seconds since the epoch."
        )
        self.watermark_lag = self._gauge(
            "watermark_lag_seconds", "Seconds that the watermark is behind the wall clock, when collected."
        )

    def _define_drift(self) -> None:
        self.windows = self._counter("windows", "Windows that were compared with their reference.")
        self.drift_mean = self._gauge(
            "drift_mean", "Mean drift 1 - J/J0 over the last window's compared pairs, unweighted (ratio, 0 = no drift)."
        )
        self.drift_traffic_mean = self._gauge(
            "drift_traffic_mean", "Mean drift 1 - J/J0 of the last window, weighted by the pairs' traffic (ratio)."
        )
        self.jaccard_mean = self._gauge(
            "jaccard_mean", "Mean Jaccard of top-5 successors between the last window and its reference (ratio)."
        )
        self.jaccard_variance = self._gauge(
            "jaccard_variance", "Variance of that Jaccard over the last window's compared pairs (squared ratio)."
        )
        self.jaccard_null_mean = self._gauge(
            "jaccard_null_mean", "Mean Jaccard that the last window's traffic would show with no drift (ratio)."
        )
        self.pairs_compared = self._gauge(
            "pairs_compared", "Pairs with enough transitions in the last window and its reference (pairs)."
        )
        self.pairs_flagged = self._gauge("pairs_flagged", "Pairs flagged as drifting in the last window (pairs).")
        self.drift_alarms = self._counter("drift_alarms", "Windows that drifted as a whole.")

    def _define_hits(self) -> None:
        self.hit_rate = self._gauge(
            "hit_rate", "Hits over all scored transitions of the last pane, by the table that served (ratio).", "kind"
        )
        self.coverage = self._gauge("coverage", "Scored transitions of the last pane that had an answer (ratio).")
        self.scored_transitions = self._counter("scored_transitions", "Transitions that the serving table was asked.")
        self.hits = self._counter("hits", "Scored transitions that the serving table hit.", "kind", HIT_KINDS)

    def _define_decisions(self) -> None:
        self.decisions = self._counter("decisions", "Decisions of the policy, by what they ask.", "action", _ACTIONS)
        self.fine_tune_flags = self._counter(
            "fine_tune_flags",
            "Fine-tune flags raised, by reason.",
            "reason",
            [reason.value for reason in FineTuneReason],
        )
        self.fine_tune_flagged = Gauge(
            "tidegate_fine_tune_flagged",
            "Whether a fine-tune flag waits for a person's decision (0 or 1).",
            registry=self.registry,
        )

    def _define_refreshes(self) -> None:
        self.refreshes = Counter(
            "tidegate_refreshes",
            "Refreshes ended, by trigger and outcome.",
            ["trigger", "outcome"],
            registry=self.registry,
        )
        for trigger in Trigger:
            for outcome in OUTCOMES:
                self.refreshes.labels(trigger.value, outcome)
        self.refresh_duration = Histogram(
            "tidegate_refresh_duration_seconds",
            "Seconds that a refresh took, from order to table version.",
            buckets=_DURATION_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.llm_calls = self._counter("llm_calls", "Rows that the engine was asked for.")
        self.rows_changed = self._counter("rows_changed", "Rows that refreshes added, dropped or ranked differently.")
        self.rows_reused = self._counter("rows_reused", "Ordered rows whose row key was known, so not inferred.")
        self.rows_invalid = self._counter(
            "rows_invalid", "Rows whose answer was out of contract; they kept their value."
        )
        self.answer_faults = self._counter(
            "answer_faults", "Rows whose answer was out of contract, by what was wrong with it.", "fault", FAULTS
        )
        self.gate_failures = self._counter(
            "gate_failures", "Candidate tables that were not published, by the gate they failed.", "gate", GATES
        )
        self.rows_retired = self._counter("rows_retired", "Rows dropped because their backoff serves better.")
        self.model = Info("tidegate_model", "Engine and fingerprint of the model that answers.", registry=self.registry)

    def _define_table(self) -> None:
        self.table_version = self._gauge("table_version", "Version of the table that serves (number).")
        self.table_rows = self._gauge("table_rows", "Rows of the table that serves, by level (rows).", "level")
        self.table_published = self._gauge(
            "table_published_timestamp_seconds", "When the serving table was published, in seconds since the epoch."
        )
        self.table_age = self._gauge(
            "table_age_seconds", "Seconds since the serving table was published, when collected."
        )
        self.table_versions_rejected = self._counter(
            "table_versions_rejected", "Table versions that were corrupt, so the version before went on serving."
        )

    def observe_batch(self, outcomes: Mapping[str, int], *, transitions: int = 0, sequences: int = 0) -> None:
        """Count a batch of records by outcome (the stream's `Outcome` values), and what came of it."""
        for outcome, n_records in outcomes.items():
            self.events.labels(str(outcome)).inc(n_records)
        self.transitions.inc(transitions)
        self.sequences.inc(sequences)

    def observe_watermark(self, watermark_ms: int) -> None:
        """Show the watermark; its lag goes on growing while no event comes."""
        self.watermark.set(watermark_ms / 1_000)
        self.watermark_lag.set_function(lambda: (self._clock.now_ms() - watermark_ms) / 1_000)

    def observe_report(self, report: DriftReport) -> None:
        """Count a window and show its drift and hit rates."""
        self.windows.inc()
        self.drift_mean.set(report.drift_mean)
        self.drift_traffic_mean.set(report.drift_traffic_mean)
        self.jaccard_mean.set(report.jaccard_mean)
        self.jaccard_variance.set(report.jaccard_variance)
        self.jaccard_null_mean.set(report.null_mean)
        self.pairs_compared.set(report.pairs)
        self.pairs_flagged.set(report.flagged_pairs)
        self.drift_alarms.inc(int(report.alarmed))
        self.hit_rate.set(report.hit_rate_next, "next")
        self.hit_rate.set(report.hit_rate_sequence, "sequence")
        self.coverage.set(report.coverage)

    def observe_scores(self, n_scored: int, *, next_hits: int, sequence_hits: int) -> None:
        """Count scored transitions and their hits."""
        self.scored_transitions.inc(n_scored)
        self.hits.labels("next").inc(next_hits)
        self.hits.labels("sequence").inc(sequence_hits)

    def observe_decision(self, decision: Decision) -> None:
        """Count what a decision asks, and raise the fine-tune flag it carries."""
        if decision.order is not None:
            self.decisions.labels("refresh").inc()
        if decision.flag is not None:
            self.decisions.labels("fine_tune").inc()
            self.fine_tune_flags.labels(decision.flag.reason.value).inc()
            self.fine_tune_flagged.set(1)
        if decision.order is None and decision.flag is None:
            self.decisions.labels("nothing").inc()

    def observe_fine_tune_flag(self) -> None:
        """Raise the flag: one is open, though it may have been counted by a process before."""
        self.fine_tune_flagged.set(1)

    def observe_fine_tune_verdict(self) -> None:
        """Lower the flag: a person has approved or rejected it."""
        self.fine_tune_flagged.set(0)

    def observe_result(self, result: RefreshResult) -> None:
        """Count what became of an order, and show the version that serves after it."""
        outcome = result.outcome if result.outcome in OUTCOMES else "other"
        self.refreshes.labels(result.trigger.value, outcome).inc()
        self.refresh_duration.observe(result.duration_seconds)
        self.llm_calls.inc(result.llm_calls)
        self.rows_changed.inc(result.rows_changed)
        self.rows_reused.inc(result.reused)
        self.rows_invalid.inc(result.rows_invalid)
        for fault, n_rows in result.faults.items():
            self.answer_faults.labels(fault if fault in FAULTS else "other").inc(n_rows)
        for verdict in result.gates:
            if not verdict.is_passed:
                self.gate_failures.labels(verdict.gate if verdict.gate in GATES else "other").inc()
        self.rows_retired.inc(result.rows_retired)
        self.table_version.set(result.table_version)

    def observe_table(self, version: int, *, rows: int, backoff_rows: int, published_ms: int) -> None:
        """Show the version that serves."""
        self.table_version.set(version)
        self.table_rows.set(rows, "pair")
        self.table_rows.set(backoff_rows, "backoff")
        self.table_published.set(published_ms / 1_000)
        self.table_age.set_function(lambda: (self._clock.now_ms() - published_ms) / 1_000)

    def observe_rejected_version(self) -> None:
        """Count a version that could not serve."""
        self.table_versions_rejected.inc()

    def observe_model(self, engine: str, fingerprint: str) -> None:
        """Show the model that answers, in place of the one before."""
        self.model.info({"engine": engine, "fingerprint": fingerprint})
