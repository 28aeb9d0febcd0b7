"""What was measured of windows: drift against the null, and what the serving table hit."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from monitoring.metric_group import MetricGroup
from tidegate.clock import Clock
from tidegate.contracts import DriftReport

_GAUGES = {
    "drift_mean": "Mean drift 1 - J/J0 over the last window's compared pairs, unweighted (ratio, 0 = no drift).",
    "drift_traffic_mean": "Mean drift 1 - J/J0 of the last window, weighted by the pairs' traffic (ratio).",
    "drift_z": "Standard deviations by which the last window's summed statistic exceeds its permutation mean.",
    "drift_p_value": "Permutation p-value of the last window as a whole (probability).",
    "drift_alarmed": "Whether the last window drifts as a whole (0 or 1).",
    "drift_front_alarmed": "Whether the newest pane alone drifts against the reference (0 or 1).",
    "drift_course_statistic": "What the detector of the course holds against its threshold.",
    "drift_course_threshold": "Threshold of the detector of the course.",
    "jaccard_mean": "Mean Jaccard of top-5 successors between the last window and its reference (ratio).",
    "jaccard_variance": "Variance of that Jaccard over the last window's compared pairs (squared ratio).",
    "jaccard_null_mean": "Mean Jaccard that the last window's traffic would show with no drift (ratio).",
    "pairs_compared": "Pairs with enough transitions in the last window and its reference (pairs).",
    "pairs_flagged": "Pairs flagged as drifting in the last window (pairs).",
    "coverage": "Scored transitions of the last pane that had an answer (ratio).",
}


class DriftMetrics(MetricGroup):
    """Told of reports, by whoever answers them."""

    def __init__(self, registry: CollectorRegistry, clock: Clock | None = None) -> None:
        super().__init__(registry, clock)
        self.windows = self._counter("windows", "Windows that were compared with their reference.")
        self.drift_alarms = self._counter("drift_alarms", "Windows that drifted as a whole.")
        self._gauges = {name: self._gauge(name, documentation) for name, documentation in _GAUGES.items()}
        self.drift_since = self._gauge(
            "drift_since_timestamp_seconds",
            "When the first of the alarmed windows that last until now was seen, in seconds since the epoch.",
        )
        self.hit_rate = self._gauge(
            "hit_rate", "Hits over all scored transitions of the last pane, by the table that served (ratio).", "kind"
        )
        self.hit_rate_objective = self._gauge(
            "hit_rate_objective",
            "Next-hit rate that is asked for: --hit-rate-objective, or 0.9 of the level after the first table or the "
            "last fine-tune (ratio).",
        )
        self._drifts_since_ms: int | None = None

    def observe_report(self, report: DriftReport) -> None:
        """Count a window and show its drift and hit rates."""
        self.windows.inc()
        self.drift_alarms.inc(int(report.alarmed))
        self.show_report(report)

    def show_report(self, report: DriftReport) -> None:
        """Show a window without counting it: an earlier process has."""
        front, course = report.front, report.course
        values = {
            "drift_mean": report.drift_mean,
            "drift_traffic_mean": report.drift_traffic_mean,
            "drift_z": report.table_z,
            "drift_p_value": report.table_p,
            "drift_alarmed": int(report.alarmed),
            "drift_front_alarmed": None if front is None else int(front.alarmed),
            "drift_course_statistic": None if course is None else course.statistic,
            "drift_course_threshold": None if course is None else course.threshold,
            "jaccard_mean": report.jaccard_mean,
            "jaccard_variance": report.jaccard_variance,
            "jaccard_null_mean": report.null_mean,
            "pairs_compared": report.pairs,
            "pairs_flagged": report.flagged_pairs,
            "coverage": report.coverage,
        }
        for name, value in values.items():
            self._gauges[name].set(value)
        self.hit_rate.set(report.hit_rate_next, "next")
        self.hit_rate.set(report.hit_rate_sequence, "sequence")
        if not report.alarmed:
            self._drifts_since_ms = None
        elif self._drifts_since_ms is None:
            self._drifts_since_ms = self._clock.now_ms()
        self.drift_since.set(None if self._drifts_since_ms is None else self._drifts_since_ms / 1_000)

    def show_objective(self, hit_rate: float | None) -> None:
        """Show the next-hit rate that is asked for; None where nobody knows one yet."""
        self.hit_rate_objective.set(hit_rate)
