"""What was decided and what became of it: orders, rows, calls, the table that serves, fine-tunes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from monitoring.metric_group import MetricGroup
from tidegate.clock import Clock
from tidegate.contracts import Decision, FineTuneReason, FineTuneStatus, RefreshResult, Trigger

OUTCOMES = ("completed", "backoff_only", "gate_failed", "failed", "other")
"""Outcomes of a refresh; any other text is counted as ``other``, so that no text becomes a label of its own."""
GATES = ("validity", "label_mass", "exact_match", "coverage", "rows_changed", "hit_rate", "other")
FAULTS = (
    *("no_answer", "unknown_cluster", "not_new", "duplicate", "gap", "probability", "label_mass"),
    *("output_empty", "output_too_long", "output_control", "output_unknown", "output_not_new", "other"),
)
"""What may be wrong with an answer, and with a free text that should have been one, likewise."""
LEVELS = ("pair", "backoff")
TOKEN_KINDS = ("prompt", "cached", "output")
_ACTIONS = ("nothing", "refresh", "fine_tune")
_DURATION_BUCKETS_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0)


class RefreshMetrics(MetricGroup):
    """Told of decisions and results, by whoever records them."""

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        super().__init__(registry, clock)
        self._define_decisions()
        self._define_refreshes()
        self._define_table()

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
        self.fine_tunes = self._gauge("fine_tunes", "Fine-tunes of the run, by status (fine-tunes).", "status")
        self.fine_tune_age = self._gauge(
            "fine_tune_age_seconds",
            "Seconds since the fine-tune that has been longest in a status came to it, when collected.",
            "status",
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
        self.llm_tokens = self._counter(
            "llm_tokens",
            "Tokens of those rows: of prompts (those from cache included), from cache, and written.",
            "kind",
            TOKEN_KINDS,
        )
        self.refresh_completed = self._gauge(
            "refresh_completed_timestamp_seconds",
            "When an order was carried out last and its table served, in seconds since the epoch.",
        )
        self.failures_in_a_row = self._flag(
            "refresh_failures_in_a_row", "Orders that failed, for whatever is away, since the last that did not."
        )
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

    def observe_fine_tunes(self, since_ms: Mapping[FineTuneStatus, Iterable[int]]) -> None:
        """Show how many fine-tunes are in each status, and since when the longest-standing of them is.

        Parameters
        ----------
        since_ms : when each came to its status, ms since the epoch; a status that is left out has none
        """
        for status in FineTuneStatus:
            began_ms = list(since_ms.get(status, ()))
            self.fine_tunes.set(len(began_ms), status.value)
            self._age(self.fine_tune_age, min(began_ms, default=None), status.value)

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
        tokens = (result.prompt_tokens, result.cached_tokens, result.output_tokens)
        for kind, n_tokens in zip(TOKEN_KINDS, tokens, strict=True):
            self.llm_tokens.labels(kind).inc(n_tokens or 0)
        if outcome == "failed":
            self.failures_in_a_row.inc()
        self.show_result(result)

    def show_result(self, result: RefreshResult) -> None:
        """Show what an order left behind without counting it: an earlier process has."""
        self.table_version.set(result.table_version)
        if result.outcome == "completed":
            self.refresh_completed.set(self._clock.now_ms() / 1_000)
        if result.outcome != "failed":
            self.failures_in_a_row.set(0)

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
