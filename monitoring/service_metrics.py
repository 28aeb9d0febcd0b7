"""Metrics of the lookup service: what it has answered, all its processes together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tidegate.contracts import ANSWER_BOUNDS_SECONDS, ServiceFigures


class ServiceMetrics(Collector):
    """Exports a service's figures as they are when they are collected.

    Parameters
    ----------
    registry : CollectorRegistry
    read : () -> ServiceFigures

    Examples
    --------
    >>> registry = CollectorRegistry()
    >>> figures = ServiceFigures(
    ...     requests={("next", "answered"): 3}, pairs={"pair": 3}, buckets=(3, *[0] * 10), seconds=0.1, versions=(7,),
    ...     swaps=1, rejected=0)
    >>> _ = ServiceMetrics(registry, lambda: figures)
    >>> registry.get_sample_value("tidegate_lookup_requests_total", {"route": "next", "outcome": "answered"})
    3
    """

    def __init__(self, registry: CollectorRegistry, read: Callable[[], ServiceFigures]) -> None:
        self._read = read
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        found = self._read()
        requests = CounterMetricFamily(
            "tidegate_lookup_requests",
            "Requests to the lookup service, by what came of them.",
            None,
            ["route", "outcome"],
        )
        for labels, n in found.requests.items():
            requests.add_metric(list(labels), n)
        pairs = CounterMetricFamily(
            "tidegate_lookup_pairs", "Pairs that were answered, by the level that answered.", None, ["level"]
        )
        for level, n in found.pairs.items():
            pairs.add_metric([level], n)
        bounds = [*(f"{bound:g}" for bound in ANSWER_BOUNDS_SECONDS), "+Inf"]
        duration = HistogramMetricFamily(
            "tidegate_lookup_duration_seconds", "Seconds from a request's end to its answer, network left out."
        )
        duration.add_metric([], list(zip(bounds, accumulate(found.buckets), strict=True)), found.seconds)
        swaps = CounterMetricFamily("tidegate_lookup_swaps", "Times that a process began to serve another version.")
        swaps.add_metric([], found.swaps)
        rejected = CounterMetricFamily(
            "tidegate_lookup_rejected",
            "Times that a process could not serve a version, and went on with the one before.",
        )
        rejected.add_metric([], found.rejected)
        version = GaugeMetricFamily(
            "tidegate_lookup_version", "Table version that processes serve: the lowest and the highest (number).", None,
            ["bound"],
        )  # fmt: skip
        version.add_metric(["lowest"], min(found.versions, default=0))
        version.add_metric(["highest"], max(found.versions, default=0))
        yield from (requests, pairs, duration, swaps, rejected, version)
