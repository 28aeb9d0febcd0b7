"""Small seeded worlds of transitions for the drift tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.hashing import cluster_seeds

N_CLUSTERS = 120
NAMES = [f"interest {i}" for i in range(N_CLUSTERS)]
SEEDS = cluster_seeds(NAMES)

Int64s = NDArray[np.int64]


def zipf_side(
    rng: np.random.Generator, n_pairs: int, n: int, *, repeats: int = 1, thin_pairs: int = 0
) -> tuple[Int64s, Int64s, Int64s]:
    """Pair, rank of the successor (Zipf 1.0) and bucket of `n` transitions per pair, `repeats` alike per user.

    The first `thin_pairs` have a tenth of them.
    """
    chances = 1 / np.arange(1, N_CLUSTERS)
    users = (n_pairs, n // repeats)
    rank = np.repeat(rng.choice(N_CLUSTERS - 1, size=users, p=chances / chances.sum()), repeats, axis=1)
    bucket = np.repeat(rng.integers(0, 64, users), repeats, axis=1)
    pair = np.broadcast_to(np.arange(n_pairs)[:, None], rank.shape)
    is_kept = ((pair >= thin_pairs) | (np.arange(rank.shape[1]) < n // 10)).ravel()
    return pair.ravel()[is_kept], rank.ravel().astype(np.int64)[is_kept], bucket.ravel()[is_kept]


def counted(
    pair: Int64s, rank: Int64s, bucket: Int64s, *, drifted_pairs: int = 0, ids: Int64s | None = None
) -> BucketedCounts:
    """Count; of the first `drifted_pairs` pairs three of the top five successors give way to others."""
    moved = (pair < drifted_pairs) & (rank < 3)
    rank = np.where(moved, rank + 60, rank)
    columns = [pair % 100, 100 + pair // 100, (rank * 7 + pair) % N_CLUSTERS]
    if ids is not None:
        columns = [ids[column] for column in columns]
    keys, counts = np.unique(pack_transitions(columns[0], columns[1], columns[2], bucket), return_counts=True)
    return BucketedCounts(keys, counts.astype(np.int64))
