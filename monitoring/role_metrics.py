"""What every process exports, whatever its role: which build it is, whether it goes round, its store, its resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, GCCollector, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

ROLES = ("run", "worker", "evaluator", "control", "refresher", "serve", "console", "alerts")


@dataclass(frozen=True, slots=True)
class Vitals:
    """Signs of life of a process, as they are now.

    Attributes
    ----------
    heartbeat_ms : int            when its loop last went round
    progress_ms : int | None      when that last did something; None before the first time
    n_store_outages : int         times that the store began to refuse
    store_away_seconds : float    how long it has refused; 0 while it answers
    """

    heartbeat_ms: int
    progress_ms: int | None
    n_store_outages: int
    store_away_seconds: float


class RoleMetrics(Collector):
    """Exports a process's vitals as they are when they are collected, its build, and what it takes of the machine.

    Parameters
    ----------
    registry : CollectorRegistry
    role : str                   of `ROLES`
    run_id : str                 empty where the process belongs to no run
    read : () -> Vitals          called in the thread that answers a scrape

    Examples
    --------
    >>> registry = CollectorRegistry()
    >>> _ = RoleMetrics(registry, "worker", "4f1c", lambda: Vitals(2_000, None, 0, 0.0))
    >>> registry.get_sample_value("tidegate_role_heartbeat_timestamp_seconds")
    2.0
    """

    def __init__(self, registry: CollectorRegistry, role: str, run_id: str, read: Callable[[], Vitals]) -> None:
        self._read = read
        registry.register(self)
        build = Info("tidegate_build", "Version, role and run of the process.", registry=registry)
        build.info({"version": _version(), "role": role, "run_id": run_id})
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        found = self._read()
        yield GaugeMetricFamily(
            "tidegate_role_heartbeat_timestamp_seconds",
            "When the process last went round its loop, in seconds since the epoch.",
            found.heartbeat_ms / 1_000,
        )
        progress = GaugeMetricFamily(
            "tidegate_role_progress_timestamp_seconds",
            "When the process last found something to do and did it, in seconds since the epoch.",
        )
        if found.progress_ms is not None:
            progress.add_metric([], found.progress_ms / 1_000)
        yield progress
        yield CounterMetricFamily(
            "tidegate_store_outages", "Times that the store began to refuse for a while.", found.n_store_outages
        )
        yield GaugeMetricFamily(
            "tidegate_store_away_seconds",
            "Seconds that the store has refused without a break, 0 while it answers.",
            found.store_away_seconds,
        )


def _version() -> str:
    try:
        return version("tidegate")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
