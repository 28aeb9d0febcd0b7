"""The sequencing kernel: watches in, packed transitions and hits out.

Each user owns a region of one pool, which holds the open sequence: its clusters, when they were watched, and what
was predicted there and has not come true yet. When a region is full, the kernel moves it to one twice as large at
the pool's end; when the pool is full, the kernel returns and its shell makes room.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.predictions import NO_ANSWER, Predictions, predict_one
from stream.sequence_pool import FIRST_CAPACITY, Pool, Regions
from tidegate.jit import kernel

NO_GAP = -1

# Columns of the pane statistics.
TRANSITIONS, SEQUENCES, SCORED, ANSWERED, HITS_NEXT, HITS_SEQUENCE, HIT_MICROBITS = range(7)
N_STATS = 7


class Rules(NamedTuple):
    """`SequenceOptions`, as plain numbers."""

    pane_ms: int
    window_ms: int
    gap_ms: int
    first_only: bool
    allow_return: bool
    n_buckets: int


class Watches(NamedTuple):
    """Events to append, in event-time order: int64[n] slots, uint64[n] users, int32[n] clusters, int64[n] times."""

    slots: NDArray[np.int64]
    users: NDArray[np.uint64]
    clusters: NDArray[np.int32]
    times_ms: NDArray[np.int64]


@kernel
def _is_repeat(cluster: int, start: int, length: int, pool: Pool, first_only: bool) -> bool:
    """Whether de-duplication leaves the watch out. `O(s)`, or `O(1)` where only adjacent repeats are left out."""
    for cell in range(start if first_only else max(start, start + length - 1), start + length):
        if pool.clusters[cell] == cluster:
            return True
    return False


@kernel
def _move_to_end(user: int, length: int, capacity: int, pool_used: int, regions: Regions, pool: Pool) -> None:
    """Move a user's open sequence to a larger region at the pool's end. `O(s)`."""
    start = regions.starts[user]
    for i in range(length):
        pool.clusters[pool_used + i] = pool.clusters[start + i]
        pool.times_ms[pool_used + i] = pool.times_ms[start + i]
        pool.predictions[pool_used + i] = pool.predictions[start + i]
    regions.starts[user] = pool_used
    regions.capacities[user] = capacity


@kernel
def _settle_predictions(
    cluster: int,
    time_ms: int,
    start: int,
    length: int,
    pool: Pool,
    rules: Rules,
    base_pane: int,
    stats: NDArray[np.int64],
) -> None:
    """Let open predictions of `cluster` come true, each in the pane that it was made for. `O(s)`."""
    for cell in range(start, start + length):
        if pool.predictions[cell] == cluster and time_ms - pool.times_ms[cell] <= rules.window_ms:
            pool.predictions[cell] = NO_ANSWER
            stats[pool.times_ms[cell] // rules.pane_ms - base_pane, HITS_SEQUENCE] += 1


@kernel
def _score(c1: int, c2: int, cluster: int, predictions: Predictions, figures: NDArray[np.int64]) -> int:
    """Count one transition and score it; returns the prediction that is still open, else -1. `O(1)`."""
    figures[TRANSITIONS] += 1
    if not predictions.is_serving:
        return NO_ANSWER
    prediction = predict_one(c1, c2, predictions)
    figures[SCORED] += 1
    figures[ANSWERED] += prediction != NO_ANSWER
    if prediction != cluster:
        return prediction
    figures[HITS_NEXT] += 1
    figures[HITS_SEQUENCE] += 1
    figures[HIT_MICROBITS] += predictions.microbits[min(cluster, predictions.microbits.shape[0] - 1)]
    return NO_ANSWER


@kernel
def extend_sequences(
    at: int,
    pool_used: int,
    watches: Watches,
    regions: Regions,
    pool: Pool,
    rules: Rules,
    predictions: Predictions,
    base_pane: int,
    stats: NDArray[np.int64],
    out: NDArray[np.int64],
    n_out: int,
) -> tuple[int, int, int]:
    """Append watches from number `at` on, until all are done or the pool is full.

    `O(n * s)` for sequences of s clusters, allocates nothing. A repeat that de-duplication leaves out still counts
    as the user's previous watch. A prediction comes true when its cluster is appended while the sequence is open
    and at most one window later; the hit belongs to the pane of the transition that it was predicted for.

    Parameters
    ----------
    stats : int64[panes, 7]    added to, rows from `base_pane` on
    out : int64[n]             packed transitions, written from `n_out` on

    Returns
    -------
    (int, int, int)            watches done, pool cells used, transitions written
    """
    for i in range(at, watches.slots.shape[0]):
        user, cluster, time_ms = watches.slots[i], watches.clusters[i], watches.times_ms[i]
        length = regions.lengths[user]
        if length > 0 and rules.gap_ms != NO_GAP and time_ms - regions.last_ms[user] > rules.gap_ms:
            length = 0  # the gap closed the sequence; its open predictions can no longer come true
        is_repeat = _is_repeat(cluster, regions.starts[user], length, pool, rules.first_only)
        if not is_repeat and length == regions.capacities[user]:
            capacity = max(FIRST_CAPACITY, 2 * length)
            if pool_used + capacity > pool.clusters.shape[0]:
                return i, pool_used, n_out  # before anything of this watch is written
            _move_to_end(user, length, capacity, pool_used, regions, pool)
            pool_used += capacity
        regions.last_ms[user] = time_ms
        regions.lengths[user] = length
        regions.is_dirty[user] = True
        if is_repeat:
            continue
        start = regions.starts[user]
        _settle_predictions(cluster, time_ms, start, length, pool, rules, base_pane, stats)
        figures = stats[time_ms // rules.pane_ms - base_pane]
        end, prediction = start + length, NO_ANSWER
        if length == 2:
            figures[SEQUENCES] += 1
        if length >= 2 and (rules.allow_return or pool.clusters[end - 2] != cluster):
            c1, c2 = np.int64(pool.clusters[end - 2]), np.int64(pool.clusters[end - 1])
            bucket = np.int64(watches.users[i] & np.uint64(rules.n_buckets - 1))
            out[n_out] = (((c1 << 16 | c2) << 16 | np.int64(cluster)) << 8) | bucket
            n_out += 1
            prediction = _score(int(c1), int(c2), cluster, predictions, figures)
        pool.clusters[end] = cluster
        pool.times_ms[end] = time_ms
        pool.predictions[end] = prediction
        regions.lengths[user] = length + 1
    return watches.slots.shape[0], pool_used, n_out
