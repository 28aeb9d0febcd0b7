"""After an order that was not published: what is remembered, and how long the next one waits."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from refresh.policies import AdaptivePolicy, PolicyOptions, PolicyState, open_policy
from refresh.policies.holding import after_failure, after_success, held
from tests.refresh.logs import DAY_MS, LOG, OWN, table_with, view
from tidegate.contracts import Trigger


def failed_at(pane: int, before: PolicyState, left: PolicyState | None = None, calls: int = 0) -> PolicyState:
    return after_failure(left or before, before, pane=pane, llm_calls=calls, window_panes=6)


def test_waits_double_up_to_a_window_and_end_with_a_success() -> None:
    state, waits = PolicyState(), []
    for pane in range(10, 60, 10):
        state = failed_at(pane, state)
        waits.append(state.held_until_pane - pane)
    assert waits == [1, 2, 4, 6, 6]
    assert state.n_failed_orders == 5
    assert after_success(state) == PolicyState()


def test_nothing_is_expected_of_rows_that_do_not_serve_and_calls_are_those_that_were_made() -> None:
    before = PolicyState(expected_hits=3.0, calls=((8, 4),))
    left = msgspec.structs.replace(before, placed_hits=9.0, calls=((8, 4), (9, 100)))
    state = failed_at(9, before, left, calls=7)
    assert (state.placed_hits, state.calls, state.expected_hits) == (0.0, ((8, 4), (9, 7)), 3.0)


def test_a_trigger_that_was_reset_stays_due_and_a_budget_stays_spent() -> None:
    before = PolicyState(statistic=6.5, level=0.2, n_panes_since_refresh=5)
    reset = msgspec.structs.replace(before, statistic=0.0, level=None, n_panes_since_refresh=0)
    state = failed_at(9, before, reset)
    assert (state.statistic, state.level, state.n_panes_since_refresh) == (6.5, 0.2, 5)
    spent = msgspec.structs.replace(before, statistic=1.5)
    assert failed_at(9, before, spent).statistic == 1.5


@pytest.mark.parametrize("name", ["adaptive", "always", "always+own"])
def test_no_order_is_placed_while_they_wait_but_free_rows_are_kept_fresh(name: str) -> None:
    policy = open_policy(name, DAY_MS, PolicyOptions())
    waiting = PolicyState(n_failed_orders=3, held_until_pane=12)
    seen = view(LOG, table_with(OWN, 5), state=waiting)  # pane 9
    plan = policy.plan(seen)
    assert plan.order is not None
    kept = held(plan, seen)
    assert (kept.order, kept.pairs.size, kept.backoff_c2.size, len(kept.retrieved.clusters)) == (None, 0, 0, 0)
    assert kept.backoff is plan.backoff
    assert kept.explanation.startswith("no order for 3 more panes, since the last 3 were not published; else: ")
    assert (kept.inputs["failed_orders"], kept.inputs["held_panes"]) == (3, 3)
    assert (kept.state.n_failed_orders, kept.state.held_until_pane, kept.state.calls) == (3, 12, ())
    later = replace(seen, pane=12)
    assert held(plan, later) is plan


def test_without_a_table_nothing_is_done_while_orders_wait() -> None:
    seen = view(LOG, None, state=PolicyState(n_failed_orders=2, held_until_pane=11))
    kept = held(AdaptivePolicy().plan(seen), seen)
    assert (kept.order, kept.backoff) == (None, None)


def test_a_persons_order_does_not_wait() -> None:
    seen = view(LOG, table_with(OWN, 5), state=PolicyState(n_failed_orders=2, held_until_pane=11))
    plan = AdaptivePolicy().plan(seen)
    assert plan.order is not None
    by_hand = replace(plan, order=msgspec.structs.replace(plan.order, trigger=Trigger.OPERATOR))
    assert held(by_hand, seen) is by_hand


def test_a_plan_without_an_order_is_left_alone() -> None:
    seen = view(LOG, table_with(OWN, 5), state=PolicyState(n_failed_orders=2, held_until_pane=11))
    plan = open_policy("never", DAY_MS, PolicyOptions()).plan(seen)
    assert plan.order is None
    assert held(plan, seen) is plan
