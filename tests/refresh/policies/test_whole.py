"""Policies that refresh everything or nothing, in the paper's frame and in ours."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from refresh.policies import Plan, PolicyOptions, PolicyState, open_policy
from refresh.table import TransitionTable
from tests.refresh.logs import DAY_MS, LOG, NAMES, OWN, Log, counts_of, table_with, view
from tidegate.contracts import Trigger

EMPTY = TransitionTable.empty(NAMES, top_n=2)
THIN: Log = LOG | {(7, 1, 5): 1}
WHOLE = ["never", "always", "every:2", "every:2d", "jaccard:0.3", "cusum", "cara", "cara:2.5", "budget:9"]


def plan(text: str, table: TransitionTable | None = EMPTY, log: Log = THIN, **parts: object) -> Plan:
    return open_policy(text, DAY_MS, PolicyOptions()).plan(view(log, table, **parts))


@pytest.mark.parametrize("suffix", ["", "+own"])
@pytest.mark.parametrize("text", WHOLE)
def test_everyone_asks_for_all_pairs_of_the_window_for_the_first_table(text: str, suffix: str):
    first = plan(text + suffix, None)
    assert first.pairs.tolist() == counts_of(THIN).pairs.tolist()
    assert first.order is not None
    assert (first.order.trigger, first.order.all_rows) == (Trigger.FIRST_TABLE, True)


def test_the_papers_frame_asks_with_the_plain_top_one_and_touches_no_backoff():
    always = plan("always")
    assert always.retrieved.clusters[-1, 0] == 5  # one sight is enough for the paper's retrieval
    assert always.backoff is None
    assert always.replaces_rows
    assert always.order is not None
    assert always.order.trigger is Trigger.SCHEDULE


def test_our_frame_asks_with_shrunk_shares_and_keeps_the_backoff_fresh():
    alike: Log = {(4, 1, 3): 60, (5, 1, 3): 55, (6, 1, 3): 50, (6, 1, 2): 8, (7, 1, 5): 1}
    always = plan("always+own", log=alike)
    assert always.retrieved.clusters[-1, 0] == 3  # one sight is not enough against all the others
    assert always.backoff is not None
    assert always.backoff.clusters[1, 0] == 3
    assert not always.replaces_rows


def test_our_frame_keeps_the_backoff_fresh_also_where_nothing_is_due():
    for text, is_kept in (("never", False), ("never+own", True)):
        waiting = plan(text)
        assert waiting.order is None
        assert waiting.pairs.size == 0
        assert (waiting.backoff is not None) == is_kept
        assert waiting.explanation == "not due"


def test_the_most_popular_cluster_answers_everything_but_itself():
    popular = plan("popular")
    assert popular.pairs.size == 0
    assert popular.backoff is not None
    assert popular.backoff.clusters[:, 0].tolist() == [3, 3, 3, -1, 3, 3, 3, 3]
    assert popular.backoff.shares[0, 0] == pytest.approx(185 / 246)
    assert popular.order is None


@pytest.mark.parametrize(("text", "unseen"), [("backoff", -1), ("backoff+own", 3)])
def test_the_fresh_backoff_is_one_policy_by_itself(text: str, unseen: int):
    backoff = plan(text)
    assert backoff.pairs.size == 0
    assert backoff.backoff is not None
    assert backoff.backoff.clusters[1, :2].tolist() == [3, 2]
    assert backoff.backoff.clusters[6, 0] == unseen
    assert backoff.order is None


@pytest.mark.parametrize("text", ["popular", "backoff", "backoff+own"])
def test_policies_without_rows_order_the_first_table_all_the_same(text: str):
    first = plan(text, None)
    assert first.order is not None
    assert first.order.trigger is Trigger.FIRST_TABLE
    assert first.order.rows == ()


def test_no_transitions_have_no_most_popular_cluster():
    popular = plan("popular", None, {})
    assert popular.backoff is not None
    assert np.all(popular.backoff.clusters == -1)


def test_a_refresh_starts_what_its_trigger_accumulates_over():
    state = PolicyState(statistic=1e9, level=0.5)
    assert plan("cara", table_with(OWN, 3), state=state).state == PolicyState()
    kept = plan("cara:1e9", table_with(OWN, 3), state=state).state
    assert kept.statistic >= 1e9


def test_a_budget_keeps_what_it_has_saved_beyond_a_refresh():
    state = PolicyState(statistic=5.5)
    assert plan("budget:1", table_with(OWN, 3), state=state).state.statistic > 0


@pytest.mark.parametrize("text", [*WHOLE, "popular", "backoff", "always+own", "cusum+own", "backoff+own"])
@pytest.mark.parametrize("table", [None, EMPTY, table_with(OWN, 3)])
def test_equal_views_give_equal_plans(text: str, table: TransitionTable | None):
    one, other = (plan(text, table, scored=100, hits=40, state=PolicyState(statistic=2.0)) for _ in range(2))
    assert msgspec.json.encode(one.order) == msgspec.json.encode(other.order)
    assert (one.inputs, one.explanation, one.state) == (other.inputs, other.explanation, other.state)
    assert one.pairs.tolist() == other.pairs.tolist()
    assert one.retrieved.clusters.tobytes() == other.retrieved.clusters.tobytes()
