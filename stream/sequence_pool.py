"""Where open sequences lie: a region a user, in one pool of cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.predictions import NO_ANSWER
from tidegate.jit import kernel

FIRST_CAPACITY = 4
"""Cells of a region when it is made."""


class Regions(NamedTuple):
    """Where each user's sequence lies in the pool, by slot.

    Attributes
    ----------
    starts : int64[u]
    lengths, capacities : int32[u]
    last_ms : int64[u]      time of the user's previous positive watch
    is_dirty : bool[u]      changed since the last checkpoint
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    capacities: NDArray[np.int32]
    last_ms: NDArray[np.int64]
    is_dirty: NDArray[np.bool_]


class Pool(NamedTuple):
    """Cells of all sequences: int32[m] clusters, int64[m] times, int32[m] open predictions (-1: none)."""

    clusters: NDArray[np.int32]
    times_ms: NDArray[np.int64]
    predictions: NDArray[np.int32]


def empty_regions(n_users: int) -> Regions:
    """Make regions of nothing, for `n_users` slots."""
    return Regions(
        starts=np.zeros(n_users, np.int64),
        lengths=np.zeros(n_users, np.int32),
        capacities=np.zeros(n_users, np.int32),
        last_ms=np.zeros(n_users, np.int64),
        is_dirty=np.zeros(n_users, np.bool_),
    )


def grown(regions: Regions, n_used: int, n_users: int) -> Regions:
    """Copy the first `n_used` slots to regions with room for `n_users`."""
    larger = empty_regions(n_users)
    for old, new in ((getattr(regions, name), getattr(larger, name)) for name in Regions._fields):
        new[:n_used] = old[:n_used]
    return larger


def empty_pool(n_cells: int) -> Pool:
    """Make a pool of cells in which nothing was watched."""
    return Pool(np.zeros(n_cells, np.int32), np.zeros(n_cells, np.int64), np.full(n_cells, NO_ANSWER, np.int32))


def starts_of(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where regions of these lengths begin when they lie one after the other: int64[n]."""
    starts: NDArray[np.int64] = np.cumsum(lengths, dtype=np.int64) - lengths
    return starts


@kernel
def copy_regions(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int32],
    source: Pool,
    target_starts: NDArray[np.int64],
    target: Pool,
) -> None:
    """Copy regions from one pool to another. `O(cells)`, allocates nothing.

    Parameters
    ----------
    starts, lengths : int64[n], int32[n]   in `source`
    target_starts : int64[n]
    """
    for region in range(starts.shape[0]):
        start, at = starts[region], target_starts[region]
        for i in range(lengths[region]):
            target.clusters[at + i] = source.clusters[start + i]
            target.times_ms[at + i] = source.times_ms[start + i]
            target.predictions[at + i] = source.predictions[start + i]
