"""What workers, refreshers and every process export: told as it is when it is collected, in base units."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from monitoring.exposition import render
from monitoring.refresher_metrics import RefresherMetrics
from monitoring.role_metrics import RoleMetrics, Vitals
from monitoring.worker_metrics import WorkerMetrics, WorkerState
from tests.monitoring.test_metrics import samples
from tidegate.clock import ManualClock

STATE = WorkerState(
    outcomes={"counted": 90, "late": 2, "malformed": 0},
    transitions=70,
    sequences=9,
    scored=60,
    hits={"next": 8, "sequence": 14},
    batches=5,
    commits=4,
    fenced=1,
    takeovers=3,
    dead_letters=2,
    partitions=3,
    paused=1,
    idle=2,
    n_waiting=11,
    checkpoint_seconds=1.5,
    lag_records=250,
    lag_seconds=12.5,
    watermark_ms=98_000,
    now_ms=100_000,
)
EXPECTED = {
    'tidegate_events_total{outcome="counted"}': 90,
    'tidegate_events_total{outcome="late"}': 2,
    'tidegate_events_total{outcome="malformed"}': 0,
    "tidegate_transitions_total": 70,
    "tidegate_sequences_total": 9,
    "tidegate_scored_transitions_total": 60,
    'tidegate_hits_total{kind="next"}': 8,
    'tidegate_hits_total{kind="sequence"}': 14,
    "tidegate_batches_total": 5,
    "tidegate_commits_total": 4,
    "tidegate_commits_fenced_total": 1,
    "tidegate_takeovers_total": 3,
    "tidegate_dead_letters_total": 2,
    "tidegate_partitions_owned": 3,
    "tidegate_partitions_paused": 1,
    "tidegate_partitions_idle": 2,
    "tidegate_events_waiting": 11,
    "tidegate_checkpoint_age_seconds": 1.5,
    "tidegate_consumer_lag_records": 250,
    "tidegate_consumer_lag_seconds": 12.5,
    "tidegate_watermark_timestamp_seconds": 98,
    "tidegate_watermark_lag_seconds": 2,
    "tidegate_commit_duration_seconds_sum": 0.75,
    "tidegate_commit_duration_seconds_count": 2,
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_worker_exports_where_it_stands(registry: CollectorRegistry) -> None:
    metrics = WorkerMetrics(registry, lambda: STATE)
    for seconds in (0.25, 0.5):
        metrics.commit_duration.observe(seconds)
    found = samples(registry)
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED
    rest = {name for name in found if not name.startswith("tidegate_commit_duration_seconds")} - set(EXPECTED)
    assert not rest, "a metric that no test tells"


def test_what_a_worker_does_not_know_has_no_sample(registry: CollectorRegistry) -> None:
    WorkerMetrics(registry, WorkerState)
    found = set(samples(registry))
    assert not found & {
        "tidegate_consumer_lag_records",
        "tidegate_consumer_lag_seconds",
        "tidegate_watermark_timestamp_seconds",
        "tidegate_watermark_lag_seconds",
    }
    assert "tidegate_partitions_owned" in found


def test_a_worker_is_asked_anew_at_each_scrape(registry: CollectorRegistry) -> None:
    states = iter([WorkerState(batches=1), WorkerState(batches=7)])
    WorkerMetrics(registry, lambda: next(states))
    assert [samples(registry)["tidegate_batches_total"] for _ in range(2)] == [1, 7]


def test_every_process_tells_its_build_its_pulse_and_its_resources(registry: CollectorRegistry) -> None:
    RoleMetrics(registry, "worker", "4f1c", lambda: Vitals(98_000, 97_500, 3, 4.5))
    found = samples(registry)
    (build,) = [name for name in found if name.startswith("tidegate_build_info")]
    assert 'role="worker"' in build
    assert 'run_id="4f1c"' in build
    assert found["tidegate_role_heartbeat_timestamp_seconds"] == 98
    assert found["tidegate_role_progress_timestamp_seconds"] == 97.5
    assert found["tidegate_store_outages_total"] == 3
    assert found["tidegate_store_away_seconds"] == 4.5
    assert found["process_resident_memory_bytes"] > 1e6
    assert {"process_cpu_seconds_total", "process_open_fds"} <= set(found)


def test_a_process_that_has_done_nothing_yet_has_no_progress(registry: CollectorRegistry) -> None:
    RoleMetrics(registry, "control", "", lambda: Vitals(1_000, None, 0, 0.0))
    assert "\ntidegate_role_progress_timestamp_seconds " not in render(registry)


def test_a_refresher_tells_of_the_order_in_hand(registry: CollectorRegistry) -> None:
    clock = ManualClock(now_ms=50_000)
    metrics = RefresherMetrics(registry, clock)
    assert samples(registry)["tidegate_refresh_running"] == 0
    with metrics.order() as on_rows:
        clock.advance_ms(3_000)
        on_rows(40, 120)
        found = samples(registry)
        assert (found["tidegate_refresh_running"], found["tidegate_refresh_running_seconds"]) == (1, 3)
        assert found['tidegate_refresh_rows{state="asked"}'] == 120
        assert found['tidegate_refresh_rows{state="answered"}'] == 40
    found = samples(registry)
    assert (found["tidegate_refresh_running"], found["tidegate_orders_carried_out_total"]) == (0, 1)
    assert "tidegate_refresh_running_seconds" not in found


def test_an_order_that_was_not_carried_out_is_not_counted(registry: CollectorRegistry) -> None:
    metrics = RefresherMetrics(registry)
    with pytest.raises(OSError, match="full"), metrics.order():
        raise OSError("full")
    found = samples(registry)
    assert (found["tidegate_refresh_running"], found["tidegate_orders_carried_out_total"]) == (0, 0)
