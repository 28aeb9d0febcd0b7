"""The study's kernels against brute force over all tie-breaks."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.study import overlap
from stream.study.overlap import compare_windows, exact_chances
from tidegate.counts import BucketedCounts, SuccessorCounts, pack_transitions
from tidegate.jit import is_compiled

small_counts = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=5)


def _lists(counts: list[int], k: int) -> list[tuple[int, ...]]:
    """All ordered top-k lists that some tie-break gives, each as often as it is likely."""
    found = [i for i, count in enumerate(counts) if count > 0]
    groups = [[i for i in found if counts[i] == value] for value in sorted({counts[i] for i in found}, reverse=True)]
    orders = product(*(list(permutations(group)) for group in groups))
    return [tuple(i for group in order for i in group)[:k] for order in orders]


def _exact_by_brute_force(a: list[int], b: list[int], k: int) -> float:
    pairs = list(product(_lists(a, k), _lists(b, k)))
    return sum(one == other for one, other in pairs) / len(pairs)


def _jaccard_by_brute_force(a: list[int], b: list[int], k: int) -> float:
    pairs = [(set(one), set(other)) for one, other in product(_lists(a, k), _lists(b, k))]
    return sum(len(one & other) / len(one | other) for one, other in pairs) / len(pairs)


@settings(deadline=None, max_examples=300)
@given(small_counts)
def test_chance_of_equal_lists_is_that_over_all_tie_breaks(both: list[tuple[int, int]]) -> None:
    a, b = (list(side) for side in zip(*both, strict=True))
    chances = np.empty(6)
    exact_chances(np.array(a, np.int32), np.array(b, np.int32), len(a), chances)
    for k in range(1, 7):
        assert chances[k - 1] == pytest.approx(_exact_by_brute_force(a, b, k)), k


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), max_size=8))
def test_windows_are_compared_as_plain_python_compares_them(cells: list[tuple[int, int, int, int]]) -> None:
    sides: tuple[dict[tuple[int, int], int], ...] = ({}, {})
    for pair, successor, *counts in cells:
        for side, count in zip(sides, counts, strict=True):
            if count:
                side[pair, successor] = count
    found = compare_windows(_counts(sides[0]), _counts(sides[1]), 2, (1, 2, 3))
    expected = {}
    for pair in range(2):
        a, b = ([side.get((pair, successor), 0) for successor in range(5)] for side in sides)
        if sum(a) >= 2 and sum(b) >= 2:
            expected[pair << 16 | 9] = (
                [_jaccard_by_brute_force(a, b, k) for k in (1, 2, 3)],
                [_exact_by_brute_force(a, b, k) for k in (1, 2, 3)],
            )
    assert found.pairs.tolist() == sorted(expected)
    for row, pair in enumerate(found.pairs.tolist()):
        assert found.jaccard[row] == pytest.approx(expected[pair][0])
        assert found.exact[row] == pytest.approx(expected[pair][1])


def test_kernels_ran_compiled() -> None:
    one = _counts({(0, 1): 2})
    compare_windows(one, one, 1)
    assert is_compiled(exact_chances) and is_compiled(overlap._compare_rows)


def _counts(side: dict[tuple[int, int], int]) -> SuccessorCounts:
    if not side:
        return SuccessorCounts.empty()
    pairs, successors = (np.array(column, np.int64) for column in zip(*sorted(side), strict=True))
    keys = pack_transitions(pairs, pairs * 0 + 9, successors, pairs * 0)
    return BucketedCounts(keys, np.array([side[key] for key in sorted(side)], np.int64)).without_buckets()
