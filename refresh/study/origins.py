"""Where a study looks from: a window that is known, and the next one, which answers are scored on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.study.scores import Asked
from tidegate.counts import BucketedCounts, SuccessorCounts, unpack_pairs


@dataclass(frozen=True, slots=True)
class Origin:
    """The end of one window.

    Attributes
    ----------
    before : SuccessorCounts | None    the window before it, if it is full
    window : SuccessorCounts           what is known
    following : BucketedCounts         the next window, by user bucket
    seeds : uint64[C]                  of the clusters named so far
    microbits : int64[m]               information of a hit by cluster, from the log's first window
    """

    before: SuccessorCounts | None
    window: SuccessorCounts
    following: BucketedCounts
    seeds: NDArray[np.uint64]
    microbits: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Pairs to be answered, and the next window's transitions that score the answers.

    Attributes
    ----------
    pairs : int64[n]       ascending
    support : int64[n]     transitions of each in the window
    asked : Asked
    n_of_new_clusters : int     transitions left out, since c1 or c2 was named only after the origin
    """

    pairs: NDArray[np.int64]
    support: NDArray[np.int64]
    asked: Asked
    n_of_new_clusters: int

    @classmethod
    def of_origin(cls, origin: Origin) -> Rows:
        """All pairs of the next window: those that are seen in it decide the scores, so only they are asked."""
        following = origin.following.without_buckets()
        is_known = np.maximum(*unpack_pairs(following.pairs)) < origin.seeds.shape[0]
        pairs = following.pairs[is_known]
        support = np.zeros(pairs.shape[0], np.int64)
        _, of_window, of_rows = np.intersect1d(origin.window.pairs, pairs, assume_unique=True, return_indices=True)
        support[of_rows] = origin.window.totals[of_window]
        n_new = int(following.totals[~is_known].sum())
        return cls(pairs, support, Asked.of_pairs(origin.following, pairs), n_new)

    def only(self, which: NDArray[np.bool_], origin: Origin) -> Rows:
        """Keep some of the rows."""
        pairs = self.pairs[which]
        return Rows(pairs, self.support[which], Asked.of_pairs(origin.following, pairs), self.n_of_new_clusters)

    @property
    def contexts(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """c1 and c2: int32[n] each."""
        return unpack_pairs(self.pairs)
