"""Which rows pay: regained hits over the horizon, as a lower confidence bound, against the price of a call.

The gain of a fresh row is ``traffic x (share of the fresh answer - share of what is served now)``. Both shares come
from the same window, so their difference has the variance of a multinomial contrast::

    var(p_r - p_s) = (p_r + p_s - (p_r - p_s)^2) / (n + m + 1)

What a fresh row is held against is the best that is free: the pair's row or, where that is better or there is no
row, its fresh backoff.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence, Ranked
from refresh.table import TransitionTable
from tidegate.counts import unpack_pairs


@dataclass(frozen=True, slots=True)
class Selection:
    """What is known of every pair that was seen or has a row.

    Attributes
    ----------
    pairs : int64[n]           ascending
    has_row : bool[n]
    traffic : int64[n]         transitions in the window
    fresh : int32[n]           answer that the window's evidence gives
    served : int32[n]          answer that is served now
    gain_hits : float64[n]     lower bound of the hits that `fresh` gains over the horizon, on the best that is free
    is_new_context : bool[n]   the row would be asked with another retrieved line than last time
    backs_off : bool[n]        the fresh backoff serves the pair better than its row does: drop the row, no call,
                               unless a fresh row is bought
    """

    pairs: NDArray[np.int64]
    has_row: NDArray[np.bool_]
    traffic: NDArray[np.int64]
    fresh: NDArray[np.int32]
    served: NDArray[np.int32]
    gain_hits: NDArray[np.float64]
    is_new_context: NDArray[np.bool_]
    backs_off: NDArray[np.bool_]


def weigh_rows(
    evidence: Evidence,
    table: TransitionTable | None,
    backoff_level: Ranked,
    *,
    horizon_windows: float,
    confidence_z: float,
) -> Selection:
    """Weigh every pair of the window and of the table, where `backoff_level` answers pairs without a row.

    `O(t log t)`.
    """
    rows = table.pairs if table is not None else np.zeros(0, np.int64)
    pairs = np.union1d(evidence.counts.pairs, rows)
    at = np.searchsorted(rows, pairs)
    has_row = np.isin(pairs, rows, assume_unique=True)
    row_of = np.where(has_row, np.minimum(at, max(0, rows.shape[0] - 1)), 0)
    backoff = backoff_answers(backoff_level, pairs)
    served, context = backoff.copy(), np.full(pairs.shape[0], -1, np.int32)
    if table is not None and rows.size:
        served = np.where(has_row, table.clusters[row_of, 0], backoff).astype(np.int32)
        context = np.where(has_row, table.contexts[row_of], -1).astype(np.int32)
    fresh = evidence.rank(pairs, 1).clusters[:, 0]
    traffic = evidence.totals(pairs)
    bound = _Bound(evidence, pairs, traffic, confidence_z)
    backs_off = has_row & (backoff != served) & (bound.of(backoff, served) > 0)
    best_free = np.where(backs_off, backoff, served)
    gain = np.where(fresh != best_free, bound.of(fresh, best_free) * traffic * horizon_windows, 0.0)
    return Selection(
        pairs=pairs,
        has_row=has_row,
        traffic=traffic,
        fresh=fresh,
        served=served,
        gain_hits=gain,
        is_new_context=~has_row | (context != fresh),
        backs_off=backs_off,
    )


def backoff_answers(backoff: Ranked, pairs: NDArray[np.int64]) -> NDArray[np.int32]:
    """Best backoff answer of each pair that is neither c1 nor c2, -1 where there is none: int32[n]."""
    c1, c2 = unpack_pairs(pairs)
    answers = np.full(pairs.shape[0], -1, np.int32)
    for rank in reversed(range(backoff.clusters.shape[1])):
        candidate = backoff.clusters[c2, rank]
        usable = (candidate >= 0) & (candidate != c1) & (candidate != c2)
        answers = np.where(usable, candidate, answers)
    return answers


@dataclass(frozen=True, slots=True)
class BackoffSelection:
    """What is known of every row of the backoff level that the window has evidence for.

    Attributes
    ----------
    c2 : int32[k]             ascending
    has_row : bool[k]
    gain_hits : float64[k]    lower bound of the hits that a fresh row gains over the horizon, on the pairs that it
                              answers
    """

    c2: NDArray[np.int32]
    has_row: NDArray[np.bool_]
    gain_hits: NDArray[np.float64]


def weigh_backoff(
    evidence: Evidence, table: TransitionTable | None, *, horizon_windows: float, confidence_z: float
) -> BackoffSelection:
    """Weigh the rows of ``c2`` as rows that cost a call: one of them serves all pairs without a row. `O(p)`."""
    ranked = evidence.backoff(1).clusters[:, 0]
    c2 = np.flatnonzero(ranked >= 0).astype(np.int32)
    fresh = ranked[c2]
    n_known = 0 if table is None else len(table.cluster_names)
    served = np.full(c2.shape[0], -1, np.int32)
    if table is not None:
        known = c2 < n_known
        served[known] = table.backoff_clusters[c2[known], 0]
    bound = _lower_bound(
        evidence.backoff_share(c2, fresh),
        evidence.backoff_share(c2, served),
        (evidence.totals_of_c2()[c2] + evidence.backoff_concentration).astype(np.float64),
        confidence_z,
    )
    answered = _traffic_without_row(evidence, table)[c2]
    gain = np.where(fresh != served, bound * answered * horizon_windows, 0.0)
    return BackoffSelection(c2=c2, has_row=served >= 0, gain_hits=gain)


def _traffic_without_row(evidence: Evidence, table: TransitionTable | None) -> NDArray[np.int64]:
    """Transitions of the window, by c2, whose pair has no row of its own: int64[C]."""
    pairs = evidence.counts.pairs
    if table is not None:
        pairs = pairs[~np.isin(pairs, table.pairs, assume_unique=True)]
    _, c2 = unpack_pairs(pairs)
    return np.bincount(c2, evidence.totals(pairs), evidence.totals_of_c2().shape[0]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Bound:
    evidence: Evidence
    pairs: NDArray[np.int64]
    traffic: NDArray[np.int64]
    confidence_z: float

    def of(self, new: NDArray[np.int32], old: NDArray[np.int32]) -> NDArray[np.float64]:
        """Lower confidence bound of ``share(new) - share(old)`` of each pair: float64[n]."""
        return _lower_bound(
            self.evidence.share(self.pairs, new),
            self.evidence.share(self.pairs, old),
            (self.traffic + self.evidence.concentration).astype(np.float64),
            self.confidence_z,
        )


def _lower_bound(
    p_new: NDArray[np.float64], p_old: NDArray[np.float64], weight: NDArray[np.float64], confidence_z: float
) -> NDArray[np.float64]:
    """Lower confidence bound of ``p_new - p_old``, both from the same ``weight`` transitions: float64[n]."""
    difference = p_new - p_old
    deviation = np.sqrt(np.maximum(0.0, p_new + p_old - difference**2) / (weight + 1.0))
    bound: NDArray[np.float64] = difference - confidence_z * deviation
    return bound
