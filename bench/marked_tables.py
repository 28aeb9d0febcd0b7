"""Full tables in which every answer tells the version it is of, so that a mixed answer shows.

A row of version v says v / 1024 for each of its clusters: exact in float32, in JSON and back.
"""

from __future__ import annotations

import numpy as np

from refresh.table import TransitionTable
from refresh.table_rows import BackoffRows, PairRows
from refresh.table_store import TableStore
from tidegate.contracts import Trigger

MARKS = 1_024
TOP_N = 5


def mark_of(version: int) -> float:
    """Probability that every answer of a version carries."""
    return (version % MARKS) / MARKS


def marked_table(version: int, n_clusters: int) -> TransitionTable:
    """All pairs of `n_clusters` with five answers each, and a backoff: 578,360 rows for 761 clusters."""
    at = np.arange(n_clusters * n_clusters)
    c1, c2 = (side[at // n_clusters != at % n_clusters] for side in (at // n_clusters, at % n_clusters))
    return TransitionTable.empty(tuple(f"cluster {i}" for i in range(n_clusters)), TOP_N).with_changes(
        PairRows(
            pairs=(c1 << 16 | c2).astype(np.int64),
            clusters=_following(c1, c2, n_clusters),
            probabilities=np.full((c1.shape[0], TOP_N), mark_of(version), dtype=np.float32),
            row_keys=np.ones((c1.shape[0], 2), dtype=np.uint64),
            contexts=c1.astype(np.int32),
            refreshed_ms=np.zeros(c1.shape[0], dtype=np.int64),
        ),
        backoff=BackoffRows(
            c2=np.arange(n_clusters, dtype=np.int32),
            clusters=_following(np.arange(n_clusters), np.arange(n_clusters), n_clusters),
            probabilities=np.full((n_clusters, TOP_N), mark_of(version), dtype=np.float32),
            row_keys=np.zeros((n_clusters, 2), dtype=np.uint64),
        ),
    )


def _following(c1: np.ndarray, c2: np.ndarray, n_clusters: int) -> np.ndarray:
    """Five clusters after the larger one of a pair, around the end: int32[n, 5]."""
    candidates = (np.maximum(c1, c2)[:, None] + np.arange(1, TOP_N + 3)) % n_clusters
    is_own = (candidates == c1[:, None]) | (candidates == c2[:, None])
    kept = np.argsort(is_own, axis=1, kind="stable")[:, :TOP_N]
    return np.take_along_axis(candidates, kept, axis=1).astype(np.int32)


def publish_marked(store: TableStore, n_clusters: int) -> int:
    """Publish the next version, marked as such; returns its number."""
    version = max(store.numbers(), default=0) + 1
    return store.publish(
        marked_table(version, n_clusters),
        window_end_ms=version,
        trigger=Trigger.POLICY,
        reasons={},
        engine_name="none",
        engine_fingerprint="none",
    )
