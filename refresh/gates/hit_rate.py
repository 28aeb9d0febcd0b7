"""Hits of a candidate against those of the serving table, on transitions that neither has an advantage on.

The serving table was made before the newest panes, so it is judged on what it has not seen. The candidate was made from
them: a pair seen once is "foretold" by its own row, and on thin logs most of a window is. Whatever hit only that would
let any candidate pass. So each transition is held out of the row that answers it, user by user (by bucket, since users
repeat themselves):

- Where both tables answer the same, there is no difference.
- A hit of the candidate counts if the row would read the same line without that bucket's transitions, by the same
  evidence: the panes that it looks back on and, where it is shrunk, the backoff as a prior of the strength that was
  learned. If its line leads by that bucket alone, it would have been another row: no hit. If it is tied, half a hit.
- A hit of the serving table counts. Where it was made from the same pane (a person orders a second refresh of it), its
  hits are held out in the same way.

This is leave-one-out cross-validation (Stone, J. R. Stat. Soc. B 36, 1974) of the retrieved line, which is all that a
row knows of the window. Mixtures of lengths make it a little hard on the candidate; that rows which stay as they are
cannot lose makes it a little easy.

Noise is taken from the buckets: their differences would be as likely negative as positive if the two were equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.gates.answers import not_applicable
from refresh.gates.bounds import GateBounds
from refresh.table import TransitionTable
from tidegate.contracts import GateVerdict
from tidegate.counts import (
    MAX_BUCKETS,
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate less serving table.

    Attributes
    ----------
    n_transitions : int
    hits : float             difference
    hits_deviation : float   standard deviation of it, if the two were equal
    bits, bits_deviation : float    the same in bits of hit information
    candidate_hits, serving_hits : float
    """

    n_transitions: int
    hits: float
    hits_deviation: float
    bits: float
    bits_deviation: float
    candidate_hits: float
    serving_hits: float

    @property
    def hits_z(self) -> float:
        """Difference of hits in standard deviations; 0 where nothing differs."""
        return self.hits / self.hits_deviation if self.hits_deviation else 0.0

    @property
    def bits_z(self) -> float:
        """Difference of bits in standard deviations."""
        return self.bits / self.bits_deviation if self.bits_deviation else 0.0


def compare_hits(
    candidate: TransitionTable,
    serving: TransitionTable,
    newest: BucketedCounts,
    support: Support,
    *,
    serving_has_seen: bool = False,
) -> Comparison:
    """Compare two tables on the panes that the serving one has not seen. `O(t log t)`.

    Parameters
    ----------
    newest : counts of those panes
    support : what the candidate was made from
    serving_has_seen : whether the serving table was made from them, too
    """
    pairs, successors = pair_of_key(newest.keys), successor_of_key(newest.keys)
    c1, c2 = unpack_pairs(pairs)
    mine, theirs = candidate.predict(c1, c2), serving.predict(c1, c2)
    is_mine, is_theirs, differs = mine == successors, theirs == successors, mine != theirs
    buckets = bucket_of_key(newest.keys)
    worth = np.where(is_mine & differs, _held_out(candidate, support, pairs, mine, buckets), 0.0)
    lost = (is_theirs & differs).astype(np.float64)
    if serving_has_seen:
        lost *= _held_out(serving, support, pairs, theirs, buckets)
    gained = (worth - lost) * newest.counts
    bits = _bits(support.counts)
    by_bucket = np.bincount(buckets, gained, MAX_BUCKETS)
    bits_by_bucket = np.bincount(buckets, gained * bits[np.minimum(successors, bits.shape[0] - 1)], MAX_BUCKETS)
    served = float(newest.counts[is_theirs].sum())
    return Comparison(
        n_transitions=newest.total,
        hits=float(by_bucket.sum()),
        hits_deviation=math.sqrt(float((by_bucket**2).sum())),
        bits=float(bits_by_bucket.sum()),
        bits_deviation=math.sqrt(float((bits_by_bucket**2).sum())),
        candidate_hits=served + float(by_bucket.sum()),
        serving_hits=served,
    )


def hit_rate(comparison: Comparison, bounds: GateBounds) -> GateVerdict:
    """Refuse a candidate that loses hits by more than chance, or their information without hits in return."""
    if not comparison.n_transitions:
        return not_applicable("hit_rate", "no transition came since the serving table was made")
    limit = -bounds.hit_loss_z
    loses_bits = comparison.bits_z < limit and comparison.hits_z < bounds.hit_loss_z
    n = comparison.n_transitions
    sentence = (
        f"on the {n:,} transitions since the serving table was made it hits {comparison.serving_hits / n:.4f}, the "
        f"candidate {comparison.candidate_hits / n:.4f}: {comparison.hits_z:+.1f} standard deviations "
        f"({comparison.bits / n:+.4f} bits, {comparison.bits_z:+.1f}); at least {limit:+.1f} is required"
    )
    found = min(comparison.hits_z, comparison.bits_z) if loses_bits else comparison.hits_z
    is_passed = comparison.hits_z >= limit and not loses_bits
    return GateVerdict(gate="hit_rate", found=found, required=limit, is_passed=is_passed, sentence=sentence)


def _held_out(
    table: TransitionTable,
    support: Support,
    pairs: NDArray[np.int64],
    answers: NDArray[np.int32],
    buckets: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Weigh hits with their bucket held out: 1 if the row would read the same line, ½ if it were tied, else 0.

    Only the bucket's transitions to the line are taken away, not those to its rivals: a bucket is a small part of the
    users, and a rival that it supports would fall too.
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


def _bits(counts: BucketedCounts) -> NDArray[np.float64]:
    """Information of a hit on each cluster, by its add-half smoothed share among successors: float64[C+1].

    The last entry is for clusters that did not follow.
    """
    successors = successor_of_key(counts.keys)
    n_clusters = int(successors.max(initial=-1)) + 1
    smoothed = np.r_[np.bincount(successors, counts.counts, n_clusters), 0] + 0.5
    bits: NDArray[np.float64] = -np.log2(smoothed / (counts.total + 0.5 * max(n_clusters, 1)))
    return bits
