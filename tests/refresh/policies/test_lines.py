"""Which line the rows of a plan are asked with, and what that means for what is bought."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refresh.evidence import Ranked
from refresh.policies import AdaptivePolicy, PolicyOptions, open_policy
from refresh.policies.plan import within_codebook
from refresh.retrieval import Kind, Level, Retrieval
from tests.refresh.logs import DAY_MS, LOG, OWN, Log, counts_of, evidence_of, table_with, view

GLOBAL = Retrieval(level=Level.GLOBAL)
TREND = Retrieval(kind=Kind.TREND, min_support=1)
POLICY = AdaptivePolicy(PolicyOptions(price=1.0))
# The whole log's most frequent successor is 3, which OWN's pair itself is followed by less often than by 2.
MIXED: Log = LOG | {(4, 5, 3): 900}


def test_by_default_lines_are_the_evidences_own() -> None:
    seen = view(LOG, None)
    plan = POLICY.plan(seen)
    expected = evidence_of([LOG], lengths=(1,)).rank(plan.pairs, 5)
    np.testing.assert_array_equal(plan.retrieved.clusters, seen.evidence.rank(plan.pairs, 5).clusters)
    assert plan.retrieved.clusters.shape == expected.clusters.shape


def test_the_global_line_is_everybodys_and_the_answer_is_still_weighed_by_the_pairs_evidence() -> None:
    plan = POLICY.plan(view(MIXED, None, retrieval=GLOBAL))
    assert OWN in plan.pairs
    assert set(plan.retrieved.clusters[plan.pairs == OWN, 0].tolist()) == {3}
    assert (plan.retrieved.shares >= 0).all()


def test_a_row_is_not_bought_again_while_its_line_is_what_it_was() -> None:
    row_of_the_line = table_with(OWN, 5, context=3)
    assert OWN not in POLICY.plan(view(MIXED, row_of_the_line, retrieval=GLOBAL)).pairs
    assert OWN in POLICY.plan(view(MIXED, table_with(OWN, 5, context=5), retrieval=GLOBAL)).pairs
    assert OWN in POLICY.plan(view(MIXED, row_of_the_line)).pairs


def test_a_trend_is_looked_for_in_the_window_before() -> None:
    grown: Log = {(0, 1, 2): 60, (0, 1, 6): 50, (4, 1, 3): 300, (5, 1, 3): 300}
    before: Log = {(0, 1, 2): 100, (0, 1, 6): 1}
    plan = POLICY.plan(view(grown, None, retrieval=TREND, before=counts_of(before)))
    assert plan.retrieved.clusters[plan.pairs == OWN, 0].tolist() == [6]
    stays = POLICY.plan(view(grown, None, retrieval=TREND, before=counts_of(grown)))
    assert (stays.retrieved.shares >= 0).all()


@pytest.mark.parametrize("policy", ["always", "always+own"])
def test_calendars_retrieve_the_same_way(policy: str) -> None:
    plan = open_policy(policy, DAY_MS, PolicyOptions()).plan(view(MIXED, None, retrieval=GLOBAL))
    c2_is_not_3 = plan.pairs & 0xFFFF != 3
    assert set(plan.retrieved.clusters[c2_is_not_3, 0].tolist()) == {3}


def test_lines_are_as_deep_as_prompts_read_and_rows_of_c2_have_the_same_depth() -> None:
    policy = AdaptivePolicy(PolicyOptions(price=1.0, infers_backoff=True), top_n=2)
    for retrieval in (Retrieval(n_retrieved=4), Retrieval(level=Level.GLOBAL, n_retrieved=4)):
        plan = policy.plan(view(MIXED, None, retrieval=retrieval))
        assert plan.retrieved.clusters.shape[1] == plan.backoff_retrieved.clusters.shape[1] == 4
        assert plan.backoff_c2.size
    deep = AdaptivePolicy(PolicyOptions(price=1.0), top_n=20).plan(view(MIXED, None))
    assert deep.retrieved.clusters.shape[1] == deep.backoff_retrieved.clusters.shape[1] == 20


def test_rows_of_c2_are_asked_with_what_follows_c2_or_with_everybodys_line() -> None:
    c2 = np.array([1, 5], np.int32)
    trend = view({(0, 1, 2): 60, (4, 5, 3): 900}, None, retrieval=TREND)
    assert trend.backoff_lines(c2, 1).clusters.tolist() == [[2], [3]]
    everybody = view({(0, 1, 2): 60, (4, 5, 3): 900}, None, retrieval=GLOBAL)
    assert everybody.backoff_lines(c2, 1).clusters.tolist() == [[3], [3]]


def test_a_further_cluster_without_a_code_is_left_out_of_its_line_and_the_row_stays() -> None:
    plan = POLICY.plan(view(LOG, None))
    lines = Ranked(np.array([[2, 7, 3]], np.int32), np.array([[0.5, 0.3, 0.1]]))
    assert plan.pairs.tolist() == [OWN]
    cut = within_codebook(replace(plan, retrieved=lines), capacity=7)
    assert cut.retrieved.clusters.tolist() == [[2, 3, -1]]
    assert cut.retrieved.shares.tolist() == [[0.5, 0.1, 0.0]]
    assert cut.pairs.tolist() == [OWN]
