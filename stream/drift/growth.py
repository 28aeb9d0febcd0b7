"""What the traffic of rows grew by: more users, or more transitions of the same users.

Dropping transitions at random lowers the mean number of further transitions in a transition's own cell by the rate,
dropping whole cells does not: how much more cells hold tells how much of the growth is the same users'.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.drift.clumps import N_OCTAVES, Clumps, size_of
from tidegate.jit import kernel

_ENOUGH_COUPLES = 200.0  # of transitions in one cell, to tell users from transitions
_SMALL = 0.05  # difference of logarithms


@kernel
def log_events(log_ratios: NDArray[np.float64], totals: NDArray[np.int64], clumps: Clumps) -> NDArray[np.float64]:
    """How much more transitions each user makes, by row, from how much more a cell holds.

    Single rows are too thin to tell, so by octave it is found how many times more a cell holds in all rows together,
    and how much of a row's growth beyond the others' is in its cells, from the halves with the most growth and with the
    least. Sums are of whole numbers, in any order. `O(p log p)`.

    Parameters
    ----------
    log_ratios : float64[p]   see `traffic.Traffic`
    totals : int64[2, p]
    """
    n_rows = log_ratios.shape[0]
    octaves = np.empty(n_rows, np.int64)
    centers, n_of_octave = np.zeros(N_OCTAVES), np.zeros(N_OCTAVES, np.int64)
    for row in range(n_rows):
        octaves[row] = size_of(clumps.filled, row)
        n_of_octave[octaves[row]] += 1
    for octave in range(N_OCTAVES):
        if n_of_octave[octave] > 0:
            centers[octave] = np.median(log_ratios[octaves == octave])
    sizes, further = np.zeros((N_OCTAVES, 2, 2)), np.zeros((N_OCTAVES, 2, 2))
    for row in range(n_rows):
        half = 1 if log_ratios[row] > centers[octaves[row]] else 0
        for side in range(2):
            sizes[octaves[row], half, side] += totals[side, row]
            further[octaves[row], half, side] += clumps.of_cells[side, row]
    events, slopes = np.empty(N_OCTAVES), np.empty(N_OCTAVES)
    for octave in range(N_OCTAVES):
        events[octave], slopes[octave] = _of_octave(sizes[octave], further[octave])
    found = np.empty(n_rows)
    for row in range(n_rows):
        octave = octaves[row]
        of_octave = sizes[octave].sum(axis=0)
        found[row] = events[octave]
        if of_octave.min() > 0.0:
            found[row] += slopes[octave] * (log_ratios[row] - np.log(of_octave[0] / of_octave[1]))
    return found


@kernel
def _of_octave(sizes: NDArray[np.float64], further: NDArray[np.float64]) -> tuple[float, float]:
    """Of an octave: logarithm of how many times more each user makes, and its slope on a row's own growth.

    Where cells hold too little to tell, growth is more transitions, which then is the same: single transitions go.
    """
    transitions, couples = sizes.sum(axis=0), further.sum(axis=0)
    if transitions.min() == 0.0:
        return 0.0, 1.0
    growth = np.log(transitions[0] / transitions[1])
    fewest = min(couples[0], couples[1])
    if fewest == 0.0:
        return growth, 1.0
    denser = np.log(couples[0] / transitions[0]) - np.log(couples[1] / transitions[1])
    events = growth + fewest / (fewest + _ENOUGH_COUPLES) * (denser - growth)
    if min(sizes.min(), further.min()) == 0.0:
        return events, 1.0
    growths = np.log(sizes[:, 0] / sizes[:, 1])
    if growths[1] - growths[0] < _SMALL:
        return events, 1.0
    held = np.log(further[:, 0] / sizes[:, 0]) - np.log(further[:, 1] / sizes[:, 1])
    slope = min(max((held[1] - held[0]) / (growths[1] - growths[0]), 0.0), 1.0)
    fewest = further.min()
    return events, 1.0 + fewest / (fewest + _ENOUGH_COUPLES) * (slope - 1.0)
