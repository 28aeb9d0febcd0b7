from __future__ import annotations

import math
from typing import Any

from monitoring.backtest_cautions import cautions, support, window_panes
from tests.monitoring.backtests import all_kinds, backtest, policy


def _said(policies: dict[str, dict[str, Any]], **more: Any) -> str:
    return " ".join(cautions(backtest(policies, **more)))


def test_dense_long_log_with_full_coverage_needs_no_caution() -> None:
    assert cautions(backtest({"adaptive": policy(), "always": policy(calls=[1_000] * 11, first=1_000)})) == []


def test_short_log_is_called_short() -> None:
    assert "4 panes scored after the first window, too few" in _said({"adaptive": policy(n_panes=4)})
    assert "less than 2 windows" in _said({"adaptive": policy(n_panes=5)})
    assert "short" not in _said({"adaptive": policy(n_panes=6)})


def test_few_transitions_are_called_few() -> None:
    assert "Only 960 transitions scored" in _said({"adaptive": policy(scored=80)})


def test_support_is_transitions_of_a_window_over_the_pairs_that_a_calendar_asks_for() -> None:
    made = backtest({"adaptive": policy(), "always": policy(calls=[2_000] * 11, first=1_000)}, transitions=45_000)
    assert window_panes(made) == 3
    assert math.isclose(support(made) or 0.0, 45_000 * 3 / 15 / (23_000 / 12))
    assert support(backtest({"adaptive": policy(calls=[9]), "backoff": policy()})) is None


def test_thin_pairs_are_called_thin() -> None:
    runs = {"adaptive": policy(), "never": policy(first=4_500)}
    assert "about 2.0 transitions each in a window" in _said(runs)
    assert "thin" not in _said(runs, transitions=450_000)


def test_coverage_is_named_where_it_makes_part_of_the_distance() -> None:
    assert "(always: 10.0 % of the transitions)" in _said(all_kinds(), transitions=10**6)
    assert "adaptive had no answer for 30.0 %" in _said({"adaptive": policy(coverage=0.7)})


def test_records_set_aside_are_named_beyond_one_in_a_hundred() -> None:
    outcomes = {"counted": 900, "negative": 60, "unknown_cluster": 30, "late": 10}
    said = _said({"adaptive": policy()}, outcomes=outcomes, events=1_000)
    assert "40 records of 1,000 were set aside (30 unknown cluster, 10 late)" in said
    assert "set aside" not in _said({"adaptive": policy()})


def test_drift_that_rests_on_few_pairs_is_said_to() -> None:
    window = {"window_end": "2022-05-03T00:00:00Z", "drift_mean": 0.5, "flagged_pairs": 0, "alarmed": False}
    windows = [window | {"pairs": n} for n in (0, 2, 9, 400)]
    assert "few pairs, 9 in a typical window" in _said({"adaptive": policy()}, drift=windows)
    assert "few pairs" not in _said({"adaptive": policy()}, drift=windows[3:])
