"""Reports of windows of which only the whole table matters."""

from __future__ import annotations

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


def front(z: float, *, alarmed: bool) -> FrontDrift:
    return FrontDrift(transitions=30, pairs=5, table_z=z, table_p=1e-5 if alarmed else 0.3, alarmed=alarmed)
