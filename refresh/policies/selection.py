"""Which rows pay: regained hits over the horizon, as a lower confidence bound, against the price of a call.

The gain of a fresh row is ``traffic x horizon x (share of the fresh answer - share of what is served now)``. Both
shares are posterior means. For a pair without a row they are shrunk toward its backoff, which is what serves it: the
estimate is conservative as it stands. A row that serves is only replaced by a call, or dropped, where the difference
exceeds some of its standard deviations, for of many near ties some always look better::

    var(p_r - p_s) = (p_r + p_s - (p_r - p_s)^2) / (n + m + 1)

What a fresh row is held against is the best that is free: the pair's row or, where that is better or there is no
row, its fresh backoff.

Where a model answers, what it was seen to know beyond lines comes on top (`refresh.policies.lift`): a fresh row is
expected to hit as its line does and by the lift of its class more, and a row whose answer had left its line is held
for as good as such answers were seen to be, as far as the pair's own counts do not tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence, Ranked
from refresh.policies.lift import Lifts, classes_of, own_shares
from refresh.table import TransitionTable
from tidegate.counts import unpack_pairs

# A row that serves is dropped only where its backoff is better by so many standard deviations: users who come back to
# a pair after long do as they did before, which its thin recent counts do not show.
_DROP_Z = 0.3

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Economics:
    """What a gain is counted in.

    Attributes
    ----------
    horizon_panes : float     how long a row is expected to serve
    confidence_z : float      standard deviations between an estimated gain and its lower bound
    realised_share : float    of the gains that were expected of earlier rows, what came true (a lower bound)
    """

    horizon_panes: float
    confidence_z: float
    realised_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Selection:
    """What is known of every pair that was seen or has a row.

    Attributes
    ----------
    pairs : int64[n]           ascending
    has_row : bool[n]
    fresh : int32[n]           answer that the evidence gives
    line : int32[n]            first cluster of the retrieved line; that answer, unless lines are retrieved otherwise
    best_free : int32[n]       the best answer that costs nothing: the row's, or the backoff's
    hits_per_pane : float64[n] that `fresh` is expected to gain on `best_free`, without a bound
    gain_hits : float64[n]     lower bound of the hits that `fresh` gains over the horizon
    is_new_context : bool[n]   the row would be asked with another retrieved line than last time
    lift_hits : float64[n]     that the weights are expected to add to the fresh line in a pane, a lower bound; 0 where
                               they were not seen to add anything
    own : float64[n]           part of the pair's share that is its own evidence
    backs_off : bool[n]        the fresh backoff serves the pair better than its row does: drop the row, no call,
                               unless a fresh row is bought
    """

    pairs: Int64s
    has_row: Bools
    fresh: Int32s
    line: Int32s
    best_free: Int32s
    hits_per_pane: Floats
    gain_hits: Floats
    is_new_context: Bools
    lift_hits: Floats
    own: Floats
    backs_off: Bools


def weigh_rows(
    evidence: Evidence,
    table: TransitionTable | None,
    backoff_level: Ranked,
    economics: Economics,
    lines: Callable[[Int64s], Int32s] | None = None,
    lifts: Lifts | None = None,
) -> Selection:
    """Weigh every pair of the evidence and of the table, where `backoff_level` answers pairs without a row. `O(t)`.

    Parameters
    ----------
    lines : gives the first cluster of pairs' retrieved lines, where that is not the answer that the evidence gives
    lifts : what weights were seen to know beyond lines, where a model answers
    """
    rows = table.pairs if table is not None else np.zeros(0, np.int64)
    pairs = np.union1d(evidence.seen_pairs, rows)
    at = np.searchsorted(rows, pairs)
    has_row = np.isin(pairs, rows, assume_unique=True)
    row_of = np.where(has_row, np.minimum(at, max(0, rows.shape[0] - 1)), 0)
    backoff = backoff_answers(backoff_level, pairs)
    served, context = backoff.copy(), np.full(pairs.shape[0], -1, np.int32)
    if table is not None and rows.size:
        served = np.where(has_row, table.clusters[row_of, 0], backoff).astype(np.int32)
        context = np.where(has_row, table.contexts[row_of], -1).astype(np.int32)
    fresh = evidence.rank(pairs, 1).clusters[:, 0]
    line = fresh if lines is None else lines(pairs)
    z = np.where(has_row, economics.confidence_z, 0.0)
    mass = evidence.pairs.mass_of(pairs) + evidence.pair_setting.strength
    shares = {answer: evidence.share(pairs, of) for answer, of in (("b", backoff), ("s", served), ("f", fresh))}
    own, traffic = own_shares(evidence, pairs), evidence.traffic(pairs)
    lift_hits = np.zeros(pairs.shape[0])
    has_left = has_row & (context >= 0) & (served >= 0) & (served != context)
    if lifts is not None:
        lift_hits = lifts.added[classes_of(own)] * traffic
        shares["s"] = np.where(has_left, _raised(evidence, pairs, served, shares["s"], own, lifts), shares["s"])
    backs_off = has_row & (backoff != served) & (lower_bound(shares["b"], shares["s"], mass, _DROP_Z) > 0)
    best_free = np.where(backs_off, backoff, served).astype(np.int32)
    free_share = np.where(backs_off, shares["b"], shares["s"])
    per_pane = np.where(fresh != best_free, traffic, 0.0)
    bound = lower_bound(shares["f"], free_share, mass, z) * economics.realised_share
    return Selection(
        pairs=pairs,
        has_row=has_row,
        fresh=fresh,
        line=line,
        best_free=best_free,
        hits_per_pane=(shares["f"] - free_share) * per_pane,
        gain_hits=bound * per_pane * economics.horizon_panes,
        is_new_context=~has_row | (context != line),
        lift_hits=lift_hits,
        own=own,
        backs_off=backs_off,
    )


def _raised(evidence: Evidence, pairs: Int64s, answers: Int32s, shares: Floats, own: Floats, lifts: Lifts) -> Floats:
    """Shares of answers that left their line: shrunk toward what such answers are worth, if that is more."""
    _, c2 = unpack_pairs(pairs)
    prior = evidence.backoff_share(c2, answers)
    rates = lifts.rates[classes_of(own)]
    return np.asarray(shares + (1.0 - own) * np.maximum(0.0, rates - prior), np.float64)


def backoff_answers(backoff: Ranked, pairs: Int64s) -> Int32s:
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
    """What is known of every row of the backoff level.

    Attributes
    ----------
    c2 : int32[k]             ascending
    has_row : bool[k]
    gain_hits : float64[k]    lower bound of the hits that a fresh row gains over the horizon, on the pairs that it
                              answers
    """

    c2: Int32s
    has_row: Bools
    gain_hits: Floats


def weigh_backoff(evidence: Evidence, table: TransitionTable | None, economics: Economics) -> BackoffSelection:
    """Weigh the rows of ``c2`` as rows that cost a call: one of them serves all pairs without a row. `O(p)`."""
    ranked = evidence.backoff(1).clusters[:, 0]
    c2 = np.flatnonzero(ranked >= 0).astype(np.int32)
    fresh = ranked[c2]
    n_known = 0 if table is None else len(table.cluster_names)
    served = np.full(c2.shape[0], -1, np.int32)
    if table is not None:
        known = c2 < n_known
        served[known] = table.backoff_clusters[c2[known], 0]
    bound = lower_bound(
        evidence.backoff_share(c2, fresh),
        evidence.backoff_share(c2, served),
        evidence.clusters.mass_of(c2.astype(np.int64)) + evidence.cluster_setting.strength,
        np.where(served >= 0, economics.confidence_z, 0.0),
    )
    answered = _traffic_without_row(evidence, table, ranked.shape[0])[c2]
    gain = bound * answered * economics.horizon_panes * economics.realised_share
    return BackoffSelection(c2=c2, has_row=served >= 0, gain_hits=np.where(fresh != served, gain, 0.0))


def _traffic_without_row(evidence: Evidence, table: TransitionTable | None, n_clusters: int) -> Floats:
    """Transitions a pane to expect, by c2, of pairs that have no row of their own: float64[C]."""
    pairs = evidence.seen_pairs
    if table is not None:
        pairs = pairs[~np.isin(pairs, table.pairs, assume_unique=True)]
    _, c2 = unpack_pairs(pairs)
    return np.bincount(c2, evidence.traffic(pairs), n_clusters).astype(np.float64)


def lower_bound(p_new: Floats, p_old: Floats, mass: Floats, z: Floats | float) -> Floats:
    """Lower confidence bound of ``p_new - p_old``, both from the same `mass` transitions: float64[n]."""
    difference = p_new - p_old
    deviation = np.sqrt(np.maximum(0.0, p_new + p_old - difference**2) / (mass + 1.0))
    bound: Floats = difference - z * deviation
    return bound
