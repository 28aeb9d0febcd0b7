"""Every metric of a run in one process, in one class that takes its registry.

Names follow Prometheus practice: prefix, base units, `_total` for counters. Labels take values of fixed sets only.
A gauge without a value yet has no sample. Roles of a shared run export the groups that they answer for
(`monitoring.role_metrics` says of all what every role does).
"""

from __future__ import annotations

from monitoring.counting_metrics import HIT_KINDS, CountingMetrics
from monitoring.drift_metrics import DriftMetrics
from monitoring.pane_metrics import PaneMetrics
from monitoring.refresh_metrics import FAULTS, GATES, LEVELS, OUTCOMES, RefreshMetrics
from monitoring.weights_metrics import WeightsMetrics

__all__ = ["FAULTS", "GATES", "HIT_KINDS", "LEVELS", "OUTCOMES", "AnsweringMetrics", "Metrics"]


class AnsweringMetrics(DriftMetrics, RefreshMetrics, WeightsMetrics, PaneMetrics):
    """What the controller exports: reports, decisions, results, table and weights, and how far the run has come."""


class Metrics(CountingMetrics, AnsweringMetrics):
    """Counters and gauges of a whole run, told by contracts.

    Counters are exact over the process's life. Label values that are known beforehand start at 0, so that the first
    increase is seen by ``rate()``.

    Examples
    --------
    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> Metrics(registry).observe_batch({"counted": 3}, transitions=1)
    >>> registry.get_sample_value("tidegate_events_total", {"outcome": "counted"})
    3.0
    """
