"""Metrics of a worker: what it has counted, and how far it is behind, read when they are collected.

Nothing is written while records are read, so a scrape costs the worker's own loop nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitoring.counting_metrics import HIT_KINDS, CountingMetrics

_COMMIT_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker at one instant. Counts are those since its start; what is unknown is None.

    Attributes
    ----------
    outcomes : records by outcome
    hits : scored transitions that were hit, by kind
    lag_records : int | None          records of owned partitions that are not read yet
    lag_seconds : float | None        how old the newest event is that was read of the partition furthest behind
    checkpoint_seconds : float        how long the oldest record that is not committed has been read; 0 without one
    n_waiting : int                   events that wait for the watermark, or for the decision on a pane
    """

    outcomes: Mapping[str, int] = field(default_factory=dict)
    transitions: int = 0
    sequences: int = 0
    scored: int = 0
    hits: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0
    commits: int = 0
    fenced: int = 0
    takeovers: int = 0
    dead_letters: int = 0
    partitions: int = 0
    paused: int = 0
    idle: int = 0
    n_waiting: int = 0
    checkpoint_seconds: float = 0.0
    lag_records: int | None = None
    lag_seconds: float | None = None
    watermark_ms: int | None = None
    now_ms: int = 0


class WorkerMetrics(Collector):
    """Exports a worker's state as it is when it is collected.

    Parameters
    ----------
    registry : CollectorRegistry
    read : () -> WorkerState      called in the thread that answers a scrape

    Examples
    --------
    >>> registry = CollectorRegistry()
    >>> _ = WorkerMetrics(registry, lambda: WorkerState(outcomes={"counted": 3}, lag_seconds=4.5))
    >>> registry.get_sample_value("tidegate_consumer_lag_seconds")
    4.5
    """

    def __init__(self, registry: CollectorRegistry, read: Callable[[], WorkerState]) -> None:
        self._read = read
        self._documented = _Documented()
        self.commit_duration = Histogram(
            "tidegate_commit_duration_seconds",
            "Seconds that a commit of a partition took, an absent store's included.",
            buckets=_COMMIT_BUCKETS_SECONDS,
            registry=registry,
        )
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        found = self._read()
        yield from self._counters(found)
        yield from self._gauges(found)

    def _counters(self, found: WorkerState) -> Iterator[Metric]:
        for name, label, values in (
            ("events", "outcome", found.outcomes),
            ("hits", "kind", {kind: found.hits.get(kind, 0) for kind in HIT_KINDS}),
        ):
            counter = CounterMetricFamily(f"tidegate_{name}", self._documented[name], labels=[label])
            for value, n in values.items():
                counter.add_metric([value], n)
            yield counter
        for name, n in (
            ("transitions", found.transitions),
            ("sequences", found.sequences),
            ("scored_transitions", found.scored),
        ):
            yield CounterMetricFamily(f"tidegate_{name}", self._documented[name], n)
        for name, documentation, n in (
            ("batches", "Batches of records that were read and counted.", found.batches),
            ("commits", "Commits of a partition's counts, sequences and offset.", found.commits),
            ("commits_fenced", "Commits that were refused: another worker has the partition.", found.fenced),
            ("takeovers", "Partitions that were taken over from the group.", found.takeovers),
            ("dead_letters", "Records that went to the dead-letter topic, or were dropped for want of one.",
             found.dead_letters),
        ):  # fmt: skip
            yield CounterMetricFamily(f"tidegate_{name}", documentation, n)

    def _gauges(self, found: WorkerState) -> Iterator[Metric]:
        watermark_ms = found.watermark_ms
        lag = None if watermark_ms is None else (found.now_ms - watermark_ms) / 1_000
        gauges: tuple[tuple[str, str, float | None], ...] = (
            ("partitions_owned", "Partitions that this worker counts (partitions).", found.partitions),
            ("partitions_paused", "Owned partitions that wait for the decision on a pane (partitions).", found.paused),
            ("partitions_idle", "Owned partitions at whose end nothing has come for a while (partitions).", found.idle),
            ("events_waiting", "Events that wait for the watermark or for the decision on a pane (events).",
             found.n_waiting),
            ("checkpoint_age_seconds", "Seconds since the oldest record was read that is not committed yet, 0 without "
             "one.", found.checkpoint_seconds),
            ("consumer_lag_records", "Records of owned partitions that are not read yet (records).", found.lag_records),
            ("consumer_lag_seconds", "Age of the newest event that was read of the owned partition furthest behind, 0 "
             "where all are read to their end.", found.lag_seconds),
            ("watermark_timestamp_seconds", self._documented["watermark_timestamp_seconds"],
             None if watermark_ms is None else watermark_ms / 1_000),
            ("watermark_lag_seconds", self._documented["watermark_lag_seconds"], lag),
        )  # fmt: skip
        for name, documentation, value in gauges:
            gauge = GaugeMetricFamily(f"tidegate_{name}", documentation)
            if value is not None:
                gauge.add_metric([], value)
            yield gauge


class _Documented:
    """What the metrics say of themselves that a run in one process counts too: one text for both."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        CountingMetrics(registry)
        self._texts = {family.name: family.documentation for family in registry.collect()}

    def __getitem__(self, name: str) -> str:
        return self._texts[f"tidegate_{name}"]
