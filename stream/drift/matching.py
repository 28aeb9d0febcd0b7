"""Which pairs of a window can be compared with its reference, and where their transitions lie on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import Side
from tidegate.counts import BucketedCounts, read_only
from tidegate.errors import RequestError
from tidegate.jit import kernel


def match_pairs(
    window: BucketedCounts, reference: BucketedCounts, min_support: int
) -> tuple[NDArray[np.int64], tuple[Side, Side]]:
    """Pairs with `min_support` on both sides, int64[p], and where each side's transitions of them lie."""
    return match_sides(side_of(window), side_of(reference), min_support)


def match_sides(
    window: tuple[NDArray[np.int64], Side], reference: tuple[NDArray[np.int64], Side], min_support: int
) -> tuple[NDArray[np.int64], tuple[Side, Side]]:
    """Do the same with sides that `side_of` has laid out."""
    sides = (window, reference)
    enough = [known[side.totals >= min_support] for known, side in sides]
    pairs = np.intersect1d(enough[0], enough[1], assume_unique=True)
    window_side, reference_side = (_select(side, np.searchsorted(known, pairs)) for known, side in sides)
    return pairs, (window_side, reference_side)


def join_sides(
    window: tuple[NDArray[np.int64], Side], reference: tuple[NDArray[np.int64], Side]
) -> tuple[NDArray[np.int64], tuple[Side, Side]]:
    """Do the same with the pairs that either side has, however few."""
    pairs = np.union1d(window[0], reference[0])
    window_side, reference_side = (
        _spread(side, np.searchsorted(pairs, known), pairs.size) for known, side in (window, reference)
    )
    return pairs, (window_side, reference_side)


def side_of(counts: BucketedCounts) -> tuple[NDArray[np.int64], Side]:
    """All pairs of some counts, int64[p] ascending, and where their transitions lie. `O(t)`."""
    keys, values = read_only(counts.keys), read_only(counts.counts)
    starts = np.empty(_n_pairs(keys), np.int64)
    totals = np.empty_like(starts)
    _lay_out(keys, values, starts, totals)
    pairs = keys[starts] >> 24
    return pairs, Side(keys, values, starts, np.r_[starts[1:], keys.shape[0]], totals)


@kernel
def _n_pairs(keys: NDArray[np.int64]) -> int:
    n = 0
    for i in range(keys.shape[0]):
        n += i == 0 or keys[i] >> 24 != keys[i - 1] >> 24
    return n


@kernel
def _lay_out(
    keys: NDArray[np.int64], counts: NDArray[np.int64], starts: NDArray[np.int64], totals: NDArray[np.int64]
) -> None:
    n = 0
    for i in range(keys.shape[0]):
        if i == 0 or keys[i] >> 24 != keys[i - 1] >> 24:
            starts[n], totals[n] = i, 0
            n += 1
        totals[n - 1] += counts[i]


def _select(side: Side, rows: NDArray[np.int64]) -> Side:
    return side._replace(starts=side.starts[rows], ends=side.ends[rows], totals=side.totals[rows])


def _spread(side: Side, rows: NDArray[np.int64], n_rows: int) -> Side:
    """Give `side` rows that it has nothing of."""
    starts, ends, totals = (np.zeros(n_rows, np.int64) for _ in range(3))
    starts[rows], ends[rows], totals[rows] = side.starts, side.ends, side.totals
    return side._replace(starts=starts, ends=ends, totals=totals)


def check_keys(counts: BucketedCounts, n_clusters: int, n_buckets: int) -> None:
    """Refuse counts that name what is not there.

    Raises
    ------
    RequestError
        A user bucket of `n_buckets` or more, or a cluster of `n_clusters` or more.
    """
    bucket, cluster = _largest(counts.keys)
    if bucket >= n_buckets:
        raise RequestError(
            f"user bucket {bucket} where there are {n_buckets}", "Count and measure with equal n_buckets"
        )
    if cluster >= n_clusters:
        raise RequestError(f"cluster {cluster} where there are {n_clusters} seeds", "Give one seed per cluster")


@kernel
def _largest(keys: NDArray[np.int64]) -> tuple[int, int]:
    """Largest bucket and cluster of packed transitions, -1 without any. `O(t)`, allocates nothing."""
    bucket = cluster = -1
    for key in keys:
        bucket = max(bucket, key & 255)
        cluster = max(cluster, (key >> 8) & 0xFFFF, (key >> 24) & 0xFFFF, key >> 40)
    return bucket, cluster
