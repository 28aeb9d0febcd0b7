"""What a row's answer is worth once a bucket of users is held out of what the row was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.table import TransitionTable
from tidegate.counts import (
    MAX_CLUSTERS,
    BucketedCounts,
    SuccessorCounts,
    bucket_of_key,
    pack_transitions,
    pair_of_key,
    successor_of_key,
    unpack_pairs,
)

_ANY = 0  # c1 of counts that are pooled over it
_SAME = 1e-9  # sums of shares that differ by less are equal


@dataclass(frozen=True, slots=True)
class Support:
    """What the lines of a table's rows rest on.

    Attributes
    ----------
    counts : BucketedCounts     of all panes that were looked at, the newest among them
    prior_strength : float      transitions that the backoff is worth in them (`refresh.evidence`); 0 for plain counts
    """

    counts: BucketedCounts
    prior_strength: float = 0.0


def worth_held_out(
    table: TransitionTable,
    support: Support,
    pairs: NDArray[np.int64],
    answers: NDArray[np.int32],
    buckets: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Weigh hits with their bucket held out: 1 if the row would read the same line, ½ if it were tied, else 0.

    `O((n + t) log t)`. Only the bucket's transitions to the line are taken away, not those to its rivals: a bucket is a
    small part of the users, and a rival that it supports would fall too.

    Parameters
    ----------
    pairs : int64[n]        of hits, and of what is weighed for nothing besides
    answers : int32[n]      of `table`
    buckets : int64[n]      of those who are held out

    Returns
    -------
    float64[n]
    """
    rows = table.rows_of(pairs)
    own = rows >= 0
    lines = np.where(own, table.contexts[rows] if table.n_rows else -1, answers).astype(np.int64)
    lines = np.where(lines >= 0, lines, answers)
    c2 = pairs & MAX_CLUSTERS - 1
    pooled = _Level.of(_pooled(support.counts))
    of_c2 = pooled.totals(c2)
    worth = _weighed(pooled.of_line(c2, lines), pooled.of_bucket(c2, lines, buckets), pooled.best_but(c2, lines))
    if own.any():
        strength = support.prior_strength
        level = _Level.of(support.counts)
        prior = strength * pooled.share_of(level.contexts & MAX_CLUSTERS - 1, level.successors)
        rival = np.maximum(
            level.best_but(pairs[own], lines[own], prior),
            strength * pooled.best_but(c2[own], lines[own]) / np.maximum(of_c2[own], 1),
        )
        backed, of_own_bucket = pooled.of_line(c2[own], lines[own]), pooled.of_bucket(c2[own], lines[own], buckets[own])
        share = strength / np.maximum(of_c2[own], 1)
        worth[own] = _weighed(
            level.of_line(pairs[own], lines[own]) + share * backed,
            level.of_bucket(pairs[own], lines[own], buckets[own]) + share * of_own_bucket,
            rival,
        )
    return worth


def _weighed(
    line: NDArray[np.float64], of_bucket: NDArray[np.float64], rival: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Whether lines lead without a bucket: 1, ½ where they are tied, 0 where another leads or nothing is left.

    A line that did not lead to begin with rests on what these counts do not say, in part: ½.
    """
    left = line - of_bucket
    is_tied = (np.abs(left - rival) <= _SAME) & (left > _SAME)
    return np.where(left > rival + _SAME, 1.0, np.where(is_tied | (line < rival - _SAME), 0.5, 0.0))


def _pooled(counts: BucketedCounts) -> BucketedCounts:
    """Add counts up over all c1."""
    _, c2 = unpack_pairs(pair_of_key(counts.keys))
    successors, buckets = successor_of_key(counts.keys), bucket_of_key(counts.keys)
    keys = pack_transitions(np.full_like(successors, _ANY), c2.astype(np.int64), successors, buckets)
    distinct, inverse = np.unique(keys, return_inverse=True)
    return BucketedCounts(distinct, np.bincount(inverse, counts.counts, distinct.shape[0]).astype(np.int64))


@dataclass(frozen=True, slots=True)
class _Level:
    """Counts of contexts (pairs, or c2 alone), by bucket and added up.

    Attributes
    ----------
    counts : BucketedCounts
    plain : SuccessorCounts
    contexts : int64[t]        of each entry of `plain`
    """

    counts: BucketedCounts
    plain: SuccessorCounts
    contexts: NDArray[np.int64]

    @classmethod
    def of(cls, counts: BucketedCounts) -> _Level:
        plain = counts.without_buckets()
        return cls(counts, plain, np.repeat(plain.pairs, np.diff(plain.offsets)))

    @property
    def successors(self) -> NDArray[np.int64]:
        return self.plain.successors.astype(np.int64)

    def totals(self, contexts: NDArray[np.int64]) -> NDArray[np.float64]:
        return _looked_up(self.plain.pairs, self.plain.totals, contexts)

    def of_line(self, contexts: NDArray[np.int64], lines: NDArray[np.int64]) -> NDArray[np.float64]:
        return _looked_up(self.contexts << 16 | self.successors, self.plain.counts, contexts << 16 | lines)

    def of_bucket(
        self, contexts: NDArray[np.int64], lines: NDArray[np.int64], buckets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return _looked_up(self.counts.keys, self.counts.counts, (contexts << 16 | lines) << 8 | buckets)

    def share_of(self, contexts: NDArray[np.int64], lines: NDArray[np.int64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = self.of_line(contexts, lines) / np.maximum(self.totals(contexts), 1)
        return shares

    def best_but(
        self, contexts: NDArray[np.int64], lines: NDArray[np.int64], prior: NDArray[np.float64] | float = 0.0
    ) -> NDArray[np.float64]:
        """Most that a context has to a cluster other than its line: transitions and, of each entry, its prior."""
        plain = self.plain
        if not plain.pairs.size:
            return np.zeros(contexts.shape[0])
        scores = plain.counts + prior
        order = np.lexsort((-scores, self.contexts))
        first, last = order[plain.offsets[:-1]], order.shape[0] - 1
        second = order[np.minimum(plain.offsets[:-1] + 1, last)]
        at = np.minimum(np.searchsorted(plain.pairs, contexts), plain.pairs.shape[0] - 1)
        runner_up = np.where(np.diff(plain.offsets)[at] > 1, scores[second[at]], 0.0)
        best = np.where(plain.successors[first[at]] == lines, runner_up, scores[first[at]])
        return np.where(plain.pairs[at] == contexts, best, 0.0)


def _looked_up(keys: NDArray[np.int64], values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values of keys that are there, 0 of the others: float64[n]."""
    if not keys.size:
        return np.zeros(wanted.shape[0])
    at = np.minimum(np.searchsorted(keys, wanted), keys.shape[0] - 1)
    found: NDArray[np.float64] = np.where(keys[at] == wanted, values[at], 0).astype(np.float64)
    return found
