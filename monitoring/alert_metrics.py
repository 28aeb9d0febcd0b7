"""Metrics of the service that takes alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate.errors import TidegateError

DELIVERIES = ("taken", "unauthorised", "malformed", "too_large", "too_slow", "unavailable")
"""What becomes of a request."""
EPISODES = ("open", "suppressed", "unneeded", "repeated", "resolved")
"""What becomes of an alert in it."""


class AlertMetrics(Collector):
    """Counters of deliveries, and the age of what waits, read when it is collected.

    Parameters
    ----------
    registry : CollectorRegistry
    waiting_seconds : () -> float or None
        Age of the oldest request that is not answered; None where none waits. Where the store does not tell, the gauge
        has no sample.

    Examples
    --------
    >>> registry = CollectorRegistry()
    >>> AlertMetrics(registry, lambda: 2.5).deliveries.labels("taken").inc()
    >>> registry.get_sample_value("tidegate_alert_deliveries_total", {"outcome": "taken"})
    1.0
    >>> registry.get_sample_value("tidegate_alert_oldest_open_seconds")
    2.5
    """

    def __init__(self, registry: CollectorRegistry, waiting_seconds: Callable[[], float | None] = lambda: None) -> None:
        self._waiting_seconds = waiting_seconds
        self.deliveries = Counter(
            "tidegate_alert_deliveries", "Requests of Alertmanager's, by outcome.", ["outcome"], registry=registry
        )
        self.episodes = Counter(
            "tidegate_alert_episodes",
            "Alerts in deliveries that were taken, by what became of them: repeated ones are known already.",
            ["outcome"],
            registry=registry,
        )
        self.truncated = Counter(
            "tidegate_alert_truncated", "Alerts that Alertmanager left out of its deliveries.", registry=registry
        )
        for outcome in DELIVERIES:
            self.deliveries.labels(outcome)
        for outcome in EPISODES:
            self.episodes.labels(outcome)
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge."""
        oldest = GaugeMetricFamily(
            "tidegate_alert_oldest_open_seconds",
            "Seconds since the oldest alert's request that is not answered was received; 0 where none waits.",
        )
        with suppress(TidegateError):  # the store is away: nobody knows
            oldest.add_metric([], self._waiting_seconds() or 0.0)
        yield oldest
