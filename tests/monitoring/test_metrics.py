"""What is exported: told by contracts, lint-clean, and nothing where nothing is known."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from monitoring.exposition import metrics_asgi, render
from monitoring.metrics import FAULTS, GATES, Metrics
from refresh.descriptions import OutputFault
from refresh.gates import Asked, Candidate, GateBounds, Support, judge
from refresh.validation import Fault
from tests.tables import small_table
from tidegate.clock import ManualClock
from tidegate.contracts import (
    Decision,
    DriftCourse,
    DriftReport,
    FineTuneFlag,
    FineTuneReason,
    FineTuneStatus,
    FrontDrift,
    GateVerdict,
    PairDrift,
    RefreshOrder,
    RefreshResult,
    Trigger,
)
from tidegate.counts import BucketedCounts

NONE = BucketedCounts.empty()
PAIR = PairDrift(c1=0, c2=1, n_window=40, n_reference=30, jaccard=0.2, null=0.4, drift=0.5, p_value=0.001, flagged=True)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=100_000)


@pytest.fixture
def metrics(registry: CollectorRegistry, clock: ManualClock) -> Metrics:
    return Metrics(registry, clock)


def report(**changes: Any) -> DriftReport:
    fields: dict[str, Any] = {
        "run_id": "r",
        "window_start_ms": 0,
        "window_end_ms": 10,
        "pane_ms": 5,
        "min_support": 20,
        "transitions": 70,
        "pairs": 4,
        "flagged_pairs": 1,
        "jaccard_mean": 0.3,
        "jaccard_variance": 0.01,
        "null_mean": 0.45,
        "drift_mean": 0.25,
        "drift_traffic_mean": 0.2,
        "table_z": 4.0,
        "alarmed": True,
        "flagged": (PAIR,),
        "hit_rate_next": 0.12,
        "hit_rate_sequence": 0.2,
        "coverage": 0.9,
        "table_p": 0.0001,
        "front": FrontDrift(transitions=20, pairs=2, table_z=1.0, table_p=0.2, alarmed=False),
        "course": DriftCourse(
            detector="cusum",
            score=2.0,
            statistic=1.5,
            threshold=9.0,
            is_signalled=False,
            windows_since_signal=None,
            false_alarm_windows=2_000.0,
        ),
    }
    return DriftReport(**fields | changes)


def result(**changes: Any) -> RefreshResult:
    fields: dict[str, Any] = {
        "order_id": "o",
        "window_end_ms": 10,
        "trigger": Trigger.POLICY,
        "outcome": "completed",
        "table_version": 3,
        "llm_calls": 7,
        "reused": 2,
        "rows_changed": 5,
        "rows_invalid": 1,
        "rows_retired": 4,
        "duration_seconds": 2.0,
        "prompt_tokens": 900,
        "cached_tokens": 600,
        "faults": {"not_new": 3, "output_empty": 2, "yet_unheard_of": 1},
        "gates": tuple(
            GateVerdict(gate=gate, found=0.1, required=0.2, is_passed=gate == "coverage", sentence="because")
            for gate in ("coverage", "validity", "yet_unheard_of")
        ),
    }
    return RefreshResult(**fields | changes)


def decision(order: RefreshOrder | None = None, flag: FineTuneFlag | None = None) -> Decision:
    return Decision(
        run_id="r", window_end_ms=10, policy="adaptive", inputs={}, order=order, flag=flag, explanation="because"
    )


def tell_everything(metrics: Metrics) -> None:
    metrics.observe_batch({"counted": 90, "malformed": 2}, transitions=70, sequences=9)
    metrics.observe_watermark(98_000)
    metrics.observe_report(report())
    metrics.observe_scores(70, next_hits=8, sequence_hits=14)
    order = RefreshOrder(order_id="o", window_end_ms=10, trigger=Trigger.POLICY, rows=())
    flag = FineTuneFlag(flag_id="f", window_end_ms=10, reason=FineTuneReason.AGE, numbers={"age_days": 31.0})
    metrics.observe_decision(decision(order, flag))
    metrics.observe_result(result())
    metrics.observe_table(3, rows=20, backoff_rows=5, published_ms=99_000)
    metrics.observe_rejected_version()
    metrics.observe_model("embedded", "abc")
    metrics.observe_weights(2, 60_000)
    metrics.show_objective(0.11)
    metrics.observe_fine_tunes({FineTuneStatus.PENDING_REVIEW: [50_000, 10_000]})
    metrics.show_lengths(5_000, 3)
    metrics.observe_panes(PANES, 2, 5_000)
    metrics.observe_order("o")


PANES = {"counted": 7, "closed": 6, "reported": 6, "decided": 4, "recorded": 3}
EXPECTED = {
    'tidegate_events_total{outcome="counted"}': 90,
    'tidegate_events_total{outcome="malformed"}': 2,
    "tidegate_transitions_total": 70,
    "tidegate_sequences_total": 9,
    "tidegate_watermark_timestamp_seconds": 98,
    "tidegate_watermark_lag_seconds": 2,
    "tidegate_windows_total": 1,
    "tidegate_drift_z": 4,
    "tidegate_drift_p_value": 0.0001,
    "tidegate_drift_alarmed": 1,
    "tidegate_drift_front_alarmed": 0,
    "tidegate_drift_course_statistic": 1.5,
    "tidegate_drift_course_threshold": 9,
    "tidegate_drift_since_timestamp_seconds": 100,
    "tidegate_hit_rate_objective": 0.11,
    "tidegate_drift_mean": 0.25,
    "tidegate_drift_traffic_mean": 0.2,
    "tidegate_jaccard_mean": 0.3,
    "tidegate_jaccard_variance": 0.01,
    "tidegate_jaccard_null_mean": 0.45,
    "tidegate_pairs_compared": 4,
    "tidegate_pairs_flagged": 1,
    "tidegate_drift_alarms_total": 1,
    'tidegate_hit_rate{kind="next"}': 0.12,
    'tidegate_hit_rate{kind="sequence"}': 0.2,
    "tidegate_coverage": 0.9,
    "tidegate_scored_transitions_total": 70,
    'tidegate_hits_total{kind="next"}': 8,
    'tidegate_hits_total{kind="sequence"}': 14,
    'tidegate_decisions_total{action="refresh"}': 1,
    'tidegate_decisions_total{action="fine_tune"}': 1,
    'tidegate_decisions_total{action="nothing"}': 0,
    'tidegate_fine_tune_flags_total{reason="weights_too_old"}': 1,
    'tidegate_fine_tune_flags_total{reason="hit_rate_below_level"}': 0,
    "tidegate_fine_tune_flagged": 1,
    'tidegate_fine_tunes{status="pending_review"}': 2,
    'tidegate_fine_tunes{status="serving"}': 0,
    'tidegate_fine_tune_age_seconds{status="pending_review"}': 90,
    'tidegate_refreshes_total{outcome="completed",trigger="policy"}': 1,
    'tidegate_refreshes_total{outcome="failed",trigger="policy"}': 0,
    'tidegate_refreshes_total{outcome="gate_failed",trigger="policy"}': 0,
    'tidegate_answer_faults_total{fault="not_new"}': 3,
    'tidegate_answer_faults_total{fault="output_empty"}': 2,
    'tidegate_answer_faults_total{fault="other"}': 1,
    'tidegate_answer_faults_total{fault="gap"}': 0,
    'tidegate_gate_failures_total{gate="validity"}': 1,
    'tidegate_gate_failures_total{gate="coverage"}': 0,
    'tidegate_gate_failures_total{gate="other"}': 1,
    "tidegate_refresh_duration_seconds_sum": 2,
    "tidegate_llm_calls_total": 7,
    "tidegate_rows_changed_total": 5,
    "tidegate_rows_reused_total": 2,
    "tidegate_rows_invalid_total": 1,
    "tidegate_rows_retired_total": 4,
    'tidegate_llm_tokens_total{kind="prompt"}': 900,
    'tidegate_llm_tokens_total{kind="cached"}': 600,
    'tidegate_llm_tokens_total{kind="output"}': 0,
    "tidegate_weights_version": 2,
    "tidegate_weights_since_timestamp_seconds": 60,
    "tidegate_refresh_completed_timestamp_seconds": 100,
    "tidegate_refresh_failures_in_a_row": 0,
    'tidegate_pane_end_timestamp_seconds{stage="counted"}': 40,
    'tidegate_pane_end_timestamp_seconds{stage="recorded"}': 20,
    'tidegate_panes_pending{step="close"}': 1,
    'tidegate_panes_pending{step="report"}': 0,
    'tidegate_panes_pending{step="record"}': 1,
    'tidegate_pane_pending_seconds{step="close"}': 0,
    'tidegate_pane_pending_seconds{step="report"}': 0,
    "tidegate_orders_open": 1,
    "tidegate_order_age_seconds": 0,
    "tidegate_pane_seconds": 5,
    "tidegate_window_seconds": 15,
    "tidegate_table_version": 3,
    'tidegate_table_rows{level="pair"}': 20,
    'tidegate_table_rows{level="backoff"}': 5,
    "tidegate_table_published_timestamp_seconds": 99,
    "tidegate_table_age_seconds": 1,
    "tidegate_table_versions_rejected_total": 1,
    'tidegate_model_info{engine="embedded",fingerprint="abc"}': 1,
}


def samples(registry: CollectorRegistry) -> dict[str, float]:
    lines = [line for line in render(registry).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_what_is_told_is_exported(metrics: Metrics, registry: CollectorRegistry) -> None:
    tell_everything(metrics)
    found = samples(registry)
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED


def test_every_metric_is_exported_under_the_prefix_with_help(metrics: Metrics, registry: CollectorRegistry) -> None:
    tell_everything(metrics)
    families = list(registry.collect())
    assert all(family.name.startswith("tidegate_") and family.documentation.endswith(".") for family in families)
    assert all(family.samples for family in families)
    told = {name.split("{")[0] for name in EXPECTED}
    assert all(told & {sample.name for sample in family.samples} for family in families), "a metric that no test tells"


@pytest.mark.parametrize("is_told", [False, True])
def test_promtool_finds_nothing_to_complain_about(
    metrics: Metrics, registry: CollectorRegistry, promtool: Path, is_told: bool
) -> None:
    if is_told:
        tell_everything(metrics)
    found = subprocess.run(
        [promtool, "check", "metrics"], input=render(registry), capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_gauges_show_nothing_while_nothing_is_known(metrics: Metrics, registry: CollectorRegistry) -> None:
    names = {name.split("{")[0] for name in samples(registry)}
    assert not names & {
        "tidegate_drift_mean",
        "tidegate_hit_rate",
        "tidegate_table_version",
        "tidegate_table_age_seconds",
    }
    metrics.observe_report(report())
    metrics.observe_report(report(hit_rate_next=None, drift_mean=None, jaccard_mean=float("nan"), alarmed=False))
    found = samples(registry)
    assert 'tidegate_hit_rate{kind="next"}' not in found
    assert not {"tidegate_drift_mean", "tidegate_jaccard_mean"} & set(found)
    assert (found['tidegate_hit_rate{kind="sequence"}'], found["tidegate_drift_alarms_total"]) == (0.2, 1)


def test_ages_and_lags_grow_while_nothing_happens(
    metrics: Metrics, registry: CollectorRegistry, clock: ManualClock
) -> None:
    tell_everything(metrics)
    clock.advance_ms(60_000)
    found = samples(registry)
    assert (found["tidegate_table_age_seconds"], found["tidegate_watermark_lag_seconds"]) == (61, 62)


def test_drift_lasts_from_the_first_alarmed_window_to_the_first_quiet_one(
    metrics: Metrics, registry: CollectorRegistry, clock: ManualClock
) -> None:
    since = "tidegate_drift_since_timestamp_seconds"
    metrics.observe_report(report())
    clock.advance_ms(60_000)
    metrics.observe_report(report())
    found = samples(registry)
    assert (found[since], found["tidegate_drift_alarms_total"]) == (100, 2)
    metrics.observe_report(report(alarmed=False))
    assert since not in samples(registry)
    metrics.observe_report(report())
    assert samples(registry)[since] == 160


def test_a_window_that_is_only_shown_is_not_counted_again(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.show_report(report())
    metrics.show_result(result())
    found = samples(registry)
    assert (found["tidegate_drift_z"], found["tidegate_table_version"]) == (4, 3)
    assert (found["tidegate_windows_total"], found["tidegate_llm_calls_total"]) == (0, 0)


def test_failures_in_a_row_end_with_an_order_that_is_carried_out(metrics: Metrics, registry: CollectorRegistry) -> None:
    for _ in range(3):
        metrics.observe_result(result(outcome="failed"))
    found = samples(registry)
    assert found["tidegate_refresh_failures_in_a_row"] == 3
    assert "tidegate_refresh_completed_timestamp_seconds" not in found
    metrics.observe_result(result(outcome="gate_failed"))
    assert samples(registry)["tidegate_refresh_failures_in_a_row"] == 0


def test_a_step_that_has_work_and_does_none_waits_longer_and_longer(
    metrics: Metrics, registry: CollectorRegistry, clock: ManualClock
) -> None:
    waiting = 'tidegate_pane_pending_seconds{step="report"}'
    metrics.observe_panes({"closed": 6, "reported": None}, 5, 1_000)
    clock.advance_ms(30_000)
    metrics.observe_panes({"closed": 7, "reported": None}, 5, 1_000)  # more work is no progress
    found = samples(registry)
    assert (found[waiting], found['tidegate_panes_pending{step="report"}']) == (30, 3)
    metrics.observe_panes({"closed": 7, "reported": 5}, 5, 1_000)
    assert samples(registry)[waiting] == 0
    clock.advance_ms(5_000)
    assert samples(registry)[waiting] == 5
    metrics.observe_panes({"closed": 7, "reported": 7}, 5, 1_000)
    clock.advance_ms(5_000)
    assert samples(registry)[waiting] == 0


def test_nothing_is_pending_before_the_first_pane_is_known(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.observe_panes({"closed": None, "reported": None}, None, 1_000)
    found = samples(registry)
    assert found['tidegate_panes_pending{step="report"}'] == 0
    assert not [name for name in found if name.startswith("tidegate_pane_end")]


def test_an_open_order_ages_until_it_is_carried_out(
    metrics: Metrics, registry: CollectorRegistry, clock: ManualClock
) -> None:
    metrics.observe_order("a")
    clock.advance_ms(40_000)
    metrics.observe_order("a")
    assert samples(registry)["tidegate_order_age_seconds"] == 40
    metrics.observe_order("b")
    assert samples(registry)["tidegate_order_age_seconds"] == 0
    metrics.observe_order(None)
    found = samples(registry)
    assert (found["tidegate_orders_open"], "tidegate_order_age_seconds" in found) == (0, False)


def test_a_decision_for_nothing_is_counted_and_a_verdict_lowers_the_flag(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    tell_everything(metrics)
    metrics.observe_decision(decision())
    metrics.observe_fine_tune_verdict()
    found = samples(registry)
    assert (found['tidegate_decisions_total{action="nothing"}'], found["tidegate_fine_tune_flagged"]) == (1, 0)


def test_an_unknown_outcome_gets_no_label_of_its_own(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.observe_result(result(outcome="disk full at 12:03"))
    assert samples(registry)['tidegate_refreshes_total{outcome="other",trigger="policy"}'] == 1
    assert "disk full" not in render(registry)


def test_weights_of_no_run_have_no_sample(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.observe_weights(2, 60_000)
    metrics.observe_weights(0, None)  # those that the run began with answer again
    found = samples(registry)
    assert (found["tidegate_weights_version"], "tidegate_weights_since_timestamp_seconds" in found) == (0, False)
    metrics.observe_weights(None, None)
    assert "tidegate_weights_version" not in samples(registry)


def test_another_model_takes_the_place_of_the_one_before(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.observe_model("embedded", "abc")
    metrics.observe_model("embedded", "def")
    found = [name for name in samples(registry) if name.startswith("tidegate_model_info")]
    assert found == ['tidegate_model_info{engine="embedded",fingerprint="def"}']


def test_two_registries_do_not_share_and_the_global_one_stays_clean(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    other = CollectorRegistry()
    Metrics(other)
    metrics.observe_batch({"counted": 1})
    assert other.get_sample_value("tidegate_events_total", {"outcome": "counted"}) is None
    assert not [family for family in REGISTRY.collect() if family.name.startswith("tidegate")]


def test_the_asgi_app_answers_with_the_registry(metrics: Metrics, registry: CollectorRegistry) -> None:
    tell_everything(metrics)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": []}
    asyncio.run(metrics_asgi(registry)(scope, receive, send))
    assert sent[0]["status"] == 200
    assert b"tidegate_table_version 3.0" in sent[1]["body"]


def test_faults_and_gates_have_labels_of_their_own() -> None:
    assert set(FAULTS) == {*Fault, *(f"output_{fault}" for fault in OutputFault), "other"}
    told = judge(
        Candidate(small_table(), small_table(), Asked(0, 0), None, False, NONE, NONE, Support(NONE)), GateBounds()
    )
    assert set(GATES) == {*(verdict.gate for verdict in told), "other"}
