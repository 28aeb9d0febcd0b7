"""New weights: every row is asked anew, and what the policy planned is not lost."""

from __future__ import annotations

import numpy as np
import pytest

from refresh.policies import AdaptivePolicy, PolicyOptions, PolicyState, open_policy
from refresh.policies.anew import asked_anew
from refresh.policies.plan import within_codebook
from refresh.table_rows import BackoffRows
from tests.refresh.logs import DAY_MS, LOG, OWN, table_with, table_with_backoff, view
from tidegate.contracts import Reason, Trigger

OTHER = 4 << 16 | 1
POLICY = AdaptivePolicy(PolicyOptions(price=1.0), top_n=2)


def test_a_row_that_its_policy_leaves_alone_is_asked_anew_with_its_fresh_line():
    seen = view(LOG, table_with(OWN, 2))
    plan = POLICY.plan(seen)
    assert plan.order is None
    anew = asked_anew(plan, seen, 2)
    assert anew.order is not None
    assert (anew.order.trigger, anew.order.order_id) == (Trigger.FINE_TUNE, seen.order_id)
    assert [(row.c1, row.c2, row.reason, row.replaces) for row in anew.order.rows] == [(0, 1, Reason.FINE_TUNE, 2)]
    assert anew.pairs.tolist() == [OWN]
    assert anew.retrieved.clusters[:, 0].tolist() == [2]
    assert anew.inputs["rows_anew"] == 1
    assert anew.backoff is plan.backoff


def test_rows_that_the_policy_orders_keep_what_is_expected_of_them():
    seen = view(LOG, table_with(OTHER, 3))
    plan = POLICY.plan(seen)
    anew = asked_anew(plan, seen, 2)
    assert plan.order is not None
    assert anew.order is not None
    assert plan.pairs.tolist() == [OWN]
    assert anew.pairs.tolist() == [OWN, OTHER]
    assert anew.order.rows[0] == plan.order.rows[0]
    assert (anew.order.rows[1].reason, anew.order.rows[1].gain_hits) == (Reason.FINE_TUNE, 0.0)
    replaced = asked_anew(POLICY.plan(view(LOG, table_with(OWN, 5))), view(LOG, table_with(OWN, 5)), 2)
    assert replaced.order is not None
    assert replaced.order.rows[0].reason is Reason.FINE_TUNE
    assert replaced.order.rows[0].gain_hits > 0


def test_rows_that_the_policy_drops_stay_dropped():
    seen = view(LOG, table_with(OTHER, 2))
    plan = POLICY.plan(seen)
    anew = asked_anew(plan, seen, 2)
    assert plan.order is not None
    assert anew.order is not None
    assert plan.order.retired == anew.order.retired == ((4, 1),)
    assert OTHER not in anew.pairs.tolist()


def test_rows_of_c2_that_a_model_answered_are_asked_anew_too():
    policy = AdaptivePolicy(PolicyOptions(price=1e9, infers_backoff=True), top_n=2)
    seen = view(LOG, table_with_backoff(3))
    anew = asked_anew(policy.plan(seen), seen, 2)
    assert anew.order is not None
    assert [(row.c1, row.c2, row.reason) for row in anew.order.rows] == [(-1, 1, Reason.FINE_TUNE)]
    assert anew.backoff_c2.tolist() == [1]
    assert anew.backoff_retrieved.clusters[:, 0].tolist() == [3]


def test_rows_of_c2_that_come_from_the_counts_cost_no_call():
    counted = BackoffRows(
        np.array([1], np.int32),
        np.array([[3, -1]], np.int32),
        np.zeros((1, 2), np.float32),
        np.zeros((1, 2), np.uint64),
    )
    seen = view(LOG, table_with(OWN, 2).with_changes(backoff=counted))
    assert asked_anew(POLICY.plan(seen), seen, 2).backoff_c2.size == 0


@pytest.mark.parametrize("name", ["always+own", "never"])
def test_a_calendar_asks_the_rows_that_serve_beside_those_of_the_window(name: str):
    gone = 6 << 16 | 2  # no transition of the window
    seen = view(LOG, table_with(gone, 3))
    plan = open_policy(name, DAY_MS, PolicyOptions(), 2).plan(seen)
    anew = asked_anew(plan, seen, 2)
    assert anew.order is not None
    assert anew.order.trigger is Trigger.FINE_TUNE
    assert anew.order.all_rows == (plan.order is not None)
    assert anew.pairs.tolist() == sorted({gone, *plan.pairs.tolist()})
    assert anew.retrieved.clusters.shape[0] == anew.pairs.shape[0]


def test_what_came_true_of_earlier_rows_is_forgotten_with_the_weights_that_answered_them():
    seen = view(LOG, table_with(OWN, 2), state=PolicyState(expected_hits=900.0, realised_hits=10.0, exposed_hits=90.0))
    anew = asked_anew(POLICY.plan(seen), seen, 2)
    assert (anew.state.expected_hits, anew.state.realised_hits, anew.state.exposed_hits) == (0.0, 0.0, 0.0)


def test_without_a_table_the_plan_stays_as_it_is():
    seen = view(LOG, None)
    plan = POLICY.plan(seen)
    assert asked_anew(plan, seen, 2) is plan


def test_rows_beyond_the_codebook_are_left_out_as_ever():
    seen = view(LOG, table_with(OWN, 2))
    within = within_codebook(asked_anew(POLICY.plan(seen), seen, 2), 1)
    assert within.order is not None
    assert within.order.rows == ()
