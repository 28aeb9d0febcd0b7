"""What processes take: the same row on every dashboard."""

from __future__ import annotations

from monitoring.dashboards.board import Row
from monitoring.dashboards.panels import Query, View
from monitoring.dashboards.queries import series

RESOURCES = Row(
    "Resources",
    (
        View(
            "CPU",
            "Cores that each process keeps busy.",
            "short",
            (Query(f"rate({series('process_cpu_seconds_total')}[$__rate_interval])", "{{job}} {{instance}}"),),
        ),
        View(
            "Memory",
            "Resident memory of each process.",
            "bytes",
            (Query(series("process_resident_memory_bytes"), "{{job}} {{instance}}"),),
        ),
        View(
            "Up",
            "Whether each process answers Prometheus: 1 where it does.",
            "none",
            (Query('up{job=~"tidegate.*", run=~"$run", instance=~"$instance"}', "{{job}} {{instance}}"),),
            most=1.0,
            runbook="TidegateTargetDown",
        ),
    ),
)
