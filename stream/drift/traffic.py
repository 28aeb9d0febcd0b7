"""How the traffic of rows changed between reference and window: by how much, and by what.

Drift is what remains once traffic is accounted for, so the ratio of a row's expected transitions, window to reference,
has to be known. It is not that of the row's own transitions: one heavy user would pass for growth of his row, and then
the few others for drift. It is measured in users (from the buckets that a side fills, as balls fill urns) and in
transitions, each weighed by its precision, and shrunk toward the ratio of all rows of the size as far as rows differ
by no more than chance (empirical Bayes).

A row's size is the number of its users: that of its transitions says which side the heavy user is on. And all rows
tell, also those with too little support to be compared: these were not left out by chance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.drift.clumps import N_OCTAVES, Clumps, clumps_of, size_of
from stream.drift.evidence import Side
from stream.drift.growth import log_events
from tidegate.jit import kernel

_LEAST_SHARE = 0.01  # of one side: what lies beyond can hardly be compared
_ROUNDS = 3
_ENOUGH_ROWS = 30  # of a size, to have a ratio of their own
_LEAST_CLUMPED = 0.1
_SATURATED = 0.25  # buckets that count as empty where none is: urns then say little, and are weighed accordingly


class Traffic(NamedTuple):
    """Of each row: logarithms of what the window is expected to have more of than the reference.

    Attributes
    ----------
    log_ratios : float64[p]   transitions
    log_events : float64[p]   of that, transitions of each user; the rest is users
    """

    log_ratios: NDArray[np.float64]
    log_events: NDArray[np.float64]


def traffic_of(window: Side, reference: Side, order: NDArray[np.int64], n_buckets: int) -> Traffic:
    """Measure the traffic of all rows. `O(cells)`.

    Parameters
    ----------
    window, reference : Side    rows of the same pairs
    order : int64[p]            the rows in the order that sums are taken in
    """
    if not order.size:
        return Traffic(np.zeros(0), np.zeros(0))
    totals = np.stack([window.totals, reference.totals])
    clumps = clumps_of(window, reference, n_buckets)
    log_ratios = _log_ratios(order, totals, clumps, n_buckets)
    return Traffic(log_ratios, log_events(log_ratios, totals, clumps))


@kernel
def _users(filled: int, n_buckets: int) -> tuple[float, float]:
    """How many users fill so many of the buckets, and the relative variance that this way of counting adds.

    The occupancy of urns: ``E[filled] = B (1 - exp(-users / B))``.
    """
    if filled == 0:
        return 0.0, 0.0
    per_bucket = -np.log1p(-min(float(filled), n_buckets - _SATURATED) / n_buckets)
    of_urns = (np.exp(per_bucket) - 1.0 - per_bucket) / (n_buckets * per_bucket * per_bucket)
    return n_buckets * per_bucket, of_urns


@kernel
def _log_ratios(
    order: NDArray[np.int64], totals: NDArray[np.int64], clumps: Clumps, n_buckets: int
) -> NDArray[np.float64]:
    """Logarithm of each row's ratio of traffic: by users and by transitions, shrunk toward that of its size. `O(p)`.

    Works on the window's shares of both sides' transitions and users, which thin rows leave finite. A share's
    distance from that of all rows of the size is taken in logits, linearly, and so is its variance.
    """
    n_rows = order.shape[0]
    shares, of_users = _centers(order, totals, clumps.filled, n_buckets)
    clumped, between = _variances(order, totals, clumps, shares)
    log_ratios = np.empty(n_rows)
    for row in order:
        octave = size_of(clumps.filled, row)
        share, of_user = shares[octave], of_users[octave]
        slope, slope_of_users = share * (1.0 - share), of_user * (1.0 - of_user)
        n = float(totals[0, row] + totals[1, row])
        by_transitions = slope * n / clumped
        users_w, urns_w = _users(clumps.filled[0, row], n_buckets)
        users_r, urns_r = _users(clumps.filled[1, row], n_buckets)
        by_users = 1.0 / (urns_w + urns_r + 1.0 / (slope_of_users * (users_w + users_r)))
        distance = by_transitions * (totals[0, row] / n - share) / slope
        distance += by_users * (users_w / (users_w + users_r) - of_user) / slope_of_users
        distance /= by_transitions + by_users
        # Both tell of the same people: together they are hardly better than the better one.
        shrunk = between / (between + 1.0 / max(by_transitions, by_users)) * distance
        shrunk_share = min(max(share + slope * shrunk, _LEAST_SHARE), 1.0 - _LEAST_SHARE)
        log_ratios[row] = np.log(shrunk_share / (1.0 - shrunk_share))
    return log_ratios


@kernel
def _centers(
    order: NDArray[np.int64], totals: NDArray[np.int64], filled: NDArray[np.int64], n_buckets: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Window's shares of transitions and of users, by octave; of all rows where an octave has few of them."""
    transitions, users = np.zeros((N_OCTAVES, 2)), np.zeros((N_OCTAVES, 2))
    n_rows = np.zeros(N_OCTAVES, np.int64)
    for row in order:
        octave = size_of(filled, row)
        n_rows[octave] += 1
        for side in range(2):
            transitions[octave, side] += totals[side, row]
            users[octave, side] += _users(filled[side, row], n_buckets)[0]
    shares, of_users = np.empty(N_OCTAVES), np.empty(N_OCTAVES)
    all_transitions, all_users = transitions.sum(axis=0), users.sum(axis=0)
    for octave in range(N_OCTAVES):
        is_known = n_rows[octave] >= _ENOUGH_ROWS
        of_octave = transitions[octave] if is_known else all_transitions
        shares[octave] = min(max(of_octave[0] / of_octave.sum(), _LEAST_SHARE), 1.0 - _LEAST_SHARE)
        of_octave = users[octave] if is_known else all_users
        of_users[octave] = min(max(of_octave[0] / of_octave.sum(), _LEAST_SHARE), 1.0 - _LEAST_SHARE)
    return shares, of_users


@kernel
def _variances(
    order: NDArray[np.int64], totals: NDArray[np.int64], clumps: Clumps, shares: NDArray[np.float64]
) -> tuple[float, float]:
    """How far rows' shares are from that of their size by chance, and by more than chance.

    A row's distance is a sum over its buckets of ``w (1 - share) - r share``, window and reference. Users of one bucket
    come by chance together, those of different ones only where the row itself has another share: the squares of
    buckets tell the one, the products of different buckets the other, however heavy single users are. Users who come
    back in equal strength cancel out of both.

    Returns
    -------
    clumped : float   times what single transitions would make it that the variance is
    between : float   variance of the rows' true log ratios
    """
    squares = singles = 0.0
    for row in order:
        share = shares[size_of(clumps.filled, row)]
        squares += _of_buckets(row, share, totals, clumps)
        singles += share * (1.0 - share) * (totals[0, row] + totals[1, row])
    clumped = max(squares / singles, _LEAST_CLUMPED)
    between = 0.0
    for _ in range(_ROUNDS):  # rows weigh by their precision, which depends on what is sought
        products = weights = 0.0
        for row in order:
            share = shares[size_of(clumps.filled, row)]
            single = share * (1.0 - share) * (totals[0, row] + totals[1, row])
            weight = 1.0 / (1.0 + between * single / clumped) ** 2
            distance = totals[0, row] * (1.0 - share) - totals[1, row] * share
            products += weight * (distance * distance - _of_buckets(row, share, totals, clumps))
            weights += weight * single * single
        between = max(0.0, products / weights)
    return clumped, between


@kernel
def _of_buckets(row: int, share: float, totals: NDArray[np.int64], clumps: Clumps) -> float:
    """Sum of the squares of a row's buckets' distances."""
    rest = 1.0 - share
    of_window = rest * rest * (clumps.of_buckets[0, row] + totals[0, row])
    of_reference = share * share * (clumps.of_buckets[1, row] + totals[1, row])
    return float(of_window + of_reference - 2.0 * share * rest * clumps.across[row])
