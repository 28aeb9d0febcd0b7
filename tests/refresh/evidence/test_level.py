"""One level of the evidence, asked for groups that it knows and for others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refresh.evidence import PaneSpans
from refresh.evidence.level import Level, locate, offsets_of
from tests.refresh.logs import counts_of
from tidegate.counts import SuccessorCounts

PAIR, OTHER = 0 << 16 | 1, 2 << 16 | 1


def level() -> Level:
    spans = PaneSpans.of_panes([counts_of({(0, 1, 2): 6, (0, 1, 3): 2})], [1])
    return Level.of_spans(spans, np.array([0.5, 0.25]), 2.0, np.ones(1))


def test_shares_of_entries_of_others_and_of_groups_never_seen():
    shares = level().share_of(
        np.array([PAIR, PAIR, PAIR, OTHER]), np.array([2, 3, 4, 2], np.int32), np.array([0.5, 0.25, 0.1, 0.5])
    )
    assert shares == pytest.approx([(6 + 2 * 0.5) / 10, (2 + 2 * 0.25) / 10, 0.1 * 2 / 10, 0.5])


def test_mass_and_reach_are_nothing_where_a_group_was_never_seen():
    assert level().mass_of(np.array([PAIR, OTHER])).tolist() == [8.0, 0.0]
    assert level().reach_of(np.array([PAIR, OTHER])).tolist() == [1.0, 0.0]


def test_a_level_without_groups_gives_its_parents_shares():
    spans = PaneSpans.of_panes([SuccessorCounts.empty()], [1, 2])
    empty = Level.of_spans(spans, np.zeros(0), 2.0, np.array([0.7, 0.3]))
    assert empty.share_of(np.array([PAIR]), np.array([2], np.int32), np.array([0.4])).tolist() == [0.4]
    assert empty.mass_of(np.array([PAIR])).tolist() == [0.0]
    assert empty.reach_of(np.array([PAIR])).tolist() == [0.0]


@given(st.lists(st.integers(0, 5), max_size=12).map(sorted))
def test_offsets_cut_groups_where_they_change(groups: list[int]):
    distinct, offsets = offsets_of(np.array(groups, np.int64))
    assert distinct.tolist() == sorted(set(groups))
    assert np.diff(offsets).tolist() == [groups.count(group) for group in distinct.tolist()]


@given(st.sets(st.integers(0, 20), max_size=8), st.lists(st.integers(0, 22), max_size=8))
def test_keys_are_located_or_known_to_be_absent(known: set[int], asked: list[int]):
    ascending = np.array(sorted(known), np.int64)
    at, is_known = locate(ascending, np.array(asked, np.int64))
    assert is_known.tolist() == [key in known for key in asked]
    assert [int(ascending[i]) for i, there in zip(at, is_known, strict=True) if there] == [
        k for k in asked if k in known
    ]
    if known:
        assert np.all((at >= 0) & (at < len(known)))
