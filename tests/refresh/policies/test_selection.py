"""Which rows pay, weighed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.evidence import Evidence, Ranked
from refresh.policies.selection import (
    BackoffSelection,
    Economics,
    Selection,
    backoff_answers,
    lower_bound,
    weigh_backoff,
    weigh_rows,
)
from refresh.table import TransitionTable
from tests.refresh.logs import LOG, NAMES, OWN, Log, counts_of, logs, seeds, table_with, table_with_backoff
from tests.tables import small_table

ECONOMICS = Economics(horizon_panes=12.0, confidence_z=0.5)
EMPTY = TransitionTable.empty(NAMES, top_n=2)


def evidence(log: Log = LOG) -> Evidence:
    return Evidence.of_counts(counts_of(log), seeds())


def weighed(log: Log, table: TransitionTable | None, economics: Economics = ECONOMICS) -> Selection:
    return weigh_rows(evidence(log), table, evidence(log).backoff(3), economics)


def row(selection: Selection, pair: int) -> dict[str, Any]:
    (at,) = np.flatnonzero(selection.pairs == pair)
    return {name: getattr(selection, name)[at].item() for name in Selection.__dataclass_fields__}


def test_the_gain_is_traffic_times_horizon_times_the_difference_of_shares():
    known = evidence()
    fresh, free = known.share(np.array([OWN, OWN]), np.array([2, 3], np.int32))
    found = row(weighed(LOG, EMPTY), OWN)
    assert (found["fresh"], found["best_free"], found["has_row"], found["is_new_context"]) == (2, 3, False, True)
    assert found["hits_per_pane"] == pytest.approx(65 * (fresh - free))
    assert found["gain_hits"] == pytest.approx(12.0 * 65 * (fresh - free))


def test_a_row_that_serves_is_weighed_by_a_bound_and_by_what_it_answers():
    known = evidence()
    fresh, served = known.share(np.array([OWN, OWN]), np.array([2, 3], np.int32))
    mass = 65 + known.pair_setting.strength
    bound = fresh - served - 0.5 * np.sqrt((fresh + served - (fresh - served) ** 2) / (mass + 1))
    found = row(weighed(LOG, table_with(OWN, 3)), OWN)
    assert (found["has_row"], found["best_free"]) == (True, 3)
    assert found["gain_hits"] == pytest.approx(12.0 * 65 * bound)
    assert found["hits_per_pane"] == pytest.approx(65 * (fresh - served))


def test_gains_shrink_by_the_share_that_came_true():
    half = Economics(horizon_panes=12.0, confidence_z=0.5, realised_share=0.5)
    all_of_it, half_of_it = (row(weighed(LOG, EMPTY, e), OWN)["gain_hits"] for e in (ECONOMICS, half))
    assert half_of_it == pytest.approx(all_of_it / 2)


def test_a_bad_row_is_dropped_for_its_backoff_and_a_fresh_row_is_held_against_that():
    pair = 4 << 16 | 1
    found = row(weighed(LOG, table_with(pair, 6)), pair)
    assert found["backs_off"]
    assert found["best_free"] == 3
    assert found["gain_hits"] == 0.0  # the fresh answer is the backoff's
    assert not row(weighed(LOG, table_with(pair, 3)), pair)["backs_off"]


def test_a_row_of_a_pair_that_nobody_comes_to_gains_nothing():
    found = row(weighed(LOG, table_with(6 << 16 | 7, 5)), 6 << 16 | 7)
    assert found["gain_hits"] == 0.0
    assert found["hits_per_pane"] == 0.0


@settings(max_examples=25, deadline=None)
@given(logs, st.sampled_from([None, EMPTY, table_with(OWN, 5), table_with(6 << 16 | 7, 2)]))
def test_every_pair_that_was_seen_or_has_a_row_is_weighed_once(log: Log, table: TransitionTable | None):
    selection = weighed(log, table)
    rows = set() if table is None else set(table.pairs.tolist())
    assert selection.pairs.tolist() == sorted({a << 16 | b for a, b, _ in log} | rows)
    assert selection.has_row.tolist() == [pair in rows for pair in selection.pairs.tolist()]
    assert np.all(selection.gain_hits[selection.fresh == selection.best_free] == 0)
    assert np.all(selection.gain_hits[~selection.has_row] >= -1e-9)


def test_the_backoff_answers_with_its_first_rank_that_is_neither_c1_nor_c2():
    clusters = np.array([[1, 2, 3], [2, 3, 4], [-1, -1, -1], [2, 1, -1]], np.int32)
    pairs = np.array([2 << 16 | 0, 1 << 16 | 0, 3 << 16 | 1, 2 << 16 | 1, 0 << 16 | 2, 1 << 16 | 3, 2 << 16 | 3])
    expected = [1, 2, 2, 3, -1, 2, 1]
    assert backoff_answers(Ranked(clusters, np.zeros(clusters.shape)), pairs).tolist() == expected


def test_a_bound_lies_below_the_difference_by_so_many_deviations():
    p_new, p_old, mass = np.array([0.5, 0.2]), np.array([0.3, 0.4]), np.array([9.0, 99.0])
    assert lower_bound(p_new, p_old, mass, 0.0).tolist() == pytest.approx([0.2, -0.2])
    below = [0.2 - 2 * (0.76 / 10) ** 0.5, -0.2 - 2 * (0.56 / 100) ** 0.5]
    assert lower_bound(p_new, p_old, mass, 2.0).tolist() == pytest.approx(below)


# --- rows of c2 ----------------------------------------------------------------------------------------------------


def of_c2(selection: BackoffSelection, c2: int) -> tuple[bool, float]:
    (at,) = np.flatnonzero(selection.c2 == c2)
    return bool(selection.has_row[at]), float(selection.gain_hits[at])


def test_a_row_of_c2_gains_on_the_traffic_that_it_answers():
    known = evidence()
    share = known.backoff_share(np.array([1], np.int32), np.array([3], np.int32))[0]
    has_row, gain = of_c2(weigh_backoff(known, EMPTY, ECONOMICS), 1)
    assert not has_row
    assert gain == pytest.approx(12.0 * share * (65 + 180))
    with_row = of_c2(weigh_backoff(known, table_with(OWN, 2), ECONOMICS), 1)
    assert with_row[1] == pytest.approx(12.0 * share * 180)


def test_a_row_of_c2_that_serves_the_fresh_answer_gains_nothing():
    assert of_c2(weigh_backoff(evidence(), table_with_backoff(3), ECONOMICS), 1) == (True, 0.0)
    has_row, gain = of_c2(weigh_backoff(evidence(), table_with_backoff(5), ECONOMICS), 1)
    assert has_row
    assert gain > 0


def test_clusters_that_the_table_does_not_know_yet_have_no_row():
    selection = weigh_backoff(evidence(), small_table({}, {1: (2,)}, names=NAMES[:3]), ECONOMICS)
    assert of_c2(selection, 1)[0]
    assert selection.c2.max() > 3
    assert not selection.has_row[selection.c2 >= 3].any()
