"""The best successors of rows: by posterior share or by plain count, ties by the smallest hash of (row, cluster)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegate.hashing import mix64
from tidegate.jit import inlined_kernel, kernel

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Best successors of some rows.

    Attributes
    ----------
    clusters : int32[n, k]     descending by share, -1 where there are fewer
    shares : float64[n, k]     0 where there is none
    """

    clusters: Int32s
    shares: Floats

    def __getitem__(self, rows: Int64s | Int32s | NDArray[np.bool_] | slice) -> Ranked:
        """Return some of the rows."""
        return Ranked(self.clusters[rows], self.shares[rows])

    @classmethod
    def nothing(cls, n_rows: int, depth: int) -> Ranked:
        """No successor at all."""
        return cls(np.full((n_rows, depth), -1, np.int32), np.zeros((n_rows, depth)))


@inlined_kernel
def _offer(
    clusters: Int32s, shares: Floats, hashes: NDArray[np.uint64], cluster: int, share: float, tie_hash: np.uint64
) -> None:
    """Insert a candidate into ranked lists of one row, if it is good enough. `O(k)`, allocates nothing."""
    at = clusters.shape[0]
    while at > 0 and (
        clusters[at - 1] < 0 or shares[at - 1] < share or (shares[at - 1] == share and hashes[at - 1] > tie_hash)
    ):
        at -= 1
    for rank in range(clusters.shape[0] - 1, at, -1):
        clusters[rank], shares[rank], hashes[rank] = clusters[rank - 1], shares[rank - 1], hashes[rank - 1]
    if at < clusters.shape[0]:
        clusters[at], shares[at], hashes[at] = cluster, share, tie_hash


@kernel
def rank_rows(
    c1: Int32s,
    c2: Int32s,
    group_of_row: Int64s,
    offsets: Int64s,
    entry_clusters: Int32s,
    entry_shares: Floats,
    rest: Floats,
    parent_of_row: Int32s,
    parent_clusters: Int32s,
    parent_shares: Floats,
    seeds: NDArray[np.uint64],
    clusters: Int32s,
    shares: Floats,
) -> None:
    """Rank each row's own entries, and the best of its parent that it has no entry for. `O(entries x k)`.

    Parameters
    ----------
    c1, c2 : int32[n]                  neither is an answer; c1 is -1 for a row of c2 alone
    group_of_row : int64[n]            group of the entries below, -1 = none
    offsets : int64[g + 1], entry_clusters : int32[t] ascending in each group, entry_shares : float64[t]
    rest : float64[g]                  what a parent's share is multiplied by
    parent_of_row : int32[n]           row of the parent's ranking
    parent_clusters : int32[q, d], parent_shares : float64[q, d]
    seeds : uint64[C]                  of the clusters' names
    clusters, shares : int32[n, k], float64[n, k]     filled with -1 and 0; receive the ranking
    """
    hashes = np.empty(clusters.shape[1], np.uint64)
    for i in range(c1.shape[0]):
        of_row = mix64(mix64(seeds[c1[i]]) ^ seeds[c2[i]]) if c1[i] >= 0 else mix64(seeds[c2[i]])
        group = group_of_row[i]
        start, end = (offsets[group], offsets[group + 1]) if group >= 0 else (0, 0)
        for e in range(start, end):
            cluster = entry_clusters[e]
            if cluster != c1[i] and cluster != c2[i]:
                _offer(clusters[i], shares[i], hashes, cluster, entry_shares[e], mix64(of_row ^ seeds[cluster]))
        factor = rest[group] if group >= 0 else 1.0
        parent = parent_of_row[i]
        for rank in range(parent_clusters.shape[1]):
            cluster = parent_clusters[parent, rank]
            if cluster < 0 or cluster == c1[i] or cluster == c2[i]:
                continue
            at = start + np.searchsorted(entry_clusters[start:end], cluster)
            if at == end or entry_clusters[at] != cluster:
                share = factor * parent_shares[parent, rank]
                _offer(clusters[i], shares[i], hashes, cluster, share, mix64(of_row ^ seeds[cluster]))
