"""Packed counts against dictionaries."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.counts import (
    MAX_BUCKETS,
    MAX_CLUSTERS,
    BucketedCounts,
    SuccessorCounts,
    bucket_of_key,
    pack_pairs,
    pack_transitions,
    pair_of_key,
    successor_of_key,
    unpack_pairs,
)

Row = tuple[int, int, int, int]
few = st.sampled_from([0, 1, 2, MAX_CLUSTERS - 1])
any_row = st.tuples(few, few, few, st.sampled_from([0, 1, 2, MAX_BUCKETS - 1]))
tallies = st.dictionaries(any_row, st.integers(1, 2**40), max_size=20)


def _packed(rows: list[Row]) -> np.ndarray:
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return pack_transitions(columns[0], columns[1], columns[2], columns[3])


def _counts(tally: dict[Row, int]) -> BucketedCounts:
    rows = sorted(tally)
    return BucketedCounts(_packed(rows), np.array([tally[row] for row in rows], np.int64))


def _tally(counts: BucketedCounts) -> dict[Row, int]:
    c1, c2 = unpack_pairs(pair_of_key(counts.keys))
    columns = (c1, c2, successor_of_key(counts.keys), bucket_of_key(counts.keys), counts.counts)
    return {(a, b, c, d): n for a, b, c, d, n in zip(*(column.tolist() for column in columns), strict=True)}


@given(rows=st.lists(any_row))
def test_packing_loses_nothing_and_sorts_by_pair_then_successor(rows: list[Row]) -> None:
    keys = _packed(rows)
    assert (keys >= 0).all()
    assert (keys < 1 << 56).all()
    c1, c2 = unpack_pairs(pair_of_key(keys))
    columns = (c1, c2, successor_of_key(keys), bucket_of_key(keys))
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows
    assert _packed(sorted(rows)).tolist() == sorted(keys.tolist())
    assert pack_pairs(c1, c2).tolist() == pair_of_key(keys).tolist()


@settings(deadline=None)  # the kernel may be compiled in it
@given(tallies=st.lists(tallies, max_size=4))
def test_merging_adds_up_in_any_order(tallies: list[dict[Row, int]]) -> None:
    parts = [_counts(tally) for tally in tallies]
    merged = BucketedCounts.merge(parts)
    total = sum((Counter(tally) for tally in tallies), Counter())
    assert _tally(merged) == total
    assert merged.total == total.total()
    assert (np.diff(merged.keys) > 0).all()
    backwards = BucketedCounts.merge(parts[::-1])
    assert backwards.keys.tolist() == merged.keys.tolist()
    assert backwards.counts.tolist() == merged.counts.tolist()


@given(tally=tallies)
def test_the_two_halves_of_the_buckets_make_the_whole(tally: dict[Row, int]) -> None:
    halves = [_counts(tally).of_buckets(parity) for parity in (0, 1)]
    for parity, half in enumerate(halves):
        assert _tally(half) == {row: n for row, n in tally.items() if row[3] % 2 == parity}
    assert _tally(BucketedCounts.merge(halves)) == tally


@given(tally=tallies)
def test_successors_are_grouped_by_pair(tally: dict[Row, int]) -> None:
    expected: Counter[tuple[int, int, int]] = Counter()
    for (c1, c2, c_next, _), n in tally.items():
        expected[c1, c2, c_next] += n
    grouped = _counts(tally).without_buckets()
    firsts, seconds = unpack_pairs(grouped.pairs)
    got: dict[tuple[int, int, int], int] = {}
    for row, pair in enumerate(zip(firsts.tolist(), seconds.tolist(), strict=True)):
        mine = slice(grouped.offsets[row], grouped.offsets[row + 1])
        assert (np.diff(grouped.successors[mine]) > 0).all()
        for successor, n in zip(grouped.successors[mine].tolist(), grouped.counts[mine].tolist(), strict=True):
            got[(*pair, successor)] = n
    assert got == expected
    assert (np.diff(grouped.pairs) > 0).all()
    assert grouped.total == expected.total()
    of_pair: Counter[tuple[int, int]] = Counter()
    of_successor: Counter[int] = Counter()
    for (a, b, c), n in expected.items():
        of_pair[a, b] += n
        of_successor[c] += n
    assert grouped.totals.tolist() == [of_pair[pair] for pair in sorted(of_pair)]
    assert grouped.successor_totals(MAX_CLUSTERS).tolist() == [of_successor[c] for c in range(MAX_CLUSTERS)]


def test_nothing_stays_nothing() -> None:
    assert BucketedCounts.merge([]).total == 0
    assert BucketedCounts.merge([BucketedCounts.empty()]).keys.dtype == np.int64
    for none in (BucketedCounts.empty().without_buckets(), SuccessorCounts.empty()):
        assert none.total == 0
        assert none.offsets.tolist() == [0]
        assert none.totals.tolist() == []
        assert none.successor_totals(3).tolist() == [0, 0, 0]
