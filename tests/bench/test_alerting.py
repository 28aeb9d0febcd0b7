"""The bench of the alerts in small: quiet days wake nobody, planted drift fires in time, and misses would be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.alerting import Quiet, _figures, days_until_fired, greatest_burn, is_in_time, quiet
from bench.alerts.recorded import Recording
from bench.alerts.ruling import RulesFailedError, firing_steps, metrics_in, rule_files


def test_planted_drift_fires_within_one_window(promtool: Path):
    (days,) = days_until_fired([3], promtool)
    assert is_in_time(days), days


def test_quiet_days_wake_nobody(promtool: Path):
    month = quiet("heavy", 5, promtool, days=7)
    assert month.fired == {}
    assert month.least_p > 0.0001
    assert 0 < month.oldest_windows < 3


def test_an_alert_before_the_change_or_after_the_window_is_not_in_time():
    assert [is_in_time(days) for days in (None, -1.0, 0.0, 1.0, 3.0, 3.01, 3.2)] == [
        *(False, False, False, True, True, True, False)
    ]


def test_alerts_and_misses_are_told():
    calm = Quiet({}, 0.02, 0.3, dict.fromkeys((2, 6, 24, 72), 0.0))
    loud = Quiet({"TidegateLagging": 7}, 0.02, 0.3, dict.fromkeys((2, 6, 24, 72), 0.0))
    assert _figures([1.0] * 99 + [None], [calm])[1]
    assert not _figures([1.0] * 98 + [None, 4.0], [calm])[1]
    figures, is_met = _figures([1.0], [calm, loud])
    assert not is_met
    assert "TidegateLagging" in figures[0].conditions


def recording(hits: list[float], objective: float | None = 0.27) -> Recording:
    made = Recording(0, n_steps=len(hits))
    made.series['tidegate_hits_total{kind="next"}'] = list(hits)
    made.series["tidegate_scored_transitions_total{}"] = [100.0 * step for step in range(len(hits))]
    made.series["tidegate_hit_rate_objective{}"] = [objective] * len(hits)
    return made


def test_the_burn_rate_is_that_of_the_recording_rules():
    steady = [27.0 * step for step in range(40)]
    assert greatest_burn(recording(steady), 2) == pytest.approx(1.0)
    assert greatest_burn(recording([0.0] * 40), 2) == pytest.approx(10.0)
    assert greatest_burn(recording([0.0] * 40, None), 2) == 0.0


def test_recorded_series_are_evaluated_as_they_were(promtool: Path, tmp_path: Path):
    made = Recording(0, n_steps=12)
    made.series['tidegate_refresh_failures_in_a_row{run="a"}'] = [None, 0.0, 0.0, 1.0, 1.0, *[2.0] * 7]
    (fired,) = firing_steps(promtool, [made], rule_files("freshness"), tmp_path, every_steps=1)
    assert fired == {"TidegateRefreshFailing": 5}
    assert "tidegate_refresh_failures_in_a_row" in metrics_in(rule_files("freshness"))


def test_rules_that_cannot_be_evaluated_are_an_error(promtool: Path, tmp_path: Path):
    broken = tmp_path / "broken.rules.yml"
    broken.write_text("groups:\n  - name: x\n    rules:\n      - alert: A\n        expr: 1 +\n", encoding="utf-8")
    with pytest.raises(RulesFailedError, match="broken"):
        firing_steps(promtool, [Recording(0, n_steps=3)], [broken], tmp_path)
