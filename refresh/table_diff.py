"""What sets two transition tables apart, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refresh.table import TransitionTable
from refresh.table_rows import NO_CLUSTER, Bools, Float32s, Int32s, Int64s
from tidegate.errors import TableError


@dataclass(frozen=True, slots=True)
class TableDiff:
    """What sets two tables apart, pairs as int64 keys and backoff rows as int32 `c2`, ascending.

    ``reranked`` rows name other clusters or another order; ``reweighted`` rows the same with other probabilities.
    """

    added: Int64s
    removed: Int64s
    reranked: Int64s
    reweighted: Int64s
    backoff_added: Int32s
    backoff_removed: Int32s
    backoff_reranked: Int32s
    backoff_reweighted: Int32s

    @property
    def rows_changed(self) -> int:
        """Rows added, removed or reranked, on both levels."""
        pairs = self.added.size + self.removed.size + self.reranked.size
        return int(pairs + self.backoff_added.size + self.backoff_removed.size + self.backoff_reranked.size)

    @property
    def rows_reweighted(self) -> int:
        """Rows whose probabilities alone differ, on both levels."""
        return int(self.reweighted.size + self.backoff_reweighted.size)


def share_catalogue(one: TransitionTable, other: TransitionTable) -> bool:
    """Tell whether one table's cluster names extend the other's, so that ids mean the same in both."""
    n_shared = min(len(one.cluster_names), len(other.cluster_names))
    return one.cluster_names[:n_shared] == other.cluster_names[:n_shared]


def diff_tables(new: TransitionTable, old: TransitionTable) -> TableDiff:
    """Compare two tables on both levels. `O(r log r)`.

    Raises
    ------
    TableError
        If they do not share a catalogue.
    """
    if not share_catalogue(new, old):
        raise TableError(
            "the tables are of different catalogues, so their rows cannot be compared",
            "Compare versions whose cluster names extend each other",
        )
    at = old.rows_of(new.pairs)
    mine = np.flatnonzero(at >= 0)
    theirs = at[mine]
    reranked, reweighted = _changes(
        new.clusters[mine], old.clusters[theirs], new.probabilities[mine], old.probabilities[theirs]
    )
    gone = np.ones(old.n_rows, dtype=np.bool_)
    gone[theirs] = False
    shared = new.pairs[mine]
    return TableDiff(new.pairs[at < 0], old.pairs[gone], shared[reranked], shared[reweighted], *_backoff(new, old))


def _backoff(new: TransitionTable, old: TransitionTable) -> tuple[Int32s, Int32s, Int32s, Int32s]:
    """Backoff rows added, removed, reranked and reweighted."""
    n = max(len(new.cluster_names), len(old.cluster_names))
    width = max(new.top_n, old.top_n)
    mine, theirs = (_padded_clusters(table.backoff_clusters, n, width) for table in (new, old))
    weights = [_padded_weights(table.backoff_probabilities, n, width) for table in (new, old)]
    has, had = (mine >= 0).any(axis=1), (theirs >= 0).any(axis=1)
    reranked, reweighted = _changes(mine, theirs, *weights)
    masks = (has & ~had, had & ~has, has & had & reranked, has & had & reweighted)
    added, removed, moved, weighted = (np.flatnonzero(mask).astype(np.int32) for mask in masks)
    return added, removed, moved, weighted


def _changes(
    clusters: Int32s, old_clusters: Int32s, probabilities: Float32s, old_probabilities: Float32s
) -> tuple[Bools, Bools]:
    """Which rows name other clusters, and which the same ones with other probabilities; widths may differ."""
    n, width = clusters.shape[0], max(clusters.shape[1], old_clusters.shape[1])
    ranked = _padded_clusters(clusters, n, width) != _padded_clusters(old_clusters, n, width)
    weighted = _padded_weights(probabilities, n, width) != _padded_weights(old_probabilities, n, width)
    reranked = ranked.any(axis=1)
    return reranked, weighted.any(axis=1) & ~reranked


def _padded_clusters(clusters: Int32s, n: int, width: int) -> Int32s:
    """Append rows and ranks that name no cluster."""
    return np.pad(clusters, _missing(clusters.shape, n, width), constant_values=NO_CLUSTER)


def _padded_weights(weights: Float32s, n: int, width: int) -> Float32s:
    return np.pad(weights, _missing(weights.shape, n, width))


def _missing(shape: tuple[int, ...], n: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, n - shape[0]), (0, width - shape[1])
