"""Hits of ways to answer, kept by user bucket: so a difference between two of them comes with an interval over users.

All ways are scored on the same transitions, and a user's transitions are not independent of each other: so the
unit that is drawn is a bucket of users, and the standard error is that of a ratio estimator over buckets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegate.counts import MAX_BUCKETS, BucketedCounts, bucket_of_key, pair_of_key, successor_of_key

Floats = NDArray[np.float64]
_LEAST_BUCKETS = 5  # an interval from fewer says more about its own noise


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over transitions; `margin` is half of its 95 % interval over users, None with too few of them."""

    mean: float
    margin: float | None

    @property
    def is_proven(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.margin is not None and abs(self.mean) > self.margin


def estimate(sums: Floats, weights: Floats) -> Estimate | None:
    """Estimate ``sum(sums) / sum(weights)``, both float64[buckets]; None where nothing weighs.

    Examples
    --------
    >>> estimate(np.full(8, 1.0), np.full(8, 4.0))
    Estimate(mean=0.25, margin=0.0)
    """
    total = float(weights.sum())
    if not total:
        return None
    mean, n = float(sums.sum()) / total, int((weights > 0).sum())
    if n < _LEAST_BUCKETS:
        return Estimate(mean, None)
    from scipy.special import stdtrit  # takes a while to import

    residual = float(((sums - mean * weights) ** 2).sum())
    error = math.sqrt(residual * n / (n - 1)) / total
    return Estimate(mean, float(stdtrit(n - 1, 0.975)) * error)


@dataclass(frozen=True, slots=True)
class Asked:
    """Transitions that answers are scored on: those of some pairs, in one window.

    Attributes
    ----------
    row : int64[t]          row of each entry's pair among the answers
    successors : int64[t]
    buckets : int64[t]
    counts : int64[t]
    """

    row: NDArray[np.int64]
    successors: NDArray[np.int64]
    buckets: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of_pairs(cls, window: BucketedCounts, pairs: NDArray[np.int64]) -> Asked:
        """Take the transitions of `pairs` (int64[n], ascending) from a window."""
        of_entry = pair_of_key(window.keys)
        row = np.searchsorted(pairs, of_entry)
        is_asked = (
            (row < pairs.shape[0]) & (pairs[np.minimum(row, pairs.shape[0] - 1)] == of_entry)
            if pairs.size
            else (np.zeros(of_entry.shape[0], np.bool_))
        )
        keys = window.keys[is_asked]
        return cls(row[is_asked], successor_of_key(keys), bucket_of_key(keys), window.counts[is_asked])

    def n_by_row(self, n_rows: int) -> NDArray[np.int64]:
        """Count each row's transitions: int64[n_rows]."""
        return np.bincount(self.row, self.counts, n_rows).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Scores:
    """Sums of one way to answer, float64[buckets] each: transitions, answered ones, hits, and bits of hits."""

    n: Floats
    answered: Floats
    hits: Floats
    bits: Floats

    @classmethod
    def none(cls) -> Scores:
        """Nothing was scored."""
        return cls(*(np.zeros(MAX_BUCKETS) for _ in range(4)))

    @classmethod
    def of_answers(
        cls,
        asked: Asked,
        answers: NDArray[np.int32],
        microbits: NDArray[np.int64],
        which: NDArray[np.bool_] | None = None,
    ) -> Scores:
        """Score answers. `O(t k)`.

        Parameters
        ----------
        answers : int32[n] or int32[n, k]     one row a pair, -1 = none; any of k is a hit
        microbits : int64[m]                  see `stream.predictions.hit_microbits`
        which : bool[n]                       rows to score, all by default
        """
        of_entry = (answers if answers.ndim == 2 else answers[:, None])[asked.row]
        weights = asked.counts.astype(np.float64) * (1.0 if which is None else which[asked.row])
        is_hit = (of_entry == asked.successors[:, None]).any(axis=1)
        bits = microbits[np.minimum(asked.successors, microbits.shape[0] - 1)] / 1e6
        is_answered = (of_entry >= 0).any(axis=1)

        def by_bucket(values: Floats) -> Floats:
            return np.asarray(np.bincount(asked.buckets, values, MAX_BUCKETS), np.float64)

        hits = weights * is_hit
        return cls(by_bucket(weights), by_bucket(weights * is_answered), by_bucket(hits), by_bucket(hits * bits))

    def __add__(self, other: Scores) -> Scores:
        """Add two windows up."""
        return Scores(self.n + other.n, self.answered + other.answered, self.hits + other.hits, self.bits + other.bits)


@dataclass(frozen=True, slots=True)
class Result:
    """What one way to answer came to; None where nothing was scored.

    Attributes
    ----------
    transitions : int
    coverage : answered share
    hit_rate, hit_information_bits : Estimate
    """

    transitions: int
    coverage: float | None
    hit_rate: Estimate | None
    hit_information_bits: Estimate | None

    @classmethod
    def of_scores(cls, scores: Scores) -> Result:
        """Sum up."""
        total = float(scores.n.sum())
        return cls(
            transitions=int(total),
            coverage=float(scores.answered.sum()) / total if total else None,
            hit_rate=estimate(scores.hits, scores.n),
            hit_information_bits=estimate(scores.bits, scores.n),
        )


@dataclass(frozen=True, slots=True)
class Gain:
    """One way to answer less another, on the same transitions; None where nothing was scored."""

    hit_rate: Estimate | None
    hit_information_bits: Estimate | None

    @classmethod
    def of_scores(cls, ours: Scores, theirs: Scores) -> Gain:
        """Compare, paired by user bucket."""
        return cls(estimate(ours.hits - theirs.hits, ours.n), estimate(ours.bits - theirs.bits, ours.n))
