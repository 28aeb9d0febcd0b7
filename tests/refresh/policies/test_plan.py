"""Plans, their counts of reasons, and what the codebook cuts off."""

from __future__ import annotations

from refresh.policies import AdaptivePolicy, PolicyOptions, open_policy
from refresh.policies.plan import reason_counts, within_codebook
from refresh.table import TransitionTable
from tests.refresh.logs import DAY_MS, LOG, NAMES, OWN, table_with, view

POLICY = AdaptivePolicy(PolicyOptions(price=1.0))


def test_reasons_are_counted_with_the_rows_that_were_dropped():
    assert reason_counts(POLICY.plan(view(LOG, None))) == {"first_table": 1}
    dropping = POLICY.plan(view({(4, 1, 3): 60, (5, 1, 3): 60}, table_with(4 << 16 | 1, 2)))
    assert reason_counts(dropping) == {"retired": 1}
    assert reason_counts(POLICY.plan(view(LOG, table_with(OWN, 2)))) == {}
    assert reason_counts(open_policy("always", DAY_MS, PolicyOptions()).plan(view(LOG, None))) == {"first_table": 4}


def test_rows_beyond_the_codebook_are_left_to_their_backoff():
    plan = POLICY.plan(view({**LOG, (2, 7, 6): 60, (3, 7, 5): 60}, None))
    assert OWN in plan.pairs
    assert plan.pairs.size > 1
    cut = within_codebook(plan, capacity=7)
    assert cut.pairs.tolist() == [OWN]
    assert cut.retrieved.clusters.shape[0] == 1
    assert cut.order is not None
    assert [(row.c1, row.c2) for row in cut.order.rows] == [(0, 1)]
    assert cut.inputs["rows_beyond_codebook"] == plan.pairs.size - 1
    assert within_codebook(plan, capacity=8) is plan


def test_rows_whose_answer_has_no_code_are_left_too():
    plan = POLICY.plan(view({(0, 1, 7): 60, (4, 1, 3): 60, (5, 1, 3): 60, (6, 1, 3): 60}, None))
    assert plan.pairs.tolist() == [OWN]
    assert within_codebook(plan, capacity=7).pairs.size == 0


def test_rows_of_c2_beyond_the_codebook_are_left_too():
    policy = AdaptivePolicy(PolicyOptions(price=1.0, infers_backoff=True))
    plan = policy.plan(view({(0, 1, 2): 60, (0, 7, 2): 60}, TransitionTable.empty(NAMES, top_n=2)))
    assert set(plan.backoff_c2.tolist()) >= {1, 7}
    cut = within_codebook(plan, capacity=7)
    assert 7 not in cut.backoff_c2
    assert cut.backoff_retrieved.clusters.shape[0] == cut.backoff_c2.size
    assert cut.order is not None
    assert all(row.c2 != 7 for row in cut.order.rows)


def test_whole_orders_have_no_rows_to_cut():
    plan = open_policy("always", DAY_MS, PolicyOptions()).plan(view({**LOG, (2, 7, 6): 60}, None))
    cut = within_codebook(plan, capacity=7)
    assert cut.pairs.size == plan.pairs.size - 1
    assert cut.order == plan.order
