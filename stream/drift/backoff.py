"""Thin pairs, compared by what stands in for them: the row of their second cluster, `(c2 -> c_next)`.

A pair below the support that a comparison needs is served by the backoff, whose rows pool the counts of `c2` over all
`c1`. Such a row is compared just as a pair is. It drifts when its successors change, and also when the traffic of its
pairs shifts among them: both change what is served.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import Side
from stream.drift.rows import MeasuredRows
from tidegate.counts import BucketedCounts, unpack_pairs
from tidegate.jit import kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinPairs:
    """Pairs that were seen on a side, but on one or both too rarely to be compared.

    Attributes
    ----------
    clusters : int64[q]               their second clusters, ascending
    n_pairs : int64[q]                by second cluster
    n_window, n_reference : int64[q]  their transitions
    """

    clusters: NDArray[np.int64]
    n_pairs: NDArray[np.int64]
    n_window: NDArray[np.int64]
    n_reference: NDArray[np.int64]


def thin_pairs(
    window: tuple[NDArray[np.int64], Side], reference: tuple[NDArray[np.int64], Side], compared: NDArray[np.int64]
) -> ThinPairs:
    """Find them, from all pairs of each side (`matching.side_of`) and those that are compared, int64[p] ascending."""
    seen = np.union1d(window[0], reference[0])
    thin = np.setdiff1d(seen, compared, assume_unique=True)
    clusters, at = np.unique(unpack_pairs(thin)[1].astype(np.int64), return_inverse=True)
    n_window, n_reference = (
        np.bincount(at, _looked_up(side, thin), clusters.shape[0]).astype(np.int64) for side in (window, reference)
    )
    n_pairs = np.bincount(at, minlength=clusters.shape[0]).astype(np.int64)
    return ThinPairs(clusters=clusters, n_pairs=n_pairs, n_window=n_window, n_reference=n_reference)


def _looked_up(laid_out: tuple[NDArray[np.int64], Side], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    known, side = laid_out
    found = np.isin(pairs, known, assume_unique=True)
    values = np.zeros(pairs.shape[0], dtype=np.int64)
    values[found] = side.totals[np.searchsorted(known, pairs[found])]
    return values


def pool_successors(
    laid_out: tuple[NDArray[np.int64], Side], clusters: NDArray[np.int64], n_clusters: int
) -> BucketedCounts:
    """Sum the counts of `(c2, c_next, bucket)` up over all `c1`, for second clusters int64[q], ascending.

    Keys are those of pairs ``(0, c2)``. `O(t log t)` at worst; allocates `O(t + clusters x buckets)`.

    Examples
    --------
    >>> from stream.drift.matching import side_of
    >>> from tidegate.counts import pack_transitions
    >>> keys = pack_transitions(np.array([1, 2]), np.array([3, 3]), np.array([4, 4]), np.array([5, 5]))
    >>> side = side_of(BucketedCounts(keys, np.array([2, 1])))
    >>> pool_successors(side, np.array([3]), 5).counts.tolist()
    [3]
    """
    pairs, side = laid_out
    second = unpack_pairs(pairs)[1].astype(np.int64)
    is_wanted = np.isin(second, clusters)
    runs = np.flatnonzero(is_wanted)[np.argsort(second[is_wanted], kind="stable")]
    n_cells = int((side.ends - side.starts)[runs].sum())
    keys, pooled = np.empty(n_cells, np.int64), np.empty(n_cells, np.int64)
    by_cell = np.zeros(n_clusters << 8, np.int64)
    n = _pool(side.keys, side.counts, side.starts[runs], side.ends[runs], second[runs], by_cell, keys, pooled)
    return BucketedCounts(keys[:n], pooled[:n])


@kernel
def _pool(
    keys: NDArray[np.int64],
    counts: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    second: NDArray[np.int64],
    by_cell: NDArray[np.int64],
    out_keys: NDArray[np.int64],
    out_counts: NDArray[np.int64],
) -> int:
    """Pool runs of cells that lie together by their second cluster; returns how many cells there are then."""
    n = run = 0
    while run < starts.shape[0]:
        cluster, first = second[run], n
        while run < starts.shape[0] and second[run] == cluster:
            for i in range(starts[run], ends[run]):
                cell = keys[i] & ((1 << 24) - 1)
                if by_cell[cell] == 0:
                    out_keys[n] = cell
                    n += 1
                by_cell[cell] += counts[i]
            run += 1
        out_keys[first:n].sort()
        for i in range(first, n):
            cell = out_keys[i]
            out_counts[i] = by_cell[cell]
            by_cell[cell] = 0
            out_keys[i] = cluster << 24 | cell
    return n


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffDrift(MeasuredRows):
    """Drift of the backoff's rows that stand in for thin pairs; `keys` are their clusters `c2`.

    Attributes
    ----------
    n_thin_pairs : int64[q]    thin pairs that a row stands in for
    n_thin_window : int64[q]   their transitions in the window
    """

    n_thin_pairs: NDArray[np.int64]
    n_thin_window: NDArray[np.int64]
