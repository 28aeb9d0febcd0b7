"""A world of 20 clusters in which most users move on to c2 + 1."""

from __future__ import annotations

import numpy as np

from refresh.prompts import RowContexts
from tidegate.counts import BucketedCounts, SuccessorCounts, pack_transitions

N_CLUSTERS = 20
NAMES = [f"interest {cluster}" for cluster in range(N_CLUSTERS)]


def tiny_counts(seed: int, n: int = 3_000, n_clusters: int = N_CLUSTERS) -> SuccessorCounts:
    """Transitions of one group of users."""
    generator = np.random.default_rng(seed)
    c1, c2, other = generator.integers(0, n_clusters, (3, n))
    c_next = np.where(generator.random(n) < 0.7, (c2 + 1) % n_clusters, other)
    distinct = (c1 != c2) & (c_next != c1) & (c_next != c2)
    keys, counts = np.unique(pack_transitions(c1, c2, c_next, np.zeros(n, np.int64))[distinct], return_counts=True)
    return BucketedCounts(keys, counts).without_buckets()


def contexts_of(rows: list[tuple[int, int, int]]) -> RowContexts:
    """Contexts from (c1, c2, retrieved)."""
    table = np.array(rows, dtype=np.int32).reshape(-1, 3)
    return RowContexts(table[:, 0], table[:, 1], table[:, 2:])


def random_contexts(n: int, n_clusters: int = N_CLUSTERS, seed: int = 0) -> RowContexts:
    """Contexts of distinct clusters; a tenth without c1, a tenth without a retrieved line."""
    generator = np.random.default_rng(seed)
    table = np.argsort(generator.random((n, n_clusters)), axis=1)[:, :3].astype(np.int32)
    table[generator.random(n) < 0.1, 0] = -1
    table[generator.random(n) < 0.1, 2] = -1
    return RowContexts(table[:, 0], table[:, 1], table[:, 2:])
