"""Dashboards of what people and services meet: look-ups, and alerts with fine-tunes."""

from __future__ import annotations

from monitoring.dashboards.board import Board, Row
from monitoring.dashboards.panels import GREEN, RED, YELLOW, Kind, Query, View
from monitoring.dashboards.queries import by_run, over_range, per_second, quantile, series
from monitoring.dashboards.resources import RESOURCES
from monitoring.dashboards.story import FIRING, MARKS
from monitoring.dashboards.vitals import vitals_of

_FAILED = 'outcome=~"failed|unready"'
_LOWEST = series("tidegate_lookup_version", 'bound="lowest"')
_HIGHEST = series("tidegate_lookup_version", 'bound="highest"')
_WAITING = series("tidegate_fine_tune_age_seconds", 'status=~"flagged|pending_review"')
_LATENCY_STEPS = ((None, GREEN), (0.005, YELLOW), (0.05, RED))

SERVICE = Board(
    "tidegate-serve",
    "Tidegate: look-up service",
    "Requests, how they were answered and how fast, and which versions serve.",
    "serve",
    (
        vitals_of(
            "serve",
            View(
                "Requests",
                "Requests each second.",
                "reqps",
                (Query(f"sum({per_second('tidegate_lookup_requests_total')})", "requests"),),
                Kind.NUMBER,
            ),
            View(
                "Not answered",
                "Share of requests that failed, or came while no table served.",
                "percentunit",
                (
                    Query(
                        f"sum({over_range('tidegate_lookup_requests_total', matchers=_FAILED)}) / "
                        f"clamp_min(sum({over_range('tidegate_lookup_requests_total')}), 1)",
                        "not answered",
                    ),
                ),
                Kind.NUMBER,
                ((None, GREEN), (0.001, YELLOW), (0.01, RED)),
                runbook="TidegateLookupFailing",
            ),
            View(
                "Versions that serve",
                "Whether all processes serve one version: how far the highest is ahead of the lowest.",
                "none",
                (Query(f"max({_HIGHEST}) - min({_LOWEST})", "apart"),),
                Kind.NUMBER,
                ((None, GREEN), (1.0, YELLOW), (3.0, RED)),
                runbook="TidegateLookupBehind",
            ),
        ),
        Row(
            "Answers",
            (
                View(
                    "Requests",
                    "Requests each second, by what came of them.",
                    "reqps",
                    (Query(per_second("tidegate_lookup_requests_total", "route, outcome"), "{{route}}: {{outcome}}"),),
                ),
                View(
                    "Time of an answer",
                    "From a request's end to its answer, network left out.",
                    "s",
                    (
                        Query(quantile(0.5, "tidegate_lookup_duration_seconds"), "median"),
                        Query(quantile(0.99, "tidegate_lookup_duration_seconds"), "99 %"),
                        Query(quantile(0.999, "tidegate_lookup_duration_seconds"), "99.9 %"),
                    ),
                    steps=_LATENCY_STEPS,
                    absent="no requests",
                ),
                View(
                    "Which level answers",
                    "Pairs answered each second, by the level that answered.",
                    "ops",
                    (Query(per_second("tidegate_lookup_pairs_total", "level"), "{{level}}"),),
                ),
            ),
        ),
        Row(
            "Versions",
            (
                View(
                    "Version",
                    "Lowest and highest version that processes serve.",
                    "none",
                    (Query(series("tidegate_lookup_version"), "{{bound}} {{instance}}"),),
                    least=None,
                    width=12,
                ),
                View(
                    "Swaps and rejections",
                    "Times within the time shown that a process began to serve another version, or could not.",
                    "short",
                    (
                        Query(over_range("tidegate_lookup_swaps_total", "instance"), "swaps {{instance}}"),
                        Query(over_range("tidegate_lookup_rejected_total", "instance"), "rejected {{instance}}"),
                    ),
                    width=12,
                ),
            ),
        ),
        RESOURCES,
    ),
)

OPERATIONS = Board(
    "tidegate-operations",
    "Tidegate: alerts and fine-tunes",
    "What fires, which fine-tunes wait for whom, and which weights answer.",
    "",
    (
        Row(
            "Alerts",
            (
                View(
                    "Firing now",
                    "Tidegate's alerts that fire now, with their runbooks in docs/runbooks.",
                    "none",
                    (Query(f"sort_desc(sum by (alertname, severity, run, instance) ({FIRING})) or vector(0)"),),
                    Kind.TABLE,
                    width=12,
                    absent="none",
                ),
                View(
                    "Alerts over time",
                    "How many of Tidegate's alerts fire, by name.",
                    "short",
                    (Query(f"count by (alertname) ({FIRING}) or vector(0)", "{{alertname}}"),),
                    width=12,
                ),
            ),
        ),
        Row(
            "Alerts that ask for a refresh",
            (
                View(
                    "Deliveries",
                    "Deliveries of Alertmanager each second, by what came of them.",
                    "ops",
                    (Query(per_second("tidegate_alert_deliveries_total", "outcome"), "{{outcome}}"),),
                ),
                View(
                    "Episodes",
                    "Alerts of deliveries within the time shown, by what came of them: one refresh an episode.",
                    "short",
                    (
                        Query(over_range("tidegate_alert_episodes_total", "outcome"), "{{outcome}}"),
                        Query(over_range("tidegate_alert_truncated_total"), "left out by Alertmanager {{run}}"),
                    ),
                ),
                View(
                    "Longest unanswered",
                    "Since the oldest alert was received that no refresh has answered yet.",
                    "s",
                    (Query(f"max({series('tidegate_alert_oldest_open_seconds')}) or vector(0)", "longest"),),
                    steps=((None, GREEN), (600.0, YELLOW), (21_600.0, RED)),
                    runbook="TidegateAlertUndecided",
                ),
            ),
        ),
        Row(
            "Fine-tunes",
            (
                View(
                    "A person is asked",
                    "Whether a fine-tune flag waits for a person's decision.",
                    "none",
                    (Query(f"max({series('tidegate_fine_tune_flagged')})", "flagged"),),
                    Kind.NUMBER,
                    ((None, GREEN), (1.0, YELLOW)),
                    runbook="TidegateFineTunePending",
                ),
                View(
                    "Longest wait",
                    "Since the fine-tune that has been longest in review came to it.",
                    "s",
                    (Query(f"max({_WAITING}) or vector(0)", "longest"),),
                    Kind.NUMBER,
                    ((None, GREEN), (86_400.0, YELLOW), (604_800.0, RED)),
                    runbook="TidegateFineTunePending",
                ),
                View(
                    "Flags",
                    "Fine-tune flags raised within the time shown, by reason.",
                    "short",
                    (Query(over_range("tidegate_fine_tune_flags_total", "reason"), "{{reason}}"),),
                ),
                View(
                    "Fine-tunes",
                    "Fine-tunes of the chosen runs, by status.",
                    "short",
                    (Query(f"sum by (status) ({series('tidegate_fine_tunes')})", "{{status}}"),),
                ),
            ),
        ),
        Row(
            "Weights",
            (
                View(
                    "Weights",
                    "Version of the weights that answer (0: those that the run began with; none: its engine has no "
                    "weights), and whether new ones are asked for. The version falls with a rollback.",
                    "none",
                    (
                        Query(by_run("tidegate_weights_version"), "version {{run}}"),
                        Query(by_run("tidegate_fine_tune_flagged"), "asked for {{run}}"),
                    ),
                    width=12,
                ),
                View(
                    "Ages",
                    "Of the table that serves, and of the weights that answer, where the run took them on.",
                    "s",
                    (
                        Query(by_run("tidegate_table_age_seconds", how="min"), "table {{run}}"),
                        Query(f"time() - {by_run('tidegate_weights_since_timestamp_seconds')}", "weights {{run}}"),
                    ),
                    width=12,
                ),
            ),
        ),
        RESOURCES,
    ),
    MARKS,
)
