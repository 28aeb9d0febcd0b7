"""Rows of a transition table: their columns, what makes them sound, and the kernel that answers from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import TableError
from tidegate.jit import inlined_kernel, kernel

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Float32s = NDArray[np.float32]
UInt64s = NDArray[np.uint64]
Int8s = NDArray[np.int8]
Bools = NDArray[np.bool_]

NO_CLUSTER = -1
LEVEL_NONE, LEVEL_BACKOFF, LEVEL_PAIR = 0, 1, 2
ROWS_MEND = "Build the rows anew from one engine run; nothing was changed"


@dataclass(frozen=True, slots=True)
class PairRows:
    """Rows of the pair level, in any order, each pair once.

    Attributes
    ----------
    pairs : int64[k]                pair keys ``c1 << 16 | c2``
    clusters : int32[k, top_n]      best first, -1 = none (only behind the last answer)
    probabilities : float32[k, top_n]
    row_keys : uint64[k, 2]         hash of all that determines the row
    contexts : int32[k]             the retrieved line the row was inferred with, -1 = none
    refreshed_ms : int64[k]         end of the window the row was refreshed from
    """

    pairs: Int64s
    clusters: Int32s
    probabilities: Float32s
    row_keys: UInt64s
    contexts: Int32s
    refreshed_ms: Int64s


@dataclass(frozen=True, slots=True)
class BackoffRows:
    """Rows of the backoff level, in any order, each `c2` once; a row of all -1 removes the row of its `c2`.

    Attributes
    ----------
    c2 : int32[k]
    clusters : int32[k, top_n]
    probabilities : float32[k, top_n]
    row_keys : uint64[k, 2]
    """

    c2: Int32s
    clusters: Int32s
    probabilities: Float32s
    row_keys: UInt64s


def require_distinct(keys: NDArray[np.integer], what: str) -> None:
    """Refuse keys that are given twice. `O(k log k)`."""
    ascending = np.sort(keys)
    if (ascending[1:] == ascending[:-1]).any():
        raise TableError(f"a {what} is given twice, each can have one row", ROWS_MEND)


def require_sound(clusters: Int32s, c1: Int64s, c2: Int64s, n_clusters: int) -> None:
    """Refuse rows that no reader could use: the last gate before a version becomes immutable."""
    none = clusters < 0
    ascending = np.sort(clusters, axis=1)
    faults = {
        "a context that is not in the catalogue": (c1 < 0) | (c1 >= n_clusters) | (c2 < 0) | (c2 >= n_clusters),
        "a cluster that is not in the catalogue": (clusters >= n_clusters).any(axis=1),
        "an id below -1": (clusters < NO_CLUSTER).any(axis=1),
        "an answer behind a gap": (none[:, :-1] & ~none[:, 1:]).any(axis=1),
        "its own context as an answer": ((clusters == c1[:, None]) | (clusters == c2[:, None])).any(axis=1),
        "one cluster twice": ((ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] >= 0)).any(axis=1),
    }
    for fault, rows in faults.items():
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            raise TableError(f"the row of pair ({c1[first]}, {c2[first]}) has {fault}", ROWS_MEND)


@inlined_kernel
def _take(
    row: int, ranked: Int32s, weights: Float32s, c1: int, c2: int, i: int, out: Int32s, out_weights: Float32s
) -> int:
    """Copy the answers of one row that are neither `c1` nor `c2`; returns how many. `O(top_n)`, allocates nothing."""
    n_taken = 0
    for rank in range(ranked.shape[1]):
        cluster = ranked[row, rank]
        if n_taken == out.shape[1] or cluster < 0:
            break
        if cluster != c1 and cluster != c2:  # noqa: PLR1714 - a tuple would be built for each rank
            out[i, n_taken] = cluster
            out_weights[i, n_taken] = weights[row, rank]
            n_taken += 1
    return n_taken


@kernel
def rank_answers(
    c1: Int32s,
    c2: Int32s,
    rows: Int64s,
    clusters: Int32s,
    probabilities: Float32s,
    backoff_clusters: Int32s,
    backoff_probabilities: Float32s,
    out: Int32s,
    out_probabilities: Float32s,
    levels: Int8s,
) -> None:
    """Answer each pair from its row, or from the backoff row of its `c2`. `O(n top_n)`, allocates nothing.

    Parameters
    ----------
    c1, c2 : int32[n]
    rows : int64[n]                     row of each pair, -1 = none
    out : int32[n, k], out_probabilities : float32[n, k]
        Filled with -1 and 0; receive the answers, best first.
    levels : int8[n]                    receives LEVEL_PAIR, LEVEL_BACKOFF or LEVEL_NONE
    """
    for i in range(c1.shape[0]):
        n_taken = 0
        levels[i] = LEVEL_NONE
        if rows[i] >= 0:
            n_taken = _take(rows[i], clusters, probabilities, c1[i], c2[i], i, out, out_probabilities)
            if n_taken > 0:
                levels[i] = LEVEL_PAIR
        if n_taken == 0 and 0 <= c2[i] < backoff_clusters.shape[0]:
            n_taken = _take(c2[i], backoff_clusters, backoff_probabilities, c1[i], c2[i], i, out, out_probabilities)
            if n_taken > 0:
                levels[i] = LEVEL_BACKOFF


@inlined_kernel
def _take_unseen(
    row: int,
    ranked: Int32s,
    weights: Float32s,
    c1: int,
    c2: int,
    seen: Int32s,
    i: int,
    out: Int32s,
    out_weights: Float32s,
) -> int:
    """Like `_take`, passing over `seen` too. `O(top_n seen)`, allocates nothing."""
    n_taken = 0
    for rank in range(ranked.shape[1]):
        cluster = ranked[row, rank]
        if n_taken == out.shape[1] or cluster < 0:
            break
        is_new = cluster != c1 and cluster != c2  # noqa: PLR1714 - a tuple would be built for each rank
        for k in range(seen.shape[0]):
            if seen[k] == cluster:
                is_new = False
                break
        if is_new:
            out[i, n_taken] = cluster
            out_weights[i, n_taken] = weights[row, rank]
            n_taken += 1
    return n_taken


@kernel
def rank_unseen_answers(
    c1: Int32s,
    c2: Int32s,
    rows: Int64s,
    clusters: Int32s,
    probabilities: Float32s,
    backoff_clusters: Int32s,
    backoff_probabilities: Float32s,
    starts: Int64s,
    seen: Int32s,
    out: Int32s,
    out_probabilities: Float32s,
    levels: Int8s,
) -> None:
    """Answer each pair as `rank_answers` does, with clusters its user has not seen. `O(n top_n seen)`.

    Parameters
    ----------
    starts : int64[n + 1], seen : int32[m]
        What to pass over for pair i is ``seen[starts[i]:starts[i + 1]]``; the rest as in `rank_answers`.
    """
    for i in range(c1.shape[0]):
        n_taken = 0
        levels[i] = LEVEL_NONE
        passed = seen[starts[i] : starts[i + 1]]
        if rows[i] >= 0:
            n_taken = _take_unseen(rows[i], clusters, probabilities, c1[i], c2[i], passed, i, out, out_probabilities)
            if n_taken > 0:
                levels[i] = LEVEL_PAIR
        if n_taken == 0 and 0 <= c2[i] < backoff_clusters.shape[0]:
            n_taken = _take_unseen(
                c2[i], backoff_clusters, backoff_probabilities, c1[i], c2[i], passed, i, out, out_probabilities
            )
            if n_taken > 0:
                levels[i] = LEVEL_BACKOFF
