"""Reports of windows, as measured or of which only the whole table matters."""

from __future__ import annotations

from stream.drift.report import to_report
from stream.drift.window import WindowDrift
from tidegate.contracts import DriftReport, FrontDrift


def report(z: float | None, p_value: float, front: FrontDrift | None = None) -> DriftReport:
    return DriftReport(
        run_id="r",
        window_start_ms=0,
        window_end_ms=3,
        pane_ms=1,
        min_support=20,
        transitions=100,
        pairs=5,
        flagged_pairs=0,
        jaccard_mean=0.5,
        jaccard_variance=0.0,
        null_mean=0.5,
        drift_mean=0.0,
        drift_traffic_mean=0.0,
        table_z=z,
        table_p=p_value,
        alarmed=p_value <= 1e-4,
        front=front,
    )


def report_of(measured: WindowDrift) -> DriftReport:
    return to_report(
        measured,
        run_id="r",
        window_start_ms=0,
        window_end_ms=10,
        pane_ms=5,
        min_support=20,
        transitions=7,
        hit_rate_next=0.5,
        hit_rate_sequence=None,
        coverage=1.0,
    )


def front(z: float, *, alarmed: bool) -> FrontDrift:
    return FrontDrift(transitions=30, pairs=5, table_z=z, table_p=1e-5 if alarmed else 0.3, alarmed=alarmed)
