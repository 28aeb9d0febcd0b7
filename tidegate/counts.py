"""Successor counts: the arrays that every room passes around.

A transition is packed into one int64 so that sorting, merging and grouping are single-array work::

    bits   63..56   55..40   39..24   23..8      7..0
           zero     c1       c2       c_next     user bucket

Cluster ids are below 65,536 and buckets below 256. Sorted by key, all rows of a pair lie together, all buckets of
a triple lie together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CLUSTERS = 1 << 16
MAX_BUCKETS = 1 << 8
_BUCKET_BITS, _CLUSTER_BITS = 8, 16

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]


def pack_transitions(c1: Int64s, c2: Int64s, c_next: Int64s, bucket: Int64s) -> Int64s:
    """Pack columns of transitions into keys, int64[n]."""
    return (((c1 << _CLUSTER_BITS | c2) << _CLUSTER_BITS | c_next) << _BUCKET_BITS) | bucket


def pair_of_key(keys: Int64s) -> Int64s:
    """Pair key ``c1 << 16 | c2`` of packed transitions, int64[n]."""
    return keys >> (_CLUSTER_BITS + _BUCKET_BITS)


def successor_of_key(keys: Int64s) -> Int64s:
    """``c_next`` of packed transitions, int64[n]."""
    return (keys >> _BUCKET_BITS) & (MAX_CLUSTERS - 1)


def bucket_of_key(keys: Int64s) -> Int64s:
    """User bucket of packed transitions, int64[n]."""
    return keys & (MAX_BUCKETS - 1)


def pack_pairs(c1: Int32s | Int64s, c2: Int32s | Int64s) -> Int64s:
    """Pair keys ``c1 << 16 | c2``, int64[n]."""
    packed: Int64s = c1.astype(np.int64) << _CLUSTER_BITS | c2.astype(np.int64)
    return packed


def unpack_pairs(pairs: Int64s) -> tuple[Int32s, Int32s]:
    """Split pair keys into c1 and c2, int32[n] each."""
    return (pairs >> _CLUSTER_BITS).astype(np.int32), (pairs & (MAX_CLUSTERS - 1)).astype(np.int32)


@dataclass(frozen=True, slots=True)
class BucketedCounts:
    """Transitions counted by (c1, c2, c_next, user bucket).

    Attributes
    ----------
    keys : int64[t]      packed, strictly ascending
    counts : int64[t]    positive
    """

    keys: Int64s
    counts: Int64s

    @classmethod
    def empty(cls) -> BucketedCounts:
        """No transitions at all."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))

    @classmethod
    def merge(cls, parts: list[BucketedCounts]) -> BucketedCounts:
        """Add counts up; the order of `parts` does not matter. `O(t log t)`.

        Examples
        --------
        >>> one = BucketedCounts(np.array([256]), np.array([2]))
        >>> BucketedCounts.merge([one, one]).counts.tolist()
        [4]
        """
        parts = [part for part in parts if part.keys.size]
        if not parts:
            return cls.empty()
        keys, inverse = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
        counts = np.zeros(keys.shape[0], dtype=np.int64)
        np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
        return cls(keys, counts)

    @property
    def total(self) -> int:
        """Number of transitions."""
        return int(self.counts.sum())

    def of_buckets(self, parity: int) -> BucketedCounts:
        """Keep the users of every other bucket (0: the even ones, 1: the odd ones), to hold one half out."""
        chosen = bucket_of_key(self.keys) % 2 == parity
        return BucketedCounts(self.keys[chosen], self.counts[chosen])

    def without_buckets(self) -> SuccessorCounts:
        """Sum the user buckets away."""
        if not self.keys.size:
            return SuccessorCounts.empty()
        triples = self.keys >> _BUCKET_BITS
        starts = np.flatnonzero(np.r_[True, triples[1:] != triples[:-1]])
        return SuccessorCounts.from_triples(triples[starts], np.add.reduceat(self.counts, starts))


@dataclass(frozen=True, slots=True)
class SuccessorCounts:
    """Successors of each pair with their counts, grouped by pair (compressed sparse rows).

    Row ``i`` is pair ``pairs[i]``; its successors are ``successors[offsets[i]:offsets[i+1]]``, ascending.

    Attributes
    ----------
    pairs : int64[p]         pair keys, strictly ascending
    offsets : int64[p + 1]
    successors : int32[t]
    counts : int64[t]        positive
    """

    pairs: Int64s
    offsets: Int64s
    successors: Int32s
    counts: Int64s

    @classmethod
    def empty(cls) -> SuccessorCounts:
        """No pairs at all."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32), none)

    @classmethod
    def from_triples(cls, triples: Int64s, counts: Int64s) -> SuccessorCounts:
        """Group packed ``(c1, c2, c_next)`` (no bucket bits), strictly ascending, by pair."""
        if not triples.size:
            return cls.empty()
        of_pair = triples >> _CLUSTER_BITS
        starts = np.flatnonzero(np.r_[True, of_pair[1:] != of_pair[:-1]])
        return cls(
            pairs=of_pair[starts],
            offsets=np.r_[starts, triples.shape[0]].astype(np.int64),
            successors=(triples & (MAX_CLUSTERS - 1)).astype(np.int32),
            counts=counts.astype(np.int64),
        )

    @property
    def totals(self) -> Int64s:
        """Transitions per pair, int64[p]."""
        if not self.pairs.size:
            return np.zeros(0, dtype=np.int64)
        return np.add.reduceat(self.counts, self.offsets[:-1])

    @property
    def total(self) -> int:
        """Number of transitions."""
        return int(self.counts.sum())

    def successor_totals(self, n_clusters: int) -> Int64s:
        """Count how often each cluster was the successor: int64[n_clusters]."""
        return np.bincount(self.successors, self.counts, n_clusters).astype(np.int64)
