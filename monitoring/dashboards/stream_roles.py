"""Dashboards of the roles that count: worker and evaluator."""

from __future__ import annotations

from monitoring.dashboards.board import Board, Row
from monitoring.dashboards.panels import GREEN, RED, YELLOW, Kind, Query, View
from monitoring.dashboards.pieces import RECORDS
from monitoring.dashboards.queries import by_run, over_range, per_second, quantile, series
from monitoring.dashboards.resources import RESOURCES
from monitoring.dashboards.vitals import vitals_of

_LAG_STEPS = ((None, GREEN), (300.0, YELLOW), (1_800.0, RED))
_AGE_STEPS = ((None, GREEN), (60.0, YELLOW), (300.0, RED))

WORKER = Board(
    "tidegate-worker",
    "Tidegate: workers",
    "Partitions, lag, commits and what becomes of records, by worker.",
    "worker",
    (
        vitals_of(
            "worker",
            View(
                "Partitions owned",
                "Partitions that workers count now, all together.",
                "none",
                (Query(f"sum({series('tidegate_partitions_owned')})", "partitions"),),
                Kind.NUMBER,
                ((None, RED), (1.0, GREEN)),
            ),
            View(
                "Lag",
                "Age of the newest event that was read of the partition furthest behind.",
                "s",
                (Query(f"max({series('tidegate_consumer_lag_seconds')})", "furthest behind"),),
                Kind.NUMBER,
                _LAG_STEPS,
                runbook="TidegateLagging",
            ),
            View(
                "Oldest uncommitted",
                "Since the oldest record was read that is not committed yet.",
                "s",
                (Query(f"max({series('tidegate_checkpoint_age_seconds')})", "oldest"),),
                Kind.NUMBER,
                _AGE_STEPS,
                runbook="TidegateCheckpointOld",
            ),
        ),
        Row(
            "Reading",
            (
                RECORDS,
                View(
                    "Lag in time",
                    "Age of the newest event that was read of each worker's partition furthest behind.",
                    "s",
                    (Query(series("tidegate_consumer_lag_seconds"), "{{instance}}"),),
                    steps=_LAG_STEPS,
                    runbook="TidegateLagging",
                ),
                View(
                    "Lag in records",
                    "Records of each worker's partitions that are not read yet.",
                    "short",
                    (Query(series("tidegate_consumer_lag_records"), "{{instance}}"),),
                    runbook="TidegateLagging",
                ),
                View(
                    "Partitions",
                    "Partitions of all workers: owned, waiting for the decision on a pane, resting at their end.",
                    "short",
                    (
                        Query(f"sum({series('tidegate_partitions_owned')})", "owned"),
                        Query(f"sum({series('tidegate_partitions_paused')})", "waiting"),
                        Query(f"sum({series('tidegate_partitions_idle')})", "at rest"),
                    ),
                ),
                View(
                    "Transitions",
                    "Transitions counted each second, and sequences that were begun.",
                    "ops",
                    (
                        Query(per_second("tidegate_transitions_total"), "transitions {{run}}"),
                        Query(per_second("tidegate_sequences_total"), "sequences {{run}}"),
                    ),
                ),
                View(
                    "Batches",
                    "Batches of records that were read and counted each second.",
                    "ops",
                    (Query(per_second("tidegate_batches_total", "instance"), "{{instance}}"),),
                ),
                View(
                    "Events that wait",
                    "Events that wait for the watermark, or for the decision on a pane.",
                    "short",
                    (Query(series("tidegate_events_waiting"), "{{instance}}"),),
                ),
                View(
                    "Dead letters",
                    "Records each second that could not be counted.",
                    "ops",
                    (Query(per_second("tidegate_dead_letters_total", "instance"), "{{instance}}"),),
                    runbook="TidegateDeadLetters",
                ),
            ),
        ),
        Row(
            "Committing",
            (
                View(
                    "Commits",
                    "Commits each second, and those refused because another worker has the partition.",
                    "ops",
                    (
                        Query(per_second("tidegate_commits_total"), "commits {{run}}"),
                        Query(per_second("tidegate_commits_fenced_total"), "refused {{run}}"),
                    ),
                ),
                View(
                    "Time of a commit",
                    "From its begin to its acknowledgement, an absent store's time included.",
                    "s",
                    (
                        Query(quantile(0.5, "tidegate_commit_duration_seconds"), "median"),
                        Query(quantile(0.99, "tidegate_commit_duration_seconds"), "99 %"),
                    ),
                    absent="no commits",
                ),
                View(
                    "Outages of the store",
                    "Times within the time shown that the store began to refuse for a while.",
                    "short",
                    (Query(over_range("tidegate_store_outages_total", "instance"), "{{instance}}"),),
                    runbook="TidegateStoreAway",
                ),
                View(
                    "Partitions taken over",
                    "Partitions each second that came to a worker from its group: rebalances.",
                    "ops",
                    (Query(per_second("tidegate_takeovers_total", "instance"), "{{instance}}"),),
                ),
            ),
        ),
        RESOURCES,
    ),
)

EVALUATOR = Board(
    "tidegate-evaluator",
    "Tidegate: evaluators",
    "How far panes have come, and what their drift is.",
    "evaluator",
    (
        vitals_of(
            "evaluator",
            View(
                "Panes to close",
                "Panes that all workers have counted and nobody has closed.",
                "none",
                (Query(by_run("tidegate_panes_pending", 'step="close"'), "{{run}}"),),
                Kind.NUMBER,
                ((None, GREEN), (2.0, YELLOW), (5.0, RED)),
                runbook="TidegateEvaluatorStalled",
            ),
            View(
                "Panes to report",
                "Panes that are closed and whose drift nobody has reported.",
                "none",
                (Query(by_run("tidegate_panes_pending", 'step="report"'), "{{run}}"),),
                Kind.NUMBER,
                ((None, GREEN), (2.0, YELLOW), (5.0, RED)),
                runbook="TidegateEvaluatorStalled",
            ),
            View(
                "Has waited",
                "How long a pane has waited for an evaluator that saw to none.",
                "s",
                (Query(by_run("tidegate_pane_pending_seconds", 'step=~"close|report"'), "{{run}}"),),
                Kind.NUMBER,
                _AGE_STEPS,
                runbook="TidegateEvaluatorStalled",
                absent="nothing waits",
            ),
        ),
        Row(
            "Panes",
            (
                View(
                    "How far panes have come",
                    "Event time of the last pane that was counted, closed and reported.",
                    "dateTimeAsIso",
                    (Query(f"max by (stage) ({series('tidegate_pane_end_timestamp_seconds')}) * 1000", "{{stage}}"),),
                    least=None,
                    width=12,
                ),
                View(
                    "Panes that wait",
                    "Panes that wait for a step.",
                    "short",
                    (Query(f"max by (step) ({series('tidegate_panes_pending')})", "{{step}}"),),
                    runbook="TidegateEvaluatorStalled",
                    width=12,
                ),
            ),
        ),
        RESOURCES,
    ),
)
