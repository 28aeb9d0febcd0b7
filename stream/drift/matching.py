"""Which pairs of a window can be compared with its reference, and where their transitions lie on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import Side
from tidegate.counts import BucketedCounts, pair_of_key


def match_pairs(
    window: BucketedCounts, reference: BucketedCounts, min_support: int
) -> tuple[NDArray[np.int64], tuple[Side, Side]]:
    """Pairs with `min_support` on both sides, int64[p], and where each side's transitions of them lie."""
    sides = (_side(window), _side(reference))
    enough = [side[0][side[1].totals >= min_support] for side in sides]
    pairs = np.intersect1d(enough[0], enough[1], assume_unique=True)
    window_side, reference_side = (_select(side, np.searchsorted(known, pairs)) for known, side in sides)
    return pairs, (window_side, reference_side)


def _side(counts: BucketedCounts) -> tuple[NDArray[np.int64], Side]:
    of_key = pair_of_key(counts.keys)
    starts = np.flatnonzero(np.r_[True, of_key[1:] != of_key[:-1]]) if of_key.size else np.zeros(0, dtype=np.int64)
    totals = np.add.reduceat(counts.counts, starts) if starts.size else np.zeros(0, dtype=np.int64)
    return of_key[starts], Side(counts.keys, counts.counts, starts, np.r_[starts[1:], of_key.size], totals)


def _select(side: Side, rows: NDArray[np.int64]) -> Side:
    return side._replace(starts=side.starts[rows], ends=side.ends[rows], totals=side.totals[rows])


def event_share(window: Side, reference: Side) -> float:
    """Share, in logarithms, of the traffic's change that is more transitions per user rather than more users.

    Clumping is the mean number of further transitions in a transition's own cell. Dropping transitions at random lowers
    it by the rate, dropping whole cells does not; which of the two makes the larger sides alike the smaller ones is
    estimated from all pairs together, since single pairs are too thin to tell.
    """
    small = np.where(window.totals <= reference.totals, window.totals, reference.totals).sum()
    large = np.where(window.totals <= reference.totals, reference.totals, window.totals).sum()
    if small == large:
        return 1.0
    crowds = [_further_in_cell(side) for side in (window, reference)]
    of_small = np.where(window.totals <= reference.totals, crowds[0], crowds[1]).sum() / small
    of_large = np.where(window.totals <= reference.totals, crowds[1], crowds[0]).sum() / large
    if of_small <= 0 or of_large <= 0:
        return 1.0
    return float(np.clip(np.log(of_small / of_large) / np.log(small / large), 0.0, 1.0))


def _further_in_cell(side: Side) -> NDArray[np.int64]:
    sums = np.r_[0, np.cumsum(side.counts * (side.counts - 1))]
    return np.asarray(sums[side.ends] - sums[side.starts], dtype=np.int64)
