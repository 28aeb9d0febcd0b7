"""When baselines refresh everything, computed by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from refresh.policies import PolicyState, View
from refresh.policies.triggers import (
    Budget,
    Calendar,
    CumulativeStaleness,
    HitRateCusum,
    RawJaccard,
    Trigger,
    after_refresh,
    stale_hits_per_pane,
)
from refresh.table import TransitionTable
from tests.refresh.logs import NAMES, OWN, Log, evidence_of, report, table_with, view

EMPTY = TransitionTable.empty(NAMES, top_n=2)
LOG: Log = {(0, 1, 2): 60, (0, 1, 3): 6}


def course(trigger: Trigger, views: list[View]) -> tuple[list[bool], PolicyState]:
    """Go through views, with the state that each leaves; True where a refresh is due."""
    state, due = PolicyState(), []
    for each in views:
        is_due, state = trigger.observe(View(**{**_parts(each), "state": state}))
        due.append(is_due)
        state = after_refresh(state) if is_due and not isinstance(trigger, Budget) else state
    return due, state


def _parts(each: View) -> dict[str, Any]:
    return {name: getattr(each, name) for name in View.__dataclass_fields__}


@pytest.mark.parametrize(("every", "due"), [(0, []), (1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3])])
def test_calendars_are_due_after_the_first_table(every: int, due: list[int]):
    views = [view(LOG, EMPTY, panes_since_first_table=since) for since in range(1, 5)]
    assert [at + 1 for at, is_due in enumerate(course(Calendar(every), views)[0]) if is_due] == due


def test_raw_jaccard_is_due_below_its_threshold_and_never_without_a_report():
    means = [0.5, 0.4, 0.39, 0.1]
    views = [view(LOG, EMPTY, report=report(alarmed=False, flagged=(), jaccard_mean=mean)) for mean in means]
    assert course(RawJaccard(0.4), views)[0] == [False, False, True, True]
    assert course(RawJaccard(1.0), [view(LOG, EMPTY)])[0] == [False]


def hits(*pairs: tuple[int, int]) -> list[View]:
    return [view(LOG, EMPTY, hits=n, scored=scored) for n, scored in pairs]


def test_cusum_adds_up_what_the_hit_rate_falls_below_its_level():
    # Level 0.5 after the first pane; 0.4 of 100 is two deviations below (sqrt(.25 / 100) = 0.05), 1.5 beyond the slack.
    due, state = course(HitRateCusum(slack=0.5, threshold=5.0), hits((50, 100), (40, 100), (40, 100), (40, 100)))
    assert due == [False] * 4
    assert state.statistic == pytest.approx(4.5)
    assert state.level == 0.5
    due, state = course(HitRateCusum(slack=0.5, threshold=5.0), hits((50, 100), *[(40, 100)] * 4))
    assert due == [False, False, False, False, True]
    assert (state.statistic, state.level, state.n_panes_since_refresh) == (0.0, None, 0)


def test_cusum_forgets_losses_that_were_made_good_and_learns_its_level_meanwhile():
    # 1.5 after the second pane, back to 0 at the third, whose rate then enters the level.
    level = 0.5 + 0.1 / 3
    _, state = course(HitRateCusum(), hits((50, 100), (40, 100), (60, 100)))
    assert (state.statistic, state.level) == (0.0, pytest.approx(level))
    due, state = course(HitRateCusum(), hits((50, 100), (40, 100), (60, 100), (50, 100)))
    assert due == [False] * 4
    assert state.statistic == pytest.approx((level - 0.5) / math.sqrt(level * (1 - level) / 100) - 0.5)


def test_cusum_learns_nothing_of_a_pane_that_was_not_scored():
    due, state = course(HitRateCusum(), hits((0, 0), (50, 100), (0, 0)))
    assert due == [False] * 3
    assert (state.level, state.n_panes_since_refresh) == (0.5, 1)


def test_cusum_bears_a_level_of_nothing_and_of_everything():
    assert course(HitRateCusum(), hits((0, 10), (0, 10), (5, 10)))[0] == [False] * 3
    assert course(HitRateCusum(), hits((10, 10), (10, 10), (5, 10)))[0] == [False, False, True]


def test_staleness_is_what_the_plain_top_one_would_have_hit_more():
    assert stale_hits_per_pane(view(LOG, table_with(OWN, 3))) == 60 - 6
    assert stale_hits_per_pane(view(LOG, table_with(OWN, 2))) == 0
    assert stale_hits_per_pane(view(LOG, table_with(OWN, 5))) == 60
    assert stale_hits_per_pane(view(LOG, EMPTY)) == 60  # no answer hits nothing
    two_panes = evidence_of([LOG, LOG], lengths=(1, 2), window_panes=2)
    assert stale_hits_per_pane(view(LOG, EMPTY, evidence=two_panes)) == 30


def test_nothing_is_stale_before_a_table_or_without_transitions():
    assert stale_hits_per_pane(view(LOG, None)) == 0
    assert stale_hits_per_pane(view({}, EMPTY)) == 0


def test_cara_is_due_when_the_hits_lost_add_up_to_the_price_of_a_refresh():
    log = LOG | {(4, 1, 3): 10}  # two pairs, so a refresh is two calls; 54 hits a pane are lost on the first
    stale = [view(log, table_with(OWN, 3, context=3))] * 4
    lost = stale_hits_per_pane(stale[0])
    assert lost == 54 + 10
    due, state = course(CumulativeStaleness(price=lost), stale)
    assert due == [False, True, False, True]
    assert state.statistic == 0.0
    assert course(CumulativeStaleness(price=lost / 2), stale)[0] == [True] * 4
    assert course(CumulativeStaleness(price=1e9), stale) == ([False] * 4, PolicyState(statistic=4 * lost))


@pytest.mark.parametrize(("calls_per_window", "gaps"), [(2, {2}), (4, {1}), (1, {4})])
def test_a_budget_spends_no_more_than_it_was_granted(calls_per_window: int, gaps: set[int]):
    """A refresh costs two calls, a window is two panes: staleness is the same at each, so it is saved up and spent."""
    log = LOG | {(4, 1, 3): 10}
    trigger = Budget(calls_per_window, window_panes=2)
    due, state = course(trigger, [view(log, table_with(OWN, 3))] * 12)
    at = [pane for pane, is_due in enumerate(due) if is_due]
    assert {later - earlier for earlier, later in pairwise(at)} == gaps
    assert len(at) * 2 + state.statistic == pytest.approx(12 * calls_per_window / 2)


def test_a_budget_waits_for_a_pane_that_is_staler_than_usual_unless_much_is_saved():
    log = LOG | {(4, 1, 3): 10}
    fresh, stale = view(log, table_with(OWN, 2)), view(log, table_with(OWN, 3))
    trigger = Budget(2, window_panes=2)
    # Saved 1, 2 (less stale than usual: waits), 3 (enough to go in any case).
    assert course(trigger, [stale, fresh, fresh])[0] == [False, False, True]
    assert course(trigger, [fresh, stale])[0] == [False, True]


def test_a_budget_does_not_save_up_for_ever():
    trigger = Budget(2, window_panes=2)
    state = PolicyState(statistic=1e6)
    is_due, after = trigger.observe(view(LOG | {(4, 1, 3): 10}, EMPTY, state=state))
    assert is_due
    assert after.statistic <= 4


def test_after_a_refresh_only_what_triggers_accumulate_starts_over():
    before = PolicyState(expected_hits=3.0, calls=((1, 2),), statistic=9.0, level=0.5, n_panes_since_refresh=7)
    assert after_refresh(before) == PolicyState(expected_hits=3.0, calls=((1, 2),))
