"""How the traffic of rows changed between reference and window, and how much of it is users repeating themselves.

Drift is what remains once traffic is accounted for, so two things about traffic have to be known of every row: the
ratio of its expected transitions, window to reference, and how clumped each side is. Neither is taken from the row's
own transitions alone: one heavy user would pass for growth of his row, and then the few others for drift.

The ratio is measured in users (from the buckets that a side fills, as balls fill urns) and in transitions, each weighed
by its precision, and shrunk toward the table's ratio as far as rows differ by no more than chance (empirical Bayes).
Clumping is Kish's design effect, the mean number of transitions by the user and to the successor of a transition. It is
free of the users who share a bucket by chance: of transitions to one successor, a share 1/buckets would.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import REFERENCE, WINDOW, Side
from tidegate.jit import kernel

N_OCTAVES = 40
_MAX_LOG_RATIO = 4.6  # a hundredfold: what lies beyond can hardly be compared
_SATURATED = 0.25  # buckets that count as empty where none is: urns then say little, and are weighed accordingly


class Traffic(NamedTuple):
    """Of each row and of the table.

    Attributes
    ----------
    log_ratios : float64[p]       logarithm of expected transitions in the window over those in the reference
    clumping : (float, float)     of window and reference, 1 where nobody repeats himself
    event_shares : float64[N_OCTAVES]   share (in logarithms) of a change of traffic that is more transitions of the
                                  same users, by octave of both sides' transitions
    """

    log_ratios: NDArray[np.float64]
    clumping: tuple[float, float]
    event_shares: NDArray[np.float64]


class _Clumps(NamedTuple):
    """Ordered couples of transitions of a side: int64[p] by row; filled buckets int64[p]."""

    of_cells: NDArray[np.int64]
    of_successors: NDArray[np.int64]
    of_buckets: NDArray[np.int64]
    filled: NDArray[np.int64]


def traffic_of(window: Side, reference: Side, order: NDArray[np.int64], n_buckets: int) -> Traffic:
    """Measure the traffic of all rows. `O(cells)`.

    Parameters
    ----------
    window, reference : Side    rows of the same pairs
    order : int64[p]            the rows in the order that sums are taken in
    """
    sides = (window, reference)
    clumps = tuple(_clumps(side.keys, side.counts, side.starts, side.ends, n_buckets) for side in sides)
    totals = [float(side.totals.sum()) for side in sides]
    by_user = [_free_of_chance(each.of_cells.sum(), each.of_successors.sum(), n_buckets) for each in clumps]
    couples = [float((side.totals.astype(np.float64) * (side.totals - 1))[order].sum()) for side in sides]
    of_rows = [_free_of_chance(each.of_buckets.sum(), n, n_buckets) for each, n in zip(clumps, couples, strict=True)]
    if not order.size:
        return Traffic(np.zeros(0), (1.0, 1.0), np.ones(N_OCTAVES))
    log_ratios = _log_ratios(
        order,
        (window.totals, reference.totals),
        (clumps[WINDOW].filled, clumps[REFERENCE].filled),
        (1.0 + of_rows[0] / totals[0], 1.0 + of_rows[1] / totals[1]),
        n_buckets,
    )
    of_cells = (clumps[WINDOW].of_cells, clumps[REFERENCE].of_cells)
    shares = _event_shares(log_ratios, (window.totals, reference.totals), of_cells)
    return Traffic(log_ratios, (1.0 + by_user[0] / totals[0], 1.0 + by_user[1] / totals[1]), shares)


def _free_of_chance(shared: float, possible: float, n_buckets: int) -> float:
    """Couples by one user, from those that share a bucket: of couples by two users 1 in `n_buckets` does."""
    return max(0.0, (float(shared) - float(possible) / n_buckets) / (1.0 - 1.0 / n_buckets))


@kernel
def _clumps(
    keys: NDArray[np.int64],
    counts: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    n_buckets: int,
) -> _Clumps:
    n_rows = starts.shape[0]
    out = _Clumps(
        *(
            np.zeros(n_rows, np.int64),
            np.zeros(n_rows, np.int64),
            np.zeros(n_rows, np.int64),
            np.zeros(n_rows, np.int64),
        )
    )
    of_bucket = np.zeros(n_buckets, np.int64)
    for row in range(n_rows):
        of_bucket[:] = 0
        of_successor = 0
        for i in range(starts[row], ends[row]):
            if i > starts[row] and keys[i] >> 8 != keys[i - 1] >> 8:
                out.of_successors[row] += of_successor * (of_successor - 1)
                of_successor = 0
            of_successor += counts[i]
            out.of_cells[row] += counts[i] * (counts[i] - 1)
            of_bucket[keys[i] & 255] += counts[i]
        out.of_successors[row] += of_successor * (of_successor - 1)
        for n in of_bucket:
            out.of_buckets[row] += n * (n - 1)
            out.filled[row] += n > 0
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
    order: NDArray[np.int64],
    totals: tuple[NDArray[np.int64], NDArray[np.int64]],
    filled: tuple[NDArray[np.int64], NDArray[np.int64]],
    clumping: tuple[float, float],
    n_buckets: int,
) -> NDArray[np.float64]:
    """Logarithm of each row's ratio of traffic: by users and by transitions, shrunk toward the table's. `O(p)`.

    Parameters
    ----------
    clumping : of a row's transitions by user, whatever their successor
    """
    n_rows = order.shape[0]
    estimates, variances = np.empty(n_rows), np.empty(n_rows)
    transitions = np.zeros(2)
    users = np.zeros(2)
    for row in order:
        for side in range(2):
            transitions[side] += totals[side][row]
            users[side] += _users(filled[side][row], n_buckets)[0]
    center = np.log(transitions[0] / transitions[1])
    per_user = center - np.log(users[0] / users[1])  # more transitions of each user
    above = weights = 0.0
    for row in order:
        (users_w, spread_w), (users_r, spread_r) = (
            _users(filled[0][row], n_buckets),
            _users(filled[1][row], n_buckets),
        )
        by_users = 1.0 / (spread_w + spread_r)
        by_transitions = 1.0 / (clumping[0] / totals[0][row] + clumping[1] / totals[1][row])
        variances[row] = 1.0 / (by_users + by_transitions)
        estimates[row] = variances[row] * (
            by_users * (np.log(users_w / users_r) + per_user) + by_transitions * np.log(totals[0][row] / totals[1][row])
        )
        weight = 1.0 / (variances[row] * variances[row])
        above += weight * ((estimates[row] - center) ** 2 - variances[row])
        weights += weight
    between = max(0.0, above / weights)  # variance of the rows' true ratios
    for row in range(n_rows):
        shrunk = center + between / (between + variances[row]) * (estimates[row] - center)
        estimates[row] = min(max(shrunk, -_MAX_LOG_RATIO), _MAX_LOG_RATIO)
    return estimates


@kernel
def octave_of(n: int) -> int:
    """Logarithm of `n` to the base 2, rounded down; 0 of 0. `O(log n)`, allocates nothing."""
    octave = 0
    while n > 1:
        n >>= 1
        octave += 1
    return octave


@kernel
def _event_shares(
    log_ratios: NDArray[np.float64],
    totals: tuple[NDArray[np.int64], NDArray[np.int64]],
    of_cells: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """By octave, from how much more the busier sides' cells hold than the quieter ones'.

    Dropping transitions at random lowers the mean number of further transitions in a transition's own cell by the
    rate, dropping whole cells does not: which of the two makes the busier sides like the quieter ones is seen from all
    rows of a size together, since single rows are too thin to tell. Which side is busier is a matter of expectation:
    the one that happens to have more is the one with the heavy user. Sums are of whole numbers, in any order.
    """
    sizes = np.zeros((N_OCTAVES, 2), np.int64)
    further = np.zeros((N_OCTAVES, 2), np.int64)
    for row in range(log_ratios.shape[0]):
        octave = octave_of(totals[0][row] + totals[1][row])
        busier = 1 if log_ratios[row] > 0.0 else 0
        for side in range(2):
            at = busier if side == 0 else 1 - busier
            sizes[octave, at] += totals[side][row]
            further[octave, at] += of_cells[side][row]
    shares = np.ones(N_OCTAVES)
    for octave in range(N_OCTAVES):
        if sizes[octave, 0] < sizes[octave, 1] and further[octave, 0] > 0 and further[octave, 1] > 0:
            denser = np.log(further[octave, 0] / sizes[octave, 0]) - np.log(further[octave, 1] / sizes[octave, 1])
            shares[octave] = min(max(denser / np.log(sizes[octave, 0] / sizes[octave, 1]), 0.0), 1.0)
    return shares
