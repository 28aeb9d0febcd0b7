"""A process's own port: what it answers, who may reach it, and what it says while the store is away."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from stream.patience import StorePatience
from tidegate.cli.addresses import require_loopback
from tidegate.cli.exporting import Pulse, exporting
from tidegate.clock import ManualClock
from tidegate.config import RunSettings, load_settings
from tidegate.errors import ConfigError, StoreUnavailableError


def settings(tmp_path: Path, **flags: Any) -> RunSettings:
    loaded: RunSettings = load_settings({"source": "watches.csv", "home": tmp_path, **flags})
    return loaded


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=60_000)


def test_a_port_answers_metrics_health_and_readiness_and_nothing_else(tmp_path: Path, clock: ManualClock):
    registry, pulse = CollectorRegistry(), Pulse(clock)
    Counter("tidegate_things", "Things.", registry=registry).inc(3)
    with exporting(settings(tmp_path, metrics_port=0), registry, "worker", pulse, "4f1c") as url:
        assert url is not None
        status, text = get(f"{url}/metrics")
        assert (status, "tidegate_things_total 3.0" in text) == (200, True)
        assert "tidegate_role_heartbeat_timestamp_seconds 60.0" in text
        assert get(f"{url}/healthz") == (200, '{"status":"alive"}')
        assert get(f"{url}/readyz") == (200, '{"status":"ready"}')
        assert get(f"{url}/v1/next")[0] == 404
        pulse.store_is_away()
        clock.advance_ms(7_000)
        status, text = get(f"{url}/readyz")
        assert (status, json.loads(text)["found"]) == (503, "the store has been away for 7 s")
        assert get(f"{url}/healthz")[0] == 200
        assert "tidegate_store_away_seconds 7.0" in get(f"{url}/metrics")[1]
        pulse.beat()
        assert get(f"{url}/readyz")[0] == 200
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/healthz", timeout=2)


def test_without_a_port_nothing_listens(tmp_path: Path, clock: ManualClock):
    with exporting(settings(tmp_path), CollectorRegistry(), "worker", Pulse(clock)) as url:
        assert url is None


def test_a_port_that_others_reach_must_be_meant(tmp_path: Path, clock: ManualClock):
    asked = settings(tmp_path, metrics_port=0, metrics_host="0.0.0.0")
    with (
        pytest.raises(ConfigError, match=r"--metrics-host: 0\.0\.0\.0 is reached by other machines.*--expose-metrics"),
        exporting(asked, CollectorRegistry(), "worker", Pulse(clock)),
    ):
        pass
    require_loopback("0.0.0.0", True)


def test_a_port_that_is_taken_is_named(tmp_path: Path, clock: ManualClock):
    with exporting(settings(tmp_path, metrics_port=0), CollectorRegistry(), "worker", Pulse(clock)) as url:
        assert url is not None
        asked = settings(tmp_path, metrics_port=int(url.rsplit(":", 1)[1]))
        with (
            pytest.raises(ConfigError, match=r"--metrics-port: .* cannot be listened on .* another --metrics-port"),
            exporting(asked, CollectorRegistry(), "evaluator", Pulse(clock)),
        ):
            pass


def test_watching_a_run_does_not_make_it_another(tmp_path: Path):
    watched = settings(
        tmp_path, metrics_port=9_471, metrics_host="0.0.0.0", expose_metrics=True, hit_rate_objective=0.2
    )
    assert watched.identity() == settings(tmp_path).identity()


def test_an_outage_is_counted_once_and_its_length_is_told_while_it_lasts(clock: ManualClock):
    patience = StorePatience(clock, 60.0)
    pulse = Pulse(clock, [patience])
    seen = []

    def ask() -> int:
        seen.append(pulse.vitals().store_away_seconds)
        if len(seen) < 4:
            raise StoreUnavailableError("away", "Wait", place="store")
        return 7

    assert patience(ask) == 7
    assert seen[0] == 0
    assert 0 < seen[2] < seen[3]
    vitals = pulse.vitals()
    assert (vitals.n_store_outages, vitals.store_away_seconds) == (1, 0.0)


def test_a_pulse_counts_each_outage_of_its_loop_once(clock: ManualClock):
    pulse = Pulse(clock)
    for _ in range(3):
        pulse.store_is_away()
        clock.advance_ms(1_000)
    assert (pulse.vitals().n_store_outages, pulse.vitals().store_away_seconds) == (1, 3)
    pulse.beat()
    pulse.progress()
    pulse.store_is_away()
    vitals = pulse.vitals()
    assert (vitals.n_store_outages, vitals.heartbeat_ms, vitals.progress_ms) == (2, 63_000, 63_000)
