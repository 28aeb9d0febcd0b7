"""What was counted: records, transitions, hits, and how far event time has come."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from monitoring.metric_group import MetricGroup
from tidegate.clock import Clock

HIT_KINDS = ("next", "sequence")


class CountingMetrics(MetricGroup):
    """Told by whoever counts events in its own process."""

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        super().__init__(registry, clock)
        self.events = self._counter("events", "Records read, by what became of them.", "outcome")
        self.transitions = self._counter("transitions", "Transitions (c1, c2, c_next) counted.")
        self.sequences = self._counter("sequences", "Sequences of a user's positive watches that were started.")
        self.scored_transitions = self._counter("scored_transitions", "Transitions that the serving table was asked.")
        self.hits = self._counter("hits", "Scored transitions that the serving table hit.", "kind", HIT_KINDS)
        self.watermark = self._gauge(
            "watermark_timestamp_seconds", "Event time that every partition has passed, in seconds since the epoch."
        )
        self.watermark_lag = self._gauge(
            "watermark_lag_seconds", "Seconds that the watermark is behind the wall clock, when collected."
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

    def observe_scores(self, n_scored: int, *, next_hits: int, sequence_hits: int) -> None:
        """Count scored transitions and their hits."""
        self.scored_transitions.inc(n_scored)
        self.hits.labels("next").inc(next_hits)
        self.hits.labels("sequence").inc(sequence_hits)
