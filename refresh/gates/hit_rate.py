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
from refresh.gates.held_out import Support, worth_held_out
from refresh.table import TransitionTable
from tidegate.contracts import GateVerdict
from tidegate.counts import (
    MAX_BUCKETS,
    BucketedCounts,
    bucket_of_key,
    pair_of_key,
    successor_of_key,
    unpack_pairs,
)


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
    worth = np.where(is_mine & differs, worth_held_out(candidate, support, pairs, mine, buckets), 0.0)
    lost = (is_theirs & differs).astype(np.float64)
    if serving_has_seen:
        lost *= worth_held_out(serving, support, pairs, theirs, buckets)
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


def _bits(counts: BucketedCounts) -> NDArray[np.float64]:
    """Information of a hit on each cluster, by its add-half smoothed share among successors: float64[C+1].

    The last entry is for clusters that did not follow.
    """
    successors = successor_of_key(counts.keys)
    n_clusters = int(successors.max(initial=-1)) + 1
    smoothed = np.r_[np.bincount(successors, counts.counts, n_clusters), 0] + 0.5
    bits: NDArray[np.float64] = -np.log2(smoothed / (counts.total + 0.5 * max(n_clusters, 1)))
    return bits
