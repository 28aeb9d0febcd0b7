"""Panels that stand on more than one dashboard."""

from __future__ import annotations

from monitoring.dashboards.panels import Query, View
from monitoring.dashboards.queries import over_range, per_second, quantile

RECORDS = View(
    "Records",
    "Records read each second, by what became of them.",
    "ops",
    (Query(per_second("tidegate_events_total", "outcome"), "{{outcome}}"),),
)

REFRESHES_ENDED = View(
    "Refreshes",
    "Refreshes that ended within the time shown, by trigger and outcome.",
    "short",
    (Query(f"{over_range('tidegate_refreshes_total', 'trigger, outcome')} > 0", "{{trigger}}: {{outcome}}"),),
    runbook="TidegateRefreshFailing",
    absent="none",
)

REFRESH_DURATION = View(
    "Time of a refresh",
    "From order to table version.",
    "s",
    (
        Query(quantile(0.5, "tidegate_refresh_duration_seconds"), "median"),
        Query(quantile(0.95, "tidegate_refresh_duration_seconds"), "95 %"),
    ),
    absent="no refresh",
)
