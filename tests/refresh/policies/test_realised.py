"""Gains that were expected, held against what the next pane showed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refresh.evidence import PaneSpans
from refresh.evidence.newest import newest_of
from refresh.policies import PolicyState
from refresh.policies.realised import observe, realised_share
from refresh.table import TransitionTable
from tests.refresh.logs import NAMES, OWN, Log, counts_of, evidence_of, table_with, view
from tidegate.contracts import Reason, RefreshOrder, RowOrder, Trigger

EMPTY = TransitionTable.empty(NAMES, top_n=2)
NEWEST: Log = {(0, 1, 2): 7, (0, 1, 3): 4, (4, 1, 3): 9}
STATE = PolicyState(placed_hits=10.0)


def order(*rows: tuple[int, int, int]) -> RefreshOrder:
    """Rows as (c1, c2, what answered before)."""
    return RefreshOrder(
        order_id="o",
        window_end_ms=0,
        trigger=Trigger.POLICY,
        rows=tuple(
            RowOrder(c1=c1, c2=c2, reason=Reason.EVIDENCE, gain_hits=1.0, replaces=before) for c1, c2, before in rows
        ),
    )


def observed(table: TransitionTable | None, placed: RefreshOrder | None, state: PolicyState = STATE) -> PolicyState:
    evidence = evidence_of([{(0, 1, 2): 50, (0, 1, 5): 50}, NEWEST])
    return observe(view({}, table, evidence=evidence, last_order=placed, state=state))


def test_a_row_realises_what_it_hits_more_than_what_it_replaced():
    state = observed(table_with(OWN, 2), order((0, 1, 3)))
    assert (state.expected_hits, state.realised_hits, state.exposed_hits) == (10.0, 7.0 - 4.0, 7.0 + 4.0)
    assert state.placed_hits == 0.0


@pytest.mark.parametrize(
    ("answer", "before", "realised"),
    [(3, 2, 4 - 7), (6, 2, -7), (2, -1, 7), (2, 2, 0)],
    ids=["worse", "never", "nothing answered before", "the same"],
)
def test_answers_are_judged_by_the_newest_pane_alone(answer: int, before: int, realised: int):
    assert observed(table_with(OWN, answer), order((0, 1, before))).realised_hits == realised


def test_a_row_whose_answer_was_invalid_realises_nothing():
    """What would have been replaced goes on answering."""
    assert observed(EMPTY, order((0, 1, 3))).realised_hits == 0.0
    assert observed(table_with(4 << 16 | 1, 3), order((0, 1, 3))).realised_hits == 0.0


def test_rows_of_c2_are_not_judged():
    state = observed(table_with(OWN, 2), order((-1, 1, -1)))
    assert (state.realised_hits, state.exposed_hits) == (0.0, 0.0)


@pytest.mark.parametrize("placed", [None, order()])
def test_without_rows_ordered_nothing_is_expected(placed: RefreshOrder | None):
    state = observed(table_with(OWN, 2), placed)
    assert (state.expected_hits, state.realised_hits, state.exposed_hits) == (0.0, 0.0, 0.0)


def test_what_was_before_fades_alike():
    before = PolicyState(expected_hits=80.0, realised_hits=40.0, exposed_hits=160.0)
    state = observed(table_with(OWN, 2), None, before)
    assert 0 < state.expected_hits < 80.0
    assert state.realised_hits / state.expected_hits == pytest.approx(0.5)
    assert state.exposed_hits / state.expected_hits == pytest.approx(2.0)


def test_before_anything_was_bought_gains_are_believed():
    assert realised_share(PolicyState(), confidence_z=1.0) == 1.0


@pytest.mark.parametrize("z", [0.0, 0.5, 2.0])
def test_the_share_lies_between_nothing_and_all_and_falls_with_what_was_realised(z: float):
    def share(realised: float) -> float:
        return realised_share(PolicyState(expected_hits=1_000.0, realised_hits=realised, exposed_hits=900.0), z)

    shares = [share(realised) for realised in (-5_000.0, 0.0, 300.0, 700.0, 1_000.0, 5_000.0)]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert share(500.0) == pytest.approx(0.5, abs=0.1)


def test_being_less_sure_lowers_the_share():
    def share(**parts: Any) -> float:
        z = parts.pop("z", 1.0)
        return realised_share(PolicyState(**({"expected_hits": 400.0, "realised_hits": 200.0} | parts)), z)

    assert share(exposed_hits=900.0, z=2.0) < share(exposed_hits=900.0, z=1.0) < share(exposed_hits=900.0, z=0.0)
    assert share(exposed_hits=900.0) < share(exposed_hits=100.0)


def test_counts_of_the_newest_pane_are_looked_up():
    spans = PaneSpans.of_panes([counts_of({(0, 1, 5): 9}), counts_of(NEWEST)], [1, 2])
    pairs = np.array([OWN, OWN, OWN, 4 << 16 | 1, 6 << 16 | 1])
    assert newest_of(spans, pairs, np.array([2, 5, -1, 3, 3])).tolist() == [7, 0, 0, 9, 0]
    nothing = PaneSpans.of_panes([], [1])
    assert newest_of(nothing, pairs, np.full(5, 2)).tolist() == [0] * 5
