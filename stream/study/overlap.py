"""How alike two windows' top-k successors are, as sets and as ordered lists, in expectation over random tie-breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.drift.jaccard import binomial_table, expected_jaccard
from tidegate.counts import SuccessorCounts
from tidegate.jit import kernel

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Overlaps of the pairs that have enough transitions on both sides.

    Attributes
    ----------
    pairs : int64[p]           ascending
    jaccard : float64[p, d]    of the top-k sets, a column a depth
    exact : float64[p, d]      chance that the ordered top-k lists are equal
    """

    pairs: Int64s
    jaccard: Floats
    exact: Floats

    @classmethod
    def concatenate(cls, parts: list[Overlaps]) -> Overlaps:
        """Put the rows of several comparisons together; there must be one at least."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("pairs", "jaccard", "exact")))


def compare_windows(
    one: SuccessorCounts, other: SuccessorCounts, min_support: int, depths: tuple[int, ...] = (5,)
) -> Overlaps:
    """Compare the pairs with `min_support` transitions on both sides. `O(t k + p k^3)` for each depth k.

    Parameters
    ----------
    depths : ascending values of k

    Examples
    --------
    >>> pair = 1 << 32 | 2 << 16
    >>> counts = SuccessorCounts.from_triples(np.array([pair | 3, pair | 4]), np.array([5, 1]))
    >>> compare_windows(counts, counts, 6).exact.tolist()
    [[1.0]]
    """
    pairs, at_one, at_other = np.intersect1d(one.pairs, other.pairs, assume_unique=True, return_indices=True)
    has_support = (one.totals[at_one] >= min_support) & (other.totals[at_other] >= min_support)
    pairs, at_one, at_other = pairs[has_support], at_one[has_support], at_other[has_support]
    out = Overlaps(pairs, np.zeros((pairs.shape[0], len(depths))), np.zeros((pairs.shape[0], len(depths))))
    most = int((np.diff(one.offsets)[at_one] + np.diff(other.offsets)[at_other]).max(initial=1))
    _compare_rows(
        at_one,
        at_other,
        (one.offsets, one.successors, one.counts),
        (other.offsets, other.successors, other.counts),
        np.array(depths, np.int64),
        binomial_table(most, depths[-1]),
        out.jaccard,
        out.exact,
    )
    return out


@kernel
def _compare_rows(
    at_one: Int64s,
    at_other: Int64s,
    one: tuple[Int64s, Int32s, Int64s],
    other: tuple[Int64s, Int32s, Int64s],
    depths: Int64s,
    binomials: Floats,
    jaccard: Floats,
    exact: Floats,
) -> None:
    a, b = np.empty(binomials.shape[0], np.int32), np.empty(binomials.shape[0], np.int32)
    best, chances = np.empty(depths[-1], np.int32), np.empty(depths[-1])
    for row in range(at_one.shape[0]):
        n = _align(at_one[row], at_other[row], one, other, a, b)
        exact_chances(a, b, n, chances)
        for d in range(depths.shape[0]):
            jaccard[row, d] = expected_jaccard(a, b, n, best[: depths[d]], binomials)
            exact[row, d] = chances[depths[d] - 1]


@kernel
def _align(
    at_one: int,
    at_other: int,
    one: tuple[Int64s, Int32s, Int64s],
    other: tuple[Int64s, Int32s, Int64s],
    a: Int32s,
    b: Int32s,
) -> int:
    """Write the counts of all successors that either side has, side by side; returns how many there are. `O(t)`."""
    i, i_end = one[0][at_one], one[0][at_one + 1]
    j, j_end = other[0][at_other], other[0][at_other + 1]
    n = 0
    while i < i_end or j < j_end:
        takes_i = j == j_end or (i < i_end and one[1][i] <= other[1][j])
        takes_j = i == i_end or (j < j_end and other[1][j] <= one[1][i])
        a[n] = one[2][i] if takes_i else 0
        b[n] = other[2][j] if takes_j else 0
        i += takes_i
        j += takes_j
        n += 1
    return n


@kernel
def _next_value(counts: Int32s, n: int, below: int) -> tuple[int, int]:
    """Largest value under `below`, and how often it occurs. `O(n)`."""
    value = size = 0
    for i in range(n):
        if value < counts[i] < below:
            value, size = counts[i], 0
        size += counts[i] == value
    return value, size


@kernel
def exact_chances(a: Int32s, b: Int32s, n: int, chances: Floats) -> None:
    """Chance that the ordered top-k lists of ``a[:n]`` and ``b[:n]`` are equal, ties broken at random on each side.

    A side with fewer than k positive counts lists all of them. At each rank both sides draw from a group of tied
    successors; the successors that are in both groups and not drawn yet are those that can make the lists equal, and
    each side draws any one of them with the same chance. So the chance is a product over ranks. `O(n k)`, allocates
    nothing.

    Parameters
    ----------
    a, b : int32[>= n]      counts by successor
    chances : float64[k]    written, for lists of length 1 to k
    """
    value_a = value_b = 1 << 30
    left_a = left_b = 0
    left_both = 0
    chance = 1.0
    for rank in range(chances.shape[0]):
        is_new = left_a == 0 or left_b == 0
        if left_a == 0:
            value_a, left_a = _next_value(a, n, value_a)
        if left_b == 0:
            value_b, left_b = _next_value(b, n, value_b)
        if value_a == 0 or value_b == 0:  # a list has ended: equal only if the other has, too
            chance *= value_a == value_b
            chances[rank:] = chance
            return
        if is_new:
            left_both = 0
            for i in range(n):
                left_both += a[i] == value_a and b[i] == value_b
        chance *= left_both / (left_a * left_b)
        chances[rank] = chance
        left_a, left_b, left_both = left_a - 1, left_b - 1, max(0, left_both - 1)
