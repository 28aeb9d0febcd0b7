"""What every role's dashboard begins with: how many there are, whether they go round, whether they have their store."""

from __future__ import annotations

from monitoring.dashboards.board import Row
from monitoring.dashboards.panels import GREEN, RED, YELLOW, Kind, Query, View
from monitoring.dashboards.queries import series


def vitals_of(role: str, *more: View) -> Row:
    """Numbers of a role's processes, and `more` of its own beside them."""
    build = series("tidegate_build_info", f'role="{role}"')
    beat = series("tidegate_role_heartbeat_timestamp_seconds")
    at_role = f'* on (instance, job) group_left (role) tidegate_build_info{{role="{role}"}}'
    return Row(
        "Vitals",
        (
            View(
                "Processes",
                "Processes of this role that answer Prometheus.",
                "none",
                (Query(f"count({build}) or vector(0)", "processes"),),
                Kind.NUMBER,
                ((None, RED), (1.0, GREEN)),
                runbook="TidegateTargetDown",
            ),
            View(
                "Last round",
                "Since the slowest process of this role last went round its loop.",
                "s",
                (Query(f"max((time() - {beat}) {at_role})", "slowest"),),
                Kind.NUMBER,
                ((None, GREEN), (60.0, YELLOW), (300.0, RED)),
                runbook="TidegateRoleStuck",
            ),
            View(
                "Without the store",
                "How long the store has refused the process that has waited longest, 0 while it answers.",
                "s",
                (Query(f"max({series('tidegate_store_away_seconds')} {at_role})", "longest"),),
                Kind.NUMBER,
                ((None, GREEN), (10.0, YELLOW), (60.0, RED)),
                runbook="TidegateStoreAway",
            ),
            *more,
        ),
    )
