"""How the traffic of rows changed between reference and window: by how much, and by what.

Drift is what remains once traffic is accounted for, so the ratio of a row's expected transitions, window to reference,
has to be known. It is not that of the row's own transitions: one heavy user would pass for growth of his row, and then
the few others for drift. It is measured in users (from the buckets that a side fills, as balls fill urns) and in
transitions, each weighed by its precision, and shrunk toward the ratio of all rows of the size as far as rows differ
by no more than chance (empirical Bayes).

What traffic grew by, more users or more transitions of the same users, is seen from how much more cells hold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import WINDOW, Side
from tidegate.jit import kernel

N_OCTAVES = 40
_MAX_LOG_RATIO = 4.6  # a hundredfold: what lies beyond can hardly be compared
_ENOUGH_ROWS = 30  # of a size, to have a ratio of their own
_LEAST_CLUMPED = 0.1
_SATURATED = 0.25  # buckets that count as empty where none is: urns then say little, and are weighed accordingly


class Traffic(NamedTuple):
    """Of each row and of the table.

    Attributes
    ----------
    log_ratios : float64[p]       logarithm of expected transitions in the window over those in the reference
    event_shares : float64[N_OCTAVES]   share (in logarithms) of a change of traffic that is more transitions of the
                                  same users, by octave of both sides' transitions
    """

    log_ratios: NDArray[np.float64]
    event_shares: NDArray[np.float64]


class _Clumps(NamedTuple):
    """Ordered couples of transitions, by side and row: int64[2, p], or by row across sides: int64[p].

    Attributes
    ----------
    of_cells, of_buckets : within cells and buckets of a side
    filled : buckets that a side fills
    across : of both sides in the same bucket
    """

    of_cells: NDArray[np.int64]
    of_buckets: NDArray[np.int64]
    filled: NDArray[np.int64]
    across: NDArray[np.int64]


def traffic_of(window: Side, reference: Side, order: NDArray[np.int64], n_buckets: int) -> Traffic:
    """Measure the traffic of all rows. `O(cells)`.

    Parameters
    ----------
    window, reference : Side    rows of the same pairs
    order : int64[p]            the rows in the order that sums are taken in
    """
    if not order.size:
        return Traffic(np.zeros(0), np.ones(N_OCTAVES))
    totals = np.stack([window.totals, reference.totals])
    clumps = _clumps(window, reference, n_buckets)
    log_ratios = _log_ratios(order, totals, clumps, n_buckets)
    return Traffic(log_ratios, _event_shares(log_ratios, totals, clumps))


@kernel
def _clumps(window: Side, reference: Side, n_buckets: int) -> _Clumps:
    n_rows = window.totals.shape[0]
    out = _Clumps(
        np.zeros((2, n_rows), np.int64),
        np.zeros((2, n_rows), np.int64),
        np.zeros((2, n_rows), np.int64),
        np.zeros(n_rows, np.int64),
    )
    by_bucket = np.zeros((2, n_buckets), np.int64)
    for row in range(n_rows):
        by_bucket[:] = 0
        for which in range(2):
            side = window if which == WINDOW else reference
            for i in range(side.starts[row], side.ends[row]):
                out.of_cells[which, row] += side.counts[i] * (side.counts[i] - 1)
                by_bucket[which, side.keys[i] & 255] += side.counts[i]
        for b in range(n_buckets):
            out.across[row] += by_bucket[0, b] * by_bucket[1, b]
            for which in range(2):
                n = by_bucket[which, b]
                out.of_buckets[which, row] += n * (n - 1)
                out.filled[which, row] += n > 0
    return out


@kernel
def _users(filled: int, n_buckets: int) -> tuple[float, float]:
    """How many users fill so many of the buckets, and the relative variance of that with the chance of users' coming.

    The occupancy of urns: ``E[filled] = B (1 - exp(-users / B))``.
    """
    per_bucket = -np.log1p(-min(float(filled), n_buckets - _SATURATED) / n_buckets)
    of_urns = (np.exp(per_bucket) - 1.0 - per_bucket) / (n_buckets * per_bucket * per_bucket)
    return n_buckets * per_bucket, of_urns + 1.0 / (n_buckets * per_bucket)


@kernel
def _log_ratios(
    order: NDArray[np.int64], totals: NDArray[np.int64], clumps: _Clumps, n_buckets: int
) -> NDArray[np.float64]:
    """Logarithm of each row's ratio of traffic: by users and by transitions, shrunk toward that of its size. `O(p)`."""
    n_rows = order.shape[0]
    centers, users = _centers(order, totals, clumps.filled, n_buckets)
    clumped = _clumped_variance(order, totals, clumps, n_buckets)
    estimates, variances = np.empty(n_rows), np.empty(n_rows)
    above = weights = 0.0
    for row in order:
        octave = octave_of(totals[0, row] + totals[1, row])
        users_w, spread_w = _users(clumps.filled[0, row], n_buckets)
        users_r, spread_r = _users(clumps.filled[1, row], n_buckets)
        by_users = 1.0 / (spread_w + spread_r)
        by_transitions = 1.0 / (clumped * (1.0 / totals[0, row] + 1.0 / totals[1, row]))
        variances[row] = 1.0 / (by_users + by_transitions)
        more_each = centers[octave] - users[octave]  # transitions of each user
        estimates[row] = variances[row] * (
            by_users * (np.log(users_w / users_r) + more_each)
            + by_transitions * np.log(totals[0, row] / totals[1, row])
        )
        weight = 1.0 / (variances[row] * variances[row])
        above += weight * ((estimates[row] - centers[octave]) ** 2 - variances[row])
        weights += weight
    between = max(0.0, above / weights)  # variance of the rows' true ratios
    for row in range(n_rows):
        center = centers[octave_of(totals[0, row] + totals[1, row])]
        shrunk = center + between / (between + variances[row]) * (estimates[row] - center)
        estimates[row] = min(max(shrunk, -_MAX_LOG_RATIO), _MAX_LOG_RATIO)
    return estimates


@kernel
def _centers(
    order: NDArray[np.int64], totals: NDArray[np.int64], filled: NDArray[np.int64], n_buckets: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of the ratios of transitions and of users, by octave; of all rows where an octave has few of them."""
    transitions, users = np.zeros((N_OCTAVES, 2)), np.zeros((N_OCTAVES, 2))
    n_rows = np.zeros(N_OCTAVES, np.int64)
    for row in order:
        octave = octave_of(totals[0, row] + totals[1, row])
        n_rows[octave] += 1
        for side in range(2):
            transitions[octave, side] += totals[side, row]
            users[octave, side] += _users(filled[side, row], n_buckets)[0]
    centers, of_users = np.empty(N_OCTAVES), np.empty(N_OCTAVES)
    all_transitions, all_users = transitions.sum(axis=0), users.sum(axis=0)
    for octave in range(N_OCTAVES):
        is_known = n_rows[octave] >= _ENOUGH_ROWS
        of_octave = transitions[octave] if is_known else all_transitions
        centers[octave] = np.log(of_octave[0] / of_octave[1])
        of_octave = users[octave] if is_known else all_users
        of_users[octave] = np.log(of_octave[0] / of_octave[1])
    return centers, of_users


@kernel
def _clumped_variance(order: NDArray[np.int64], totals: NDArray[np.int64], clumps: _Clumps, n_buckets: int) -> float:
    """How many times what single transitions would make it the variance of ``log(n_window / n_reference)`` is.

    From how far apart a bucket's shares of both sides are: users who come back in equal strength cancel out.
    """
    found = expected = 0.0
    for row in order:
        n_window, n_reference = float(totals[0, row]), float(totals[1, row])
        found += (clumps.of_buckets[0, row] + n_window) / (n_window * n_window)
        found += (clumps.of_buckets[1, row] + n_reference) / (n_reference * n_reference)
        found -= 2.0 * clumps.across[row] / (n_window * n_reference)
        expected += 1.0 / n_window + 1.0 / n_reference
    return max(found / (1.0 - 1.0 / n_buckets) / expected, _LEAST_CLUMPED)


@kernel
def octave_of(n: int) -> int:
    """Logarithm of `n` to the base 2, rounded down; 0 of 0. `O(log n)`, allocates nothing."""
    octave = 0
    while n > 1:
        n >>= 1
        octave += 1
    return octave


@kernel
def _event_shares(log_ratios: NDArray[np.float64], totals: NDArray[np.int64], clumps: _Clumps) -> NDArray[np.float64]:
    """By octave, from how much more the busier sides' cells hold than the quieter ones'.

    Dropping transitions at random lowers the mean number of further transitions in a transition's own cell by the
    rate, dropping whole cells does not: which of the two makes the busier sides like the quieter ones is seen from all
    rows of a size together, since single rows are too thin to tell. Which side is busier is a matter of expectation:
    the one that happens to have more is the one with the heavy user. Sums are of whole numbers, in any order.
    """
    sizes = np.zeros((N_OCTAVES, 2), np.int64)
    further = np.zeros((N_OCTAVES, 2), np.int64)
    for row in range(log_ratios.shape[0]):
        octave = octave_of(totals[0, row] + totals[1, row])
        busier = 1 if log_ratios[row] > 0.0 else 0
        for side in range(2):
            at = busier if side == 0 else 1 - busier
            sizes[octave, at] += totals[side, row]
            further[octave, at] += clumps.of_cells[side, row]
    shares = np.ones(N_OCTAVES)
    for octave in range(N_OCTAVES):
        if sizes[octave, 0] < sizes[octave, 1] and further[octave, 0] > 0 and further[octave, 1] > 0:
            denser = np.log(further[octave, 0] / sizes[octave, 0]) - np.log(further[octave, 1] / sizes[octave, 1])
            shares[octave] = min(max(denser / np.log(sizes[octave, 0] / sizes[octave, 1]), 0.0), 1.0)
    return shares
