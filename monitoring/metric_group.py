"""What all groups of metrics share: one registry that is handed in, one prefix, values that may be unknown."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from monitoring.optional_gauge import OptionalGauge
from tidegate.clock import Clock, SystemClock


class MetricGroup:
    """A group of metrics; its subclasses are put together by inheriting from several.

    Parameters
    ----------
    registry : CollectorRegistry
        Nothing is registered anywhere else; kept as an attribute, for whoever exposes it.
    clock : Clock, optional
        Tells ages and lags, which are computed when they are collected.
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        self.registry = registry
        self._clock = clock or SystemClock()

    def _counter(self, name: str, documentation: str, label: str = "", values: Iterable[str] = ()) -> Counter:
        """Make a counter; label values that are known beforehand start at 0, so that ``rate()`` sees the first."""
        counter = Counter(f"tidegate_{name}", documentation, [label] if label else [], registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, documentation: str, *labels: str) -> OptionalGauge:
        """Make a gauge that has no sample while its value is unknown."""
        return OptionalGauge(f"tidegate_{name}", documentation, self.registry, labels)

    def _flag(self, name: str, documentation: str) -> Gauge:
        """Make a gauge that begins at 0."""
        return Gauge(f"tidegate_{name}", documentation, registry=self.registry)

    def _age(self, gauge: OptionalGauge, since_ms: int | None, *labels: str) -> None:
        """Let a gauge show the seconds that have passed since an instant; nothing where there is none."""
        if since_ms is None:
            gauge.set(None, *labels)
        else:
            gauge.set_function(lambda: (self._clock.now_ms() - since_ms) / 1_000, *labels)
