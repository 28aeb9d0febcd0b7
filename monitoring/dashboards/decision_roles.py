"""Dashboards of the roles that decide and refresh: controller and refresher."""

from __future__ import annotations

from monitoring.dashboards.board import Board, Row
from monitoring.dashboards.drift import EVIDENCE, WINDOWS
from monitoring.dashboards.panels import GREEN, RED, YELLOW, Kind, Query, View
from monitoring.dashboards.pieces import REFRESH_DURATION, REFRESHES_ENDED
from monitoring.dashboards.queries import by_run, over_range, per_second, series, share
from monitoring.dashboards.resources import RESOURCES
from monitoring.dashboards.story import MARKS
from monitoring.dashboards.vitals import vitals_of

_ORDER_STEPS = ((None, GREEN), (900.0, YELLOW), (3_600.0, RED))

CONTROLLER = Board(
    "tidegate-controller",
    "Tidegate: controller",
    "What was decided of each pane, which orders are open, what became of them.",
    "control",
    (
        vitals_of(
            "control",
            View(
                "Panes to decide",
                "Panes whose drift is reported and of which nothing is decided.",
                "none",
                (Query(by_run("tidegate_panes_pending", 'step="decide"'), "{{run}}"),),
                Kind.NUMBER,
                ((None, GREEN), (2.0, YELLOW), (5.0, RED)),
                runbook="TidegateDecisionStalled",
            ),
            View(
                "Open orders",
                "Orders that were placed and are not carried out yet.",
                "none",
                (Query(by_run("tidegate_orders_open"), "{{run}}"),),
                Kind.NUMBER,
                runbook="TidegateOrderOpenTooLong",
            ),
            View(
                "Failed in a row",
                "Orders that failed since the last one that did not.",
                "none",
                (Query(by_run("tidegate_refresh_failures_in_a_row"), "{{run}}"),),
                Kind.NUMBER,
                ((None, GREEN), (1.0, YELLOW), (3.0, RED)),
                runbook="TidegateRefreshFailing",
            ),
        ),
        Row(
            "Decisions",
            (
                View(
                    "Decisions",
                    "Decisions within the time shown, by what they ask.",
                    "short",
                    (Query(over_range("tidegate_decisions_total", "action"), "{{action}}"),),
                ),
                *EVIDENCE,
                View(
                    "Scored transitions",
                    "Transitions each second that the serving table was asked, and hits among them.",
                    "ops",
                    (
                        Query(per_second("tidegate_scored_transitions_total"), "scored {{run}}"),
                        Query(per_second("tidegate_hits_total", "kind"), "{{kind}}"),
                    ),
                ),
                WINDOWS,
            ),
        ),
        Row(
            "Orders",
            (
                View(
                    "Age of the open order",
                    "Since the open order was first seen by the controller.",
                    "s",
                    (Query(f"{by_run('tidegate_order_age_seconds')} or on () vector(0)", "{{run}}"),),
                    steps=_ORDER_STEPS,
                ),
                REFRESHES_ENDED,
                View(
                    "Candidates that failed a gate",
                    "Tables within the time shown that were not published, by gate.",
                    "short",
                    (Query(over_range("tidegate_gate_failures_total", "gate"), "{{gate}}"),),
                    runbook="TidegateGateFailed",
                ),
            ),
        ),
        RESOURCES,
    ),
    MARKS,
)

REFRESHER = Board(
    "tidegate-refresher",
    "Tidegate: refreshers",
    "The order in hand, rows, tokens, and what was wrong with answers.",
    "refresher",
    (
        vitals_of(
            "refresher",
            View(
                "At work",
                "Refreshers that carry an order out now.",
                "none",
                (Query(f"sum({series('tidegate_refresh_running')})", "running"),),
                Kind.NUMBER,
            ),
            View(
                "Orders carried out",
                "By these processes, within the time shown.",
                "none",
                (Query(f"sum({over_range('tidegate_orders_carried_out_total')})", "orders"),),
                Kind.NUMBER,
            ),
            View(
                "Since the last table",
                "Since an order was carried out last and its table served.",
                "s",
                (Query(f"time() - {by_run('tidegate_refresh_completed_timestamp_seconds')}", "{{run}}"),),
                Kind.NUMBER,
                runbook="TidegateTableTooOld",
                absent="no refresh yet",
            ),
        ),
        Row(
            "The order in hand",
            (
                View(
                    "Rows",
                    "Rows of the order in hand, or of the last one: asked of the engine, and answered.",
                    "short",
                    (Query(f"sum by (state) ({series('tidegate_refresh_rows')})", "{{state}}"),),
                    absent="no order yet",
                ),
                View(
                    "Time at it",
                    "How long each process has been at the order in hand.",
                    "s",
                    (Query(f"{series('tidegate_refresh_running_seconds')} or on () vector(0)", "{{instance}}"),),
                    steps=_ORDER_STEPS,
                ),
                REFRESH_DURATION,
            ),
        ),
        Row(
            "Answers",
            (
                View(
                    "Tokens",
                    "Tokens within the time shown: of prompts, of those from cache, and written.",
                    "short",
                    (Query(over_range("tidegate_llm_tokens_total", "kind"), "{{kind}}"),),
                ),
                View(
                    "Answers out of contract",
                    "Share of rows whose answer was not taken; they keep their value.",
                    "percentunit",
                    (
                        Query(
                            share(over_range("tidegate_rows_invalid_total"), over_range("tidegate_llm_calls_total")),
                            "{{run}}",
                        ),
                    ),
                    absent="no calls",
                ),
                View(
                    "What was wrong with them",
                    "Rows out of contract within the time shown, by fault.",
                    "short",
                    (Query(over_range("tidegate_answer_faults_total", "fault"), "{{fault}}"),),
                ),
            ),
        ),
        Row(
            "The table",
            (
                View(
                    "Rows of the table",
                    "Rows of the table that serves: of pairs, and of their last clusters (backoff).",
                    "short",
                    (Query(f"max by (level) ({series('tidegate_table_rows')})", "{{level}}"),),
                    width=12,
                ),
                View(
                    "Rows that came and went",
                    "Rows within the time shown that refreshes changed, and those dropped because their backoff serves "
                    "better.",
                    "short",
                    (
                        Query(over_range("tidegate_rows_changed_total"), "changed {{run}}"),
                        Query(over_range("tidegate_rows_retired_total"), "dropped {{run}}"),
                    ),
                    width=12,
                ),
            ),
        ),
        RESOURCES,
    ),
    MARKS,
)
