"""What the adaptive policy buys, why, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence import Evidence
from refresh.policies import AdaptivePolicy, Plan, PolicyOptions, PolicyState
from refresh.table import TransitionTable
from tests.refresh.logs import (
    DAY_MS,
    LOG,
    N_CLUSTERS,
    NAMES,
    OWN,
    Log,
    counts_of,
    evidence_of,
    logs,
    report,
    seeds,
    table_with,
    table_with_backoff,
    view,
)
from tidegate.contracts import FrontDrift, Reason, Trigger

OPTIONS = PolicyOptions(price=1.0, horizon_windows=4.0, confidence_z=0.5)
EMPTY = TransitionTable.empty(NAMES, top_n=2)
# Four pairs that leave their backoff, with less and less traffic.
GRADED: Log = {(a, 1, 2): n for a, n in ((0, 60), (4, 45), (5, 30), (6, 15))} | {(7, 1, 3): 400}
GRADED_PAIRS = [a << 16 | 1 for a in (0, 4, 5, 6)]


def adaptive(**options: Any) -> AdaptivePolicy:
    return AdaptivePolicy(replace(OPTIONS, **options), top_n=2)


def reasons(plan: Plan) -> list[Reason]:
    return [row.reason for row in plan.order.rows] if plan.order else []


def test_the_first_table_buys_only_rows_that_beat_their_free_backoff():
    plan = adaptive().plan(view(LOG, None))
    assert plan.pairs.tolist() == [OWN]
    assert plan.retrieved.clusters[0, 0] == 2
    assert reasons(plan) == [Reason.FIRST_TABLE]
    assert plan.order is not None
    assert plan.order.trigger is Trigger.FIRST_TABLE
    assert (plan.order.order_id, plan.order.window_end_ms) == ("run-9", 10 * DAY_MS)
    assert plan.order.rows[0].replaces == 3


def test_the_first_table_is_ordered_even_where_no_row_pays():
    plan = adaptive(price=1e9).plan(view(LOG, None))
    assert plan.order is not None
    assert plan.order.rows == ()
    assert plan.backoff is not None


def test_a_pair_without_a_row_is_bought_at_first_sight():
    assert reasons(adaptive().plan(view(LOG, EMPTY))) == [Reason.FIRST_SIGHT]


def test_a_row_that_serves_the_fresh_answer_is_left_alone():
    plan = adaptive().plan(view(LOG, table_with(OWN, 2)))
    assert plan.order is None
    assert plan.explanation == "no row pays: nothing to refresh"


def test_a_row_that_was_asked_with_the_same_context_is_not_asked_again_whatever_it_answered():
    plan = adaptive().plan(view(LOG, table_with(OWN, 5, context=2)))
    assert plan.pairs.size == 0


def test_a_row_whose_answer_went_stale_is_bought_for_evidence():
    plan = adaptive().plan(view(LOG, table_with(OWN, 5)))
    assert reasons(plan) == [Reason.EVIDENCE]
    assert "1 by evidence" in plan.explanation


def test_drift_is_a_reason_only_for_flagged_pairs_of_a_window_that_drifts_itself():
    stale = table_with(OWN, 5)
    for alarmed, flagged, expected in (
        (True, ((0, 1),), Reason.DRIFT),
        (True, ((4, 1), (0, 1)), Reason.DRIFT),
        (False, ((0, 1),), Reason.EVIDENCE),
        (True, ((4, 1),), Reason.EVIDENCE),
        (True, (), Reason.EVIDENCE),
    ):
        plan = adaptive().plan(view(LOG, stale, report=report(alarmed=alarmed, flagged=flagged)))
        assert reasons(plan) == [expected], (alarmed, flagged)
        assert plan.inputs["alarmed"] == alarmed


def test_a_front_that_alarms_makes_drift_the_reason_before_the_window_does() -> None:
    stale = table_with(OWN, 5)
    flagged = report(alarmed=False, flagged=((0, 1),)).flagged
    for alarmed, expected in ((True, Reason.DRIFT), (False, Reason.EVIDENCE)):
        front = FrontDrift(
            transitions=65, pairs=1, table_z=9.0, table_p=1e-5, alarmed=alarmed, flagged_pairs=1, flagged=flagged
        )
        seen = msgspec.structs.replace(report(alarmed=False, flagged=()), front=front)
        assert reasons(adaptive().plan(view(LOG, stale, report=seen))) == [expected]


def test_drift_is_no_reason_for_a_pair_that_never_had_a_row_nor_for_a_first_table():
    drifting = report(alarmed=True, flagged=((0, 1),))
    assert reasons(adaptive().plan(view(LOG, EMPTY, report=drifting))) == [Reason.FIRST_SIGHT]
    assert reasons(adaptive().plan(view(LOG, None, report=drifting))) == [Reason.FIRST_TABLE]


def test_a_row_cools_down_unless_its_drift_is_proven():
    stale = table_with(OWN, 5, refreshed_ms=9 * DAY_MS)
    policy = adaptive(cooldown_panes=2)
    cooling = policy.plan(view(LOG, stale))
    assert cooling.pairs.size == 0
    assert cooling.inputs["rows_cooling_down"] == 1
    assert reasons(policy.plan(view(LOG, stale, report=report(alarmed=True, flagged=((0, 1),))))) == [Reason.DRIFT]
    for fewer in (0, 1):
        assert reasons(adaptive(cooldown_panes=fewer).plan(view(LOG, stale))) == [Reason.EVIDENCE]


def test_no_row_is_bought_above_its_gain():
    gain = adaptive(price=0.0).plan(view(LOG, None)).inputs["gain_hits"]
    assert isinstance(gain, float)
    assert gain > 10
    assert adaptive(price=gain * 1.01).plan(view(LOG, None)).pairs.size == 0
    assert adaptive(price=gain * 0.99).plan(view(LOG, None)).pairs.size == 1


@settings(max_examples=60, deadline=None)
@given(logs, st.floats(0, 20), st.floats(0, 20), st.sampled_from([None, EMPTY, table_with(OWN, 5)]))
def test_a_higher_price_never_buys_another_row(log: Log, one: float, other: float, table: TransitionTable | None):
    low, high = sorted((one, other))
    cheap, dear = (set(adaptive(price=price).plan(view(log, table)).pairs.tolist()) for price in (low, high))
    assert dear <= cheap


@settings(max_examples=60, deadline=None)
@given(logs, st.floats(0, 3), st.floats(0, 3), st.sampled_from([table_with(OWN, 5), table_with(2 << 16 | 3, 4)]))
def test_a_wider_bound_never_replaces_another_row_that_serves(
    log: Log, one: float, other: float, table: TransitionTable
):
    low, high = sorted((one, other))
    bold, careful = (
        set(adaptive(confidence_z=z, price=0.1).plan(view(log, table)).pairs.tolist()) & set(table.pairs.tolist())
        for z in (low, high)
    )
    assert careful <= bold


def test_the_bound_is_for_rows_that_serve_only():
    """A pair without a row is weighed as it stands: its share is shrunk toward what serves it already."""
    near: Log = {(0, 1, 2): 6, (0, 1, 3): 3, (4, 1, 3): 9, (5, 1, 3): 9, (6, 1, 3): 9}
    for z in (0.0, 9.0):
        assert OWN in adaptive(confidence_z=z, price=0.01).plan(view(near, EMPTY)).pairs
    assert OWN in adaptive(confidence_z=0.0, price=0.01).plan(view(near, table_with(OWN, 3))).pairs
    assert OWN not in adaptive(confidence_z=9.0, price=0.01).plan(view(near, table_with(OWN, 3))).pairs


def test_a_row_that_its_backoff_serves_better_is_dropped_without_a_call():
    plan = adaptive().plan(view({(4, 1, 3): 60, (5, 1, 3): 60}, table_with(4 << 16 | 1, 2)))
    assert plan.order is not None
    assert plan.order.rows == ()
    assert plan.order.retired == ((4, 1),)
    assert plan.inputs["rows_retired"] == 1


def test_the_backoff_is_kept_fresh_at_every_pane():
    plan = adaptive().plan(view(LOG, table_with(OWN, 2)))
    assert plan.backoff is not None
    assert plan.backoff.clusters[1].tolist() == [3, 2]


# --- budgets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [None, EMPTY])
@pytest.mark.parametrize("most", [0, 1, 2, 3, 9])
def test_a_refresh_keeps_to_its_budget_and_the_rows_that_gain_the_most_go_first(
    table: TransitionTable | None, most: int
):
    plan = adaptive(price=0.1, max_calls=most).plan(view(GRADED, table))
    assert plan.pairs.tolist() == GRADED_PAIRS[:most]
    assert plan.inputs["rows_over_budget"] == max(0, 4 - most)
    assert plan.inputs["rows_bought"] == min(most, 4)


def test_calls_of_the_last_day_count_against_the_days_budget_and_older_ones_do_not():
    policy = adaptive(price=0.1, max_calls_per_day=3)
    hourly = {"pane_ms": DAY_MS // 24, "pane": 100}
    for calls, left in ((((99, 1), (90, 1)), 1), (((77, 2),), 1), (((76, 2),), 3), (((99, 5),), 0)):
        plan = policy.plan(view(GRADED, EMPTY, state=PolicyState(calls=calls), **hourly))
        assert plan.pairs.size == left, calls
        assert plan.state.calls[-1] == (100, left)
        assert all(100 - pane < 24 for pane, _ in plan.state.calls)


def test_the_smaller_of_the_two_budgets_binds():
    for per_refresh, per_day, bought in ((1, 3, 1), (3, 1, 1), (2, 2, 2)):
        policy = adaptive(price=0.1, max_calls=per_refresh, max_calls_per_day=per_day)
        assert policy.plan(view(GRADED, EMPTY)).pairs.size == bought


def test_the_first_table_is_left_out_of_the_days_budget():
    policy = adaptive(price=0.1, max_calls_per_day=1)
    first = policy.plan(view(GRADED, None))
    assert first.pairs.size == 4
    assert first.state.calls == ()


def test_over_many_panes_no_day_exceeds_its_budget():
    """Whatever the log: 40 panes of six hours, a fresh world at each."""
    rng, state, ordered = np.random.default_rng(1), PolicyState(), []
    policy = adaptive(price=0.0, max_calls_per_day=7, max_calls=4)
    for pane in range(40):
        log = {tuple(rng.permutation(N_CLUSTERS)[:3].tolist()): int(rng.integers(1, 40)) for _ in range(40)}
        plan = policy.plan(view(log, EMPTY, pane=pane, pane_ms=DAY_MS // 4, state=state))
        state = plan.state
        ordered.append(plan.pairs.size)
    assert max(ordered) == 4
    assert max(sum(ordered[at : at + 4]) for at in range(37)) == 7


# --- known rows ----------------------------------------------------------------------------------------------------


def knowing(*known: tuple[int, int]) -> Any:
    """Rows that were inferred before: (pair, retrieved cluster)."""
    return lambda pairs, retrieved: np.array(
        [(int(p), int(c)) in known for p, c in zip(pairs, retrieved, strict=True)], np.bool_
    )


def test_a_known_row_costs_nothing_and_is_taken_below_the_price_and_beyond_the_budget():
    for options in ({"price": 1e9}, {"price": 0.1, "max_calls": 0}, {"price": 0.1, "max_calls_per_day": 0}):
        plan = adaptive(**options).plan(view(LOG, EMPTY, is_known=knowing((OWN, 2))))
        assert plan.pairs.tolist() == [OWN]
        assert (plan.inputs["rows_known"], plan.inputs["rows_bought"]) == (1, 0)
        assert plan.state.calls == ((9, 0),)
        assert "1 of them known, no call" in plan.explanation


def test_a_row_that_is_known_with_another_context_is_not():
    assert adaptive(price=1e9).plan(view(LOG, EMPTY, is_known=knowing((OWN, 3)))).pairs.size == 0


def test_a_known_row_that_gains_nothing_is_left():
    everything = lambda pairs, _: np.ones(pairs.shape[0], np.bool_)  # noqa: E731
    plan = adaptive(price=0.0).plan(view(LOG, table_with(OWN, 2), is_known=everything))
    assert plan.pairs.size == 0


def test_known_rows_leave_the_budget_to_the_others():
    plan = adaptive(price=0.1, max_calls=2).plan(view(GRADED, EMPTY, is_known=knowing((GRADED_PAIRS[0], 2))))
    assert plan.pairs.tolist() == GRADED_PAIRS[:3]
    assert (plan.inputs["rows_known"], plan.inputs["rows_bought"]) == (1, 2)


# --- realised gains ------------------------------------------------------------------------------------------------


def test_gains_that_did_not_come_true_raise_the_bar():
    gain = adaptive(price=0.0).plan(view(LOG, EMPTY)).inputs["gain_hits"]
    assert isinstance(gain, float)
    policy = adaptive(price=gain / 2)
    assert policy.plan(view(LOG, EMPTY)).pairs.size == 1
    disappointed = PolicyState(expected_hits=2_000.0, realised_hits=100.0, exposed_hits=500.0)
    plan = policy.plan(view(LOG, EMPTY, state=disappointed))
    assert plan.pairs.size == 0
    assert isinstance(plan.inputs["realised_share"], float)
    assert plan.inputs["realised_share"] < 0.2


def test_what_was_expected_of_the_rows_ordered_is_remembered_for_the_next_pane():
    plan = adaptive().plan(view(LOG, EMPTY))
    evidence = Evidence.of_counts(counts_of(LOG), seeds())
    shares = evidence.share(np.array([OWN, OWN]), np.array([2, 3], np.int32))
    expected = (shares[0] - shares[1]) * evidence.traffic(np.array([OWN]))[0]
    assert plan.state.placed_hits == pytest.approx(expected)


# --- rows of c2 that cost calls ------------------------------------------------------------------------------------


def backoff_orders(plan: Plan) -> dict[int, Reason]:
    return {row.c2: row.reason for row in plan.order.rows if row.c1 == -1} if plan.order else {}


def test_rows_of_c2_can_be_bought_like_any_row():
    plan = adaptive(infers_backoff=True).plan(view(LOG, None))
    assert plan.backoff is None
    assert backoff_orders(plan) == {1: Reason.FIRST_TABLE}
    assert plan.backoff_c2.tolist() == [1]
    assert plan.backoff_retrieved.clusters[0, 0] == 3
    assert backoff_orders(adaptive(infers_backoff=True).plan(view(LOG, EMPTY))) == {1: Reason.FIRST_SIGHT}


def test_a_row_of_c2_is_bought_again_only_when_it_went_stale_and_pays():
    policy = adaptive(infers_backoff=True)
    assert backoff_orders(policy.plan(view(LOG, table_with_backoff(3)))) == {}
    assert backoff_orders(policy.plan(view(LOG, table_with_backoff(5)))) == {1: Reason.EVIDENCE}
    dear = adaptive(infers_backoff=True, price=1e6)
    assert backoff_orders(dear.plan(view(LOG, table_with_backoff(5)))) == {}


def test_a_row_of_c2_is_weighed_by_the_pairs_that_it_answers():
    """A pair with a row of its own takes its traffic away from its backoff."""
    alone: Log = {(4, 1, 3): 60}
    policy = adaptive(infers_backoff=True)
    assert backoff_orders(policy.plan(view(alone, table_with(4 << 16 | 1, 3)))) == {}
    assert backoff_orders(policy.plan(view(alone, EMPTY))) == {1: Reason.FIRST_SIGHT}


def test_rows_of_c2_come_out_of_the_same_budget():
    plan = adaptive(infers_backoff=True, price=0.1, max_calls=3).plan(view(GRADED, EMPTY))
    assert plan.backoff_c2.size + plan.pairs.size == 3
    assert plan.state.calls == ((9, 3),)


def test_rows_of_c2_alone_do_not_exceed_the_budget():
    log: Log = {(0, 1, 3): 60, (0, 2, 4): 50, (0, 3, 5): 40}
    plan = adaptive(infers_backoff=True, price=0.1, max_calls=1).plan(view(log, EMPTY))
    assert plan.backoff_c2.size + plan.pairs.size == 1


# --- purity --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(logs, st.sampled_from([None, EMPTY, table_with(OWN, 5)]), st.booleans())
def test_equal_views_give_equal_plans(log: Log, table: TransitionTable | None, infers_backoff: bool):
    plans = [AdaptivePolicy(replace(OPTIONS, infers_backoff=infers_backoff)).plan(view(log, table)) for _ in range(2)]
    assert msgspec.json.encode(plans[0].order) == msgspec.json.encode(plans[1].order)
    assert plans[0].inputs == plans[1].inputs
    assert plans[0].state == plans[1].state
    assert plans[0].explanation == plans[1].explanation
    assert plans[0].pairs.tolist() == plans[1].pairs.tolist()
    assert plans[0].retrieved.clusters.tobytes() == plans[1].retrieved.clusters.tobytes()
    assert plans[0].retrieved.shares.tobytes() == plans[1].retrieved.shares.tobytes()


def test_the_inputs_say_how_the_evidence_looked_at_the_past():
    evidence = evidence_of([LOG, LOG, LOG])
    inputs = adaptive().plan(view(LOG, EMPTY, evidence=evidence)).inputs
    assert inputs["memory_panes"] == evidence.spans.lengths[evidence.pair_setting.length]
    assert inputs["concentration"] == evidence.pair_setting.strength
