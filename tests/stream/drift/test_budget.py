from __future__ import annotations

import pytest

from stream.drift.budget import FalseAlarmBudget
from tidegate.errors import ConfigError


@pytest.mark.parametrize("windows", [10, 250, 1_000, 100_000])
def test_the_looks_together_spend_no_more_than_there_is(windows: float):
    budget = FalseAlarmBudget(windows)
    assert budget.window_p + budget.front_p + 1 / budget.course_windows < 1 / windows


@pytest.mark.parametrize("windows", [10, 1_000, 10_000, 100_000])
def test_there_are_permutations_enough_to_reach_each_level(windows: float):
    budget = FalseAlarmBudget(windows)
    assert 1 / (budget.table_permutations + 1) <= min(budget.window_p, budget.front_p)


@pytest.mark.parametrize("windows", [9.0, 100_001.0])
def test_a_budget_that_cannot_be_kept_is_refused(windows: float):
    with pytest.raises(ConfigError, match=r"--false-alarm-windows: one false alarm in .* windows"):
        FalseAlarmBudget(windows)
