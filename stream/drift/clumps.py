"""How transitions of rows clump: in the cells and the buckets of a side, and in buckets across sides."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import WINDOW, Side
from tidegate.jit import kernel

N_OCTAVES = 40


class Clumps(NamedTuple):
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


@kernel
def clumps_of(window: Side, reference: Side, n_buckets: int) -> Clumps:
    """Count the couples of all rows, and the buckets that they fill. `O(cells + buckets p)`."""
    n_rows = window.totals.shape[0]
    out = Clumps(
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
def size_of(filled: NDArray[np.int64], row: int) -> int:
    """Size of a row by its users, not by their transitions: these say which side the heavy user is on."""
    return octave_of(filled[0, row] + filled[1, row])


@kernel
def octave_of(n: int) -> int:
    """Logarithm of `n` to the base 2, rounded down; 0 of 0. `O(log n)`, allocates nothing."""
    octave = 0
    while n > 1:
        n >>= 1
        octave += 1
    return octave
