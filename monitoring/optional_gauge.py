"""A gauge that shows nothing while its value is unknown.

The client library's own gauge starts at 0, and NaN poisons every aggregate over it: a hit rate of 0 and a hit rate
that nobody has measured yet must not look alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class OptionalGauge(Collector):
    """A gauge with a sample for each label set that has a value.

    Parameters
    ----------
    name, documentation : str
    registry : CollectorRegistry
    labels : tuple[str, ...]
        Label names.

    Examples
    --------
    >>> registry = CollectorRegistry()
    >>> gauge = OptionalGauge("share", "Share.", registry)
    >>> gauge.set(0.5)
    >>> registry.get_sample_value("share")
    0.5
    >>> gauge.set(None)
    >>> registry.get_sample_value("share") is None
    True
    """

    def __init__(
        self, name: str, documentation: str, registry: CollectorRegistry, labels: tuple[str, ...] = ()
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._values: dict[tuple[str, ...], Callable[[], float | None]] = {}
        registry.register(self)

    def set(self, value: float | None, *labels: str) -> None:
        """Set the value; None and NaN say that it is unknown."""
        if value is None or math.isnan(value):
            self._values.pop(labels, None)
        else:
            self._values[labels] = lambda: value

    def set_function(self, function: Callable[[], float | None], *labels: str) -> None:
        """Compute the value whenever it is collected; None says that it is unknown."""
        self._values[labels] = function

    def collect(self) -> Iterator[Metric]:
        """Yield the family, with a sample for each known value."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, function in list(self._values.items()):  # copied: another thread may set meanwhile
            value = function()
            if value is not None:
                family.add_metric(labels, value)
        yield family
