"""The story on one page: is the table fresh, why, what was done about it, and what that took."""

from __future__ import annotations

from monitoring.dashboards.board import Board, Mark, Row
from monitoring.dashboards.drift import DRIFT_OF_THE_WINDOW, EFFECT
from monitoring.dashboards.panels import BLUE, GREEN, PURPLE, RED, YELLOW, Kind, Query, View
from monitoring.dashboards.pieces import RECORDS, REFRESH_DURATION, REFRESHES_ENDED
from monitoring.dashboards.queries import by_run, over_range, per_second, recorded, series, share
from monitoring.dashboards.resources import RESOURCES

FIRING = 'ALERTS{alertstate="firing", alertname=~"Tidegate.*"}'
NEXT_HIT_RATE = by_run("tidegate_hit_rate", 'kind="next"')
_HOUR, _DAY = 3_600.0, 86_400.0


def happened(name: str, by: str, matchers: str = "") -> str:
    """Points where a counter has grown within the last minute.

    Examples
    --------
    >>> happened("tidegate_decisions_total", "run")
    'sum by (run) (increase(tidegate_decisions_total{run=~"$run", instance=~"$instance"}[1m])) > 0'
    """
    return f"sum by ({by}) (increase({series(name, matchers)}[1m])) > 0"


MARKS = (
    Mark(
        "Table published",
        f"{by_run('tidegate_table_published_timestamp_seconds')} * 1000",
        "a table version serves",
        "run {{run}}",
        GREEN,
        is_time=True,
    ),
    Mark(
        "Refresh decided",
        happened("tidegate_decisions_total", "run", 'action="refresh"'),
        "refresh decided",
        "run {{run}}",
        BLUE,
    ),
    Mark(
        "Fine-tune flagged",
        happened("tidegate_fine_tune_flags_total", "run, reason"),
        "fine-tune flagged",
        "{{reason}}, run {{run}}",
        PURPLE,
    ),
    Mark(
        "Weights changed",
        f"max by (run) (delta({series('tidegate_weights_version')}[1m])) != 0",
        "other weights answer",
        "run {{run}}",
        YELLOW,
    ),
    Mark(
        "Rolled back",
        f"max by (run) (delta({series('tidegate_table_version')}[1m])) < 0",
        "an earlier version serves",
        "run {{run}}",
        RED,
    ),
)

VERDICT = Row(
    "Is it fresh?",
    (
        View(
            "Next-hit rate",
            "Hits over all scored transitions of the last pane, by the table that served. No answer is a miss.",
            "percentunit",
            (Query(NEXT_HIT_RATE, "{{run}}"),),
            Kind.NUMBER,
        ),
        View(
            "Of the objective",
            "Next-hit rate of the last pane over the one that is asked for.",
            "percentunit",
            (Query(f"{NEXT_HIT_RATE} / {by_run('tidegate_hit_rate_objective')}", "{{run}}"),),
            Kind.NUMBER,
            ((None, RED), (0.9, YELLOW), (1.0, GREEN)),
            runbook="TidegateHitRateBelowObjective",
        ),
        DRIFT_OF_THE_WINDOW,
        View(
            "Age of the table",
            "Since the serving table was published.",
            "s",
            (Query(by_run("tidegate_table_age_seconds", how="min"), "{{run}}"),),
            Kind.NUMBER,
            ((None, GREEN), (3 * _DAY, YELLOW), (7 * _DAY, RED)),
            runbook="TidegateTableTooOld",
        ),
        View(
            "Versions",
            "Versions of the table that serves, and of the weights that answer: 0 where the run began with them.",
            "none",
            (
                Query(by_run("tidegate_table_version"), "table {{run}}"),
                Query(by_run("tidegate_weights_version"), "weights {{run}}"),
            ),
            Kind.NUMBER,
        ),
        View(
            "Alerts that fire",
            "Tidegate's alerts that fire now, of all runs.",
            "none",
            (Query(f"count({FIRING}) or vector(0)", "alerts"),),
            Kind.NUMBER,
            ((None, GREEN), (1.0, RED)),
        ),
    ),
)

HITS = Row(
    "Hits, and what was done",
    (
        View(
            "Hit rate",
            "Hit rates of each pane. Marks: a table published, a refresh decided, a fine-tune flagged, other weights, "
            "a rollback.",
            "percentunit",
            (
                Query(NEXT_HIT_RATE, "next {{run}}"),
                Query(by_run("tidegate_hit_rate", 'kind="sequence"'), "sequence {{run}}"),
                Query(by_run("tidegate_hit_rate_objective"), "objective {{run}}"),
            ),
            width=12,
            runbook="TidegateHitRateBelowObjective",
        ),
        View(
            "Missing hits",
            "How many times as fast as they may hits are missing: above 1 the objective is not met over that time.",
            "none",
            (
                Query(recorded("run:tidegate_hit_rate:burn_rate2h"), "2 h {{run}}"),
                Query(recorded("run:tidegate_hit_rate:burn_rate1d"), "1 d {{run}}"),
            ),
            steps=((None, GREEN), (1.0, YELLOW), (2.0, RED)),
            width=6,
            runbook="TidegateHitRateBelowObjective",
        ),
        View(
            "Coverage",
            "Share of scored transitions that had an answer.",
            "percentunit",
            (Query(by_run("tidegate_coverage"), "{{run}}"),),
            most=1.0,
            width=6,
        ),
    ),
)

REFRESHES = Row(
    "Refreshes",
    (
        REFRESHES_ENDED,
        View(
            "Rows",
            "Rows asked of the engine, known by their key, changed, or out of contract, within the time shown.",
            "short",
            (
                Query(over_range("tidegate_llm_calls_total"), "LLM calls {{run}}"),
                Query(over_range("tidegate_rows_reused_total"), "known {{run}}"),
                Query(over_range("tidegate_rows_changed_total"), "changed {{run}}"),
                Query(over_range("tidegate_rows_invalid_total"), "out of contract {{run}}"),
            ),
        ),
        REFRESH_DURATION,
    ),
)

PIPELINE = Row(
    "Pipeline",
    (
        RECORDS,
        View(
            "Records that were not counted",
            "Share of records that are malformed, of an unknown cluster, too late, or ahead of the clock.",
            "percentunit",
            (
                Query(
                    share(
                        per_second("tidegate_events_total", matchers='outcome!~"counted|negative"'),
                        per_second("tidegate_events_total"),
                    ),
                    "{{run}}",
                ),
            ),
            runbook="TidegateDeadLetters",
            absent="no records",
        ),
        View(
            "Behind the clock",
            "Seconds that the watermark is behind the wall clock.",
            "s",
            (Query(by_run("tidegate_watermark_lag_seconds"), "{{run}}"),),
            steps=((None, GREEN), (_HOUR, YELLOW), (_DAY, RED)),
            runbook="TidegateLagging",
        ),
    ),
)

STORY = Board(
    "tidegate",
    "Tidegate",
    "Is the served table fresh, why, what was done about it, and what that took.",
    "",
    (VERDICT, HITS, EFFECT, REFRESHES, PIPELINE, RESOURCES),
    MARKS,
)
