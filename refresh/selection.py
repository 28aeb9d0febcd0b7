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
    evidence: Evidence, table: TransitionTable | None, *, horizon_windows: float, confidence_z: float
) -> Selection:
    """Weigh every pair of the window and of the table. `O(t log t)`."""
    rows = table.pairs if table is not None else np.zeros(0, np.int64)
    pairs = np.union1d(evidence.counts.pairs, rows)
    at = np.searchsorted(rows, pairs)
    has_row = np.isin(pairs, rows, assume_unique=True)
    row_of = np.where(has_row, np.minimum(at, max(0, rows.shape[0] - 1)), 0)
    backoff = backoff_answers(evidence.backoff(3), pairs)
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
class _Bound:
    evidence: Evidence
    pairs: NDArray[np.int64]
    traffic: NDArray[np.int64]
    confidence_z: float

    def of(self, new: NDArray[np.int32], old: NDArray[np.int32]) -> NDArray[np.float64]:
        """Lower confidence bound of ``share(new) - share(old)``: float64[n]."""
        p_new, p_old = self.evidence.share(self.pairs, new), self.evidence.share(self.pairs, old)
        difference = p_new - p_old
        weight = self.traffic + self.evidence.concentration + 1.0
        deviation = np.sqrt(np.maximum(0.0, p_new + p_old - difference**2) / weight)
        bound: NDArray[np.float64] = difference - self.confidence_z * deviation
        return bound
