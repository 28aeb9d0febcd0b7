"""The paper's retrieval: what followed most often in the window, without shrinking, and its backoff."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refresh.evidence.level import offsets_of
from refresh.evidence.ranking import Ranked, rank_rows
from tidegate.counts import SuccessorCounts, pack_pairs, unpack_pairs


def plain_rank(counts: SuccessorCounts, seeds: NDArray[np.uint64], depth: int) -> Ranked:
    """Rank every pair's successors by plain counts: the paper's retrieval, over [p, depth]."""
    c1, c2 = unpack_pairs(counts.pairs)
    return _plain(counts.offsets, counts.successors, counts.counts, (c1, c2), seeds, depth)


def plain_backoff(counts: SuccessorCounts, seeds: NDArray[np.uint64], depth: int) -> Ranked:
    """Rank the successors of every ``c2`` by plain counts: over [C, depth], -1 where there is none."""
    row = np.repeat(counts.pairs & 0xFFFF, np.diff(counts.offsets))
    keys, inverse = np.unique(pack_pairs(row, counts.successors), return_inverse=True)
    totals = np.bincount(inverse, counts.counts, keys.shape[0]).astype(np.int64)
    groups, offsets = offsets_of(keys >> 16)
    c2 = groups.astype(np.int32)
    of_known = _plain(offsets, (keys & 0xFFFF).astype(np.int32), totals, (np.full_like(c2, -1), c2), seeds, depth)
    ranked = Ranked.nothing(seeds.shape[0], depth)
    ranked.clusters[c2], ranked.shares[c2] = of_known.clusters, of_known.shares
    return ranked


def _plain(
    offsets: NDArray[np.int64],
    successors: NDArray[np.int32],
    counts: NDArray[np.int64],
    context: tuple[NDArray[np.int32], NDArray[np.int32]],
    seeds: NDArray[np.uint64],
    depth: int,
) -> Ranked:
    n = offsets.shape[0] - 1
    totals = np.add.reduceat(counts, offsets[:-1]) if n else np.zeros(0)
    out, none = Ranked.nothing(n, depth), Ranked.nothing(1, 1)
    rank_rows(
        *context,
        np.arange(n),
        offsets,
        successors,
        counts / np.repeat(totals, np.diff(offsets)),
        np.ones(n),
        np.zeros(n, np.int32),
        none.clusters,
        none.shares,
        seeds,
        out.clusters,
        out.shares,
    )
    return out
