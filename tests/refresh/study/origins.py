"""Origins made of plain dictionaries, for tests that recompute everything by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refresh.study.origins import Origin
from stream.predictions import hit_microbits
from tidegate.counts import BucketedCounts, SuccessorCounts, pack_transitions
from tidegate.hashing import cluster_seeds

Counts = Mapping[tuple[int, int, int], int]
Bucketed = Mapping[tuple[int, int, int, int], int]


def bucketed(counts: Bucketed) -> BucketedCounts:
    """Counts by (c1, c2, c_next, bucket)."""
    if not counts:
        return BucketedCounts.empty()
    columns = [np.array(column, np.int64) for column in zip(*counts, strict=True)]
    keys = pack_transitions(columns[0], columns[1], columns[2], columns[3])
    order = np.argsort(keys)
    return BucketedCounts(keys[order], np.array(list(counts.values()), np.int64)[order])


def plain(counts: Counts) -> SuccessorCounts:
    return bucketed({(*triple, 0): n for triple, n in counts.items()}).without_buckets()


def origin(window: Counts, following: Bucketed, before: Counts | None = None, n_clusters: int = 20) -> Origin:
    known = plain(window)
    return Origin(
        before=None if before is None else plain(before),
        window=known,
        following=bucketed(following),
        seeds=cluster_seeds([f"interest {i}" for i in range(n_clusters)]),
        microbits=hit_microbits(known.successor_totals(n_clusters)),
    )
