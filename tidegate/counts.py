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

from tidegate.jit import kernel

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


@kernel
def merge_counts(
    a_keys: Int64s, a_counts: Int64s, b_keys: Int64s, b_counts: Int64s, out_keys: Int64s, out_counts: Int64s
) -> int:
    """Merge two ascending runs of keys, adding the counts of equal ones; returns how many keys there are.

    `O(a + b)`, allocates nothing.

    Parameters
    ----------
    a_keys, b_keys : int64[*]         strictly ascending
    out_keys, out_counts : int64[a + b]
    """
    i = j = n = 0
    while i < a_keys.shape[0] or j < b_keys.shape[0]:
        takes_a = j == b_keys.shape[0] or (i < a_keys.shape[0] and a_keys[i] <= b_keys[j])
        takes_b = i == a_keys.shape[0] or (j < b_keys.shape[0] and b_keys[j] <= a_keys[i])
        out_keys[n] = a_keys[i] if takes_a else b_keys[j]
        out_counts[n] = (a_counts[i] if takes_a else 0) + (b_counts[j] if takes_b else 0)
        i += takes_a
        j += takes_b
        n += 1
    return n


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
        """Add counts up; the order of `parts` does not matter. `O(t log p)` for p parts.

        Examples
        --------
        >>> one = BucketedCounts(np.array([256]), np.array([2]))
        >>> BucketedCounts.merge([one, one]).counts.tolist()
        [4]
        """
        parts = [part for part in parts if part.keys.size]
        while len(parts) > 1:  # two by two, so that no key is moved more than log p times
            pairs = list(zip(parts[::2], parts[1::2], strict=False))
            parts = [cls._add(*pair) for pair in pairs] + parts[2 * len(pairs) :]
        return parts[0] if parts else cls.empty()

    @classmethod
    def _add(cls, one: BucketedCounts, other: BucketedCounts) -> BucketedCounts:
        keys = np.empty(one.keys.shape[0] + other.keys.shape[0], np.int64)
        counts = np.empty_like(keys)
        n = merge_counts(
            read_only(one.keys), read_only(one.counts), read_only(other.keys), read_only(other.counts), keys, counts
        )
        return cls(keys[:n], counts[:n])

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


def read_only(values: Int64s) -> Int64s:
    """View counts as those that were read from the store are: one kernel signature, wherever they come from."""
    view = values.view()
    view.flags.writeable = False
    return view


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
