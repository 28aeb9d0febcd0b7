"""One row's counts on both sides, laid out for exchanging users: gathered, ordered by name, thinned.

The layout is canonical: successors lie in the order of their names' seeds, each successor's user buckets ascending.
So random draws can be made in sequence, and floating-point sums come out bit for bit the same, however cluster ids
were handed out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.hashing import mix64
from tidegate.jit import inlined_kernel, kernel

WINDOW, REFERENCE = 0, 1
_CELL_BITS, _BUCKET_BITS = 24, 8
_FEW = 64  # successors


class Side(NamedTuple):
    """A side's transitions of all rows: int64[t] keys, int64[t] counts; int64[p] starts, ends, totals."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    totals: NDArray[np.int64]


class Evidence(NamedTuple):
    """One row's cells (successor, user bucket); scratch that is reused from row to row.

    Attributes
    ----------
    cells : int64[m]         ``c_next << 8 | bucket``, in canonical order
    buckets : int64[m]
    counts : int32[2, m]     transitions per side, as counted
    whole : int32[2, m]      the same without the cells that thinning dropped
    kept : int32[2, m]       of those, the transitions that thinning kept
    starts : int64[m + 1]    first cell of each successor
    merged, merged_counts, merged_starts, seeds : what `gather` works in
    """

    cells: NDArray[np.int64]
    buckets: NDArray[np.int64]
    counts: NDArray[np.int32]
    whole: NDArray[np.int32]
    kept: NDArray[np.int32]
    starts: NDArray[np.int64]
    merged: NDArray[np.int64]
    merged_counts: NDArray[np.int32]
    merged_starts: NDArray[np.int64]
    seeds: NDArray[np.uint64]


@kernel
def new_evidence(n_cells: int) -> Evidence:
    """Scratch for rows of up to `n_cells` cells."""
    return Evidence(
        np.empty(n_cells, np.int64),
        np.empty(n_cells, np.int64),
        np.empty((2, n_cells), np.int32),
        np.empty((2, n_cells), np.int32),
        np.empty((2, n_cells), np.int32),
        np.empty(n_cells + 1, np.int64),
        np.empty(n_cells, np.int64),
        np.empty((2, n_cells), np.int32),
        np.empty(n_cells + 1, np.int64),
        np.empty(n_cells, np.uint64),
    )


@kernel
def gather(window: Side, reference: Side, row: int, seeds: NDArray[np.uint64], out: Evidence) -> int:
    """Merge both sides' cells of one row into `out`, in canonical order; returns the number of successors.

    `O(m + s log s)`; allocates O(s).
    """
    n_successors = _merge(window, reference, row, out)
    for s in range(n_successors):
        out.seeds[s] = seeds[out.merged[out.merged_starts[s]] >> _BUCKET_BITS]
    order = _order_of(out.seeds[:n_successors])
    at = 0
    for rank in range(n_successors):
        s = order[rank]
        out.starts[rank] = at
        for e in range(out.merged_starts[s], out.merged_starts[s + 1]):
            out.cells[at] = out.merged[e]
            out.buckets[at] = out.merged[e] & ((1 << _BUCKET_BITS) - 1)
            out.counts[0, at], out.counts[1, at] = out.merged_counts[0, e], out.merged_counts[1, e]
            at += 1
    out.starts[n_successors] = at
    return n_successors


@kernel
def _order_of(seeds: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Sort the indices of `seeds` by them: by insertion where there are few, which is most often."""
    n = seeds.shape[0]
    if n > _FEW:
        return np.argsort(seeds)
    order = np.empty(n, np.int64)
    for i in range(n):
        at = i
        while at > 0 and seeds[order[at - 1]] > seeds[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
    return order


@kernel
def _merge(window: Side, reference: Side, row: int, out: Evidence) -> int:
    i, j = window.starts[row], reference.starts[row]
    i_end, j_end = window.ends[row], reference.ends[row]
    mask = (1 << _CELL_BITS) - 1
    none = 1 << _CELL_BITS
    n_cells = n_successors = 0
    while i < i_end or j < j_end:
        cell_i = window.keys[i] & mask if i < i_end else none
        cell_j = reference.keys[j] & mask if j < j_end else none
        cell = min(cell_i, cell_j)
        if n_cells == 0 or cell >> _BUCKET_BITS != out.merged[n_cells - 1] >> _BUCKET_BITS:
            out.merged_starts[n_successors] = n_cells
            n_successors += 1
        out.merged[n_cells] = cell
        out.merged_counts[WINDOW, n_cells] = window.counts[i] if cell_i == cell else 0
        out.merged_counts[REFERENCE, n_cells] = reference.counts[j] if cell_j == cell else 0
        i += cell_i == cell
        j += cell_j == cell
        n_cells += 1
    out.merged_starts[n_successors] = n_cells
    return n_successors


@kernel
def largest_row(rows: NDArray[np.int64], window: Side, reference: Side) -> int:
    """Most cells that one of `rows` can have, and at least 1. `O(rows)`, allocates nothing."""
    largest = 1
    for row in rows:
        n_window, n_reference = window.ends[row] - window.starts[row], reference.ends[row] - reference.starts[row]
        largest = max(largest, n_window + n_reference)
    return largest


@kernel
def thin(
    evidence: Evidence,
    n_cells: int,
    of_cells: tuple[float, float],
    of_transitions: tuple[float, float],
    seed: np.uint64,
) -> None:
    """Fill ``evidence.whole`` and ``kept``: each side keeps each cell by chance, and of it each transition.

    A cell is mostly one user: dropping cells undoes growth by more users, dropping transitions growth by more
    transitions of the same users. How many are kept is left to chance, as it is chance how many the other side has.
    `O(m + n)`, allocates nothing.

    Parameters
    ----------
    of_cells, of_transitions : (float, float)   chances of window and reference; 1 keeps all
    """
    for side in range(2):
        counts, whole, kept = evidence.counts[side], evidence.whole[side], evidence.kept[side]
        of_cell, of_transition = of_cells[side], of_transitions[side]
        for e in range(n_cells):
            whole[e] = counts[e]
            # Cells are drawn of on one side and transitions on one: by either's own numbers, so that sides may change.
            if of_cell < 1.0 and counts[e] > 0 and unit(mix64(seed + np.uint64(2 * e))) >= of_cell:
                whole[e] = 0
            kept[e] = whole[e]
            if of_transition < 1.0 and whole[e] > 0:
                kept[e] = 0
                draw = seed + np.uint64(2 * e + 1)
                for _ in range(whole[e]):
                    draw = mix64(draw)
                    kept[e] += unit(draw) < of_transition


@kernel
def mix_each(values: NDArray[np.uint64], salt: np.uint64) -> NDArray[np.uint64]:
    """Mix each value with a mixed `salt`: uint64[n]. `O(n)`."""
    mixed = np.empty(values.shape[0], np.uint64)
    salted = mix64(salt)
    for i in range(values.shape[0]):
        mixed[i] = mix64(values[i] + salted)
    return mixed


@inlined_kernel
def unit(bits: np.uint64) -> float:
    """Make a number in [0, 1) of 64 random bits. `O(1)`, allocates nothing."""
    return float(np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0))
