"""A log cut into adjacent windows whose counts keep users apart, so that halves of the users can be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream.predictions import hit_microbits, no_predictions
from stream.sequences import SequenceOptions, SequenceState
from stream.shard import count_keys
from stream.watch_log import WatchLog
from tidegate.counts import BucketedCounts, bucket_of_key
from tidegate.durations import format_duration
from tidegate.errors import RequestError
from tidegate.hashing import cluster_seeds, hash_text, mix64_array

N_BUCKETS = 256
"""User buckets of a study, four times those of a run: halves of the users shall be as random as counts allow."""


@dataclass(frozen=True, slots=True)
class StudiedLog:
    """A log's transitions by pane, and its adjacent windows: the first starts with the log, none overlaps.

    Attributes
    ----------
    log : WatchLog
    sequences : SequenceOptions       with `N_BUCKETS` user buckets
    panes : list of BucketedCounts    one a pane of the log
    windows : list of BucketedCounts  full ones only, two at least
    """

    log: WatchLog
    sequences: SequenceOptions
    panes: list[BucketedCounts]
    windows: list[BucketedCounts]

    @classmethod
    def of_log(cls, log: WatchLog, sequences: SequenceOptions) -> StudiedLog:
        """Count a log.

        Raises
        ------
        RequestError
            If the log does not fill two windows, or holds no transition.
        """
        sequences = replace(sequences, n_buckets=N_BUCKETS)
        window_panes = sequences.window_panes
        if log.n_panes < 2 * window_panes:
            raise RequestError(
                f"the log has {log.n_panes} panes of {format_duration(sequences.pane_ms)}, and two windows take "
                f"{2 * window_panes}",
                "Give a longer log, or a shorter --window",
                place="--window",
            )
        state = SequenceState(sequences)
        panes = [
            count_keys([state.extend(each.users, each.clusters, each.times_ms, no_predictions())])
            for _, each in log.panes()
        ]
        if not any(pane.keys.size for pane in panes):
            raise RequestError(
                f"{log.watches.users.shape[0]} positive watches make no transition: no user has three in one sequence",
                "Check --user-column, --gap and --positive",
                place="--source",
            )
        starts = range(0, log.n_panes - window_panes + 1, window_panes)
        return cls(log, sequences, panes, [BucketedCounts.merge(panes[at : at + window_panes]) for at in starts])

    def last_pane_of(self, window: int) -> int:
        """Index of a window's last pane, counted from the log's first."""
        return (window + 1) * self.sequences.window_panes - 1

    def end_ms(self, pane: int) -> int:
        """End of a pane, by its index."""
        return (self.log.first_pane + pane + 1) * self.log.pane_ms

    def n_known(self, pane: int) -> int:
        """Clusters that had been named by the end of a pane, by its index."""
        return int(self.log.n_known[pane])

    @property
    def seeds(self) -> NDArray[np.uint64]:
        """Seeds of all clusters' names: uint64[C]."""
        return cluster_seeds(self.log.cluster_names)

    @property
    def microbits(self) -> NDArray[np.int64]:
        """Information of a hit by cluster, from the first window: int64[m]."""
        first = self.windows[0].without_buckets()
        return hit_microbits(first.successor_totals(int(first.successors.max(initial=0)) + 1))


def half_of_users(seed: int, split: int) -> NDArray[np.bool_]:
    """Draw half of the user buckets: bool[N_BUCKETS], the same for the same seed and number of the split.

    Examples
    --------
    >>> int(half_of_users(0, 3).sum()), bool((half_of_users(0, 3) == half_of_users(0, 4)).all())
    (128, False)
    """
    draws = mix64_array(np.arange(N_BUCKETS, dtype=np.uint64) + np.uint64(hash_text(f"split {split}", seed)))
    is_chosen = np.zeros(N_BUCKETS, np.bool_)
    is_chosen[np.argsort(draws)[: N_BUCKETS // 2]] = True
    return is_chosen


def users_of(counts: BucketedCounts, is_chosen: NDArray[np.bool_]) -> BucketedCounts:
    """Keep the transitions of the chosen user buckets (bool[N_BUCKETS])."""
    kept = is_chosen[bucket_of_key(counts.keys)]
    return BucketedCounts(counts.keys[kept], counts.counts[kept])


def in_fewer_buckets(counts: BucketedCounts, n_buckets: int) -> BucketedCounts:
    """Put users into fewer buckets, a power of two: as if they had been counted so. `O(t log t)`."""
    keys, inverse = np.unique(counts.keys & ~np.int64(0xFF ^ (n_buckets - 1)), return_inverse=True)
    return BucketedCounts(keys, np.bincount(inverse, counts.counts, keys.shape[0]).astype(np.int64))
