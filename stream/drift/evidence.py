"""One pair's counts on both sides, laid out for exchanging users: gathered, ordered by name, thinned.

The layout is canonical: successors lie in the order of their names' seeds, each successor's user buckets ascending.
So random draws can be made in sequence, and floating-point sums come out bit for bit the same, however cluster ids
were handed out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.hashing import mix64
from tidegate.jit import kernel

WINDOW, REFERENCE, DIFFERENCE = 0, 1, 2
_CELL_BITS, _BUCKET_BITS = 24, 8


class Side(NamedTuple):
    """A side's transitions of all pairs: int64[t] keys, int64[t] counts; int64[p] starts, ends, totals."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    totals: NDArray[np.int64]


class Evidence(NamedTuple):
    """One pair's cells (successor, user bucket); scratch that is reused from pair to pair.

    Attributes
    ----------
    cells : int64[m]         ``c_next << 8 | bucket``, in canonical order
    buckets : int64[m]
    counts : int32[2, m]     transitions per side, as counted
    matched : int32[3, m]    the same at equal sizes (the larger side thinned), and window minus reference
    starts : int64[s + 1]    first cell of each successor
    successors : int32[m]    rank of each cell's successor
    order : int64[m]         scratch of random draws
    """

    cells: NDArray[np.int64]
    buckets: NDArray[np.int64]
    counts: NDArray[np.int32]
    matched: NDArray[np.int32]
    starts: NDArray[np.int64]
    successors: NDArray[np.int32]
    order: NDArray[np.int64]


@kernel
def new_evidence(n_cells: int) -> Evidence:
    """Scratch for pairs of up to `n_cells` cells."""
    return Evidence(
        np.empty(n_cells, np.int64),
        np.empty(n_cells, np.int64),
        np.empty((2, n_cells), np.int32),
        np.empty((3, n_cells), np.int32),
        np.empty(n_cells + 1, np.int64),
        np.empty(n_cells, np.int32),
        np.empty(n_cells, np.int64),
    )


@kernel
def gather(window: Side, reference: Side, pair: int, seeds: NDArray[np.uint64], out: Evidence) -> int:
    """Merge both sides' cells of one pair into `out`, in canonical order; returns the number of successors.

    `O(m + s log s)`; allocates O(s).
    """
    cells = np.empty(out.cells.shape[0], np.int64)
    counts = np.empty(out.counts.shape, np.int32)
    by_id = np.empty(out.starts.shape[0], np.int64)
    i, j = window.starts[pair], reference.starts[pair]
    i_end, j_end = window.ends[pair], reference.ends[pair]
    mask = (1 << _CELL_BITS) - 1
    none = 1 << _CELL_BITS
    n_cells = n_successors = 0
    while i < i_end or j < j_end:
        cell_i = window.keys[i] & mask if i < i_end else none
        cell_j = reference.keys[j] & mask if j < j_end else none
        cell = min(cell_i, cell_j)
        if n_cells == 0 or cell >> _BUCKET_BITS != cells[n_cells - 1] >> _BUCKET_BITS:
            by_id[n_successors] = n_cells
            n_successors += 1
        cells[n_cells] = cell
        counts[WINDOW, n_cells] = window.counts[i] if cell_i == cell else 0
        counts[REFERENCE, n_cells] = reference.counts[j] if cell_j == cell else 0
        i += cell_i == cell
        j += cell_j == cell
        n_cells += 1
    by_id[n_successors] = n_cells
    successor_seeds = np.empty(n_successors, np.uint64)
    for s in range(n_successors):
        successor_seeds[s] = seeds[cells[by_id[s]] >> _BUCKET_BITS]
    at = 0
    for rank, s in enumerate(np.argsort(successor_seeds)):
        out.starts[rank] = at
        for e in range(by_id[s], by_id[s + 1]):
            out.cells[at] = cells[e]
            out.successors[at] = rank
            out.buckets[at] = cells[e] & ((1 << _BUCKET_BITS) - 1)
            out.counts[0, at], out.counts[1, at] = counts[0, e], counts[1, e]
            at += 1
    out.starts[n_successors] = at
    return n_successors


@kernel
def thin(evidence: Evidence, n_cells: int, sizes: tuple[int, int], event_share: float, seed: np.uint64) -> None:
    """Draw the larger side down to the smaller one's size, without replacement, into ``evidence.matched``.

    First whole cells go (a cell is mostly one user), then single transitions, so that the thinned side clumps as much
    as the smaller one: of a reduction to the share `r`, cells make ``r^(1 - event_share)`` and transitions the rest.
    Transitions are kept by selection sampling (Knuth, TAOCP 2, algorithm S), each with the chance that is still needed
    over what is still left. `O(m + n)`, allocates nothing.

    Parameters
    ----------
    sizes : (int, int)     transitions in window and reference
    event_share : float    0 where growth means more users, 1 where it means more transitions of the same users
    """
    needed = min(sizes[0], sizes[1])
    for side in range(2):
        counts, matched = evidence.counts[side], evidence.matched[side]
        matched[:n_cells] = counts[:n_cells]
        if sizes[side] > needed:
            target = int(np.ceil(sizes[side] * (needed / sizes[side]) ** (1.0 - event_share)))
            left = keep_cells(matched, evidence.order, n_cells, max(target, needed), mix64(seed))
            _keep_transitions(matched, n_cells, left, needed, seed)
    for e in range(n_cells):
        evidence.matched[DIFFERENCE, e] = evidence.matched[WINDOW, e] - evidence.matched[REFERENCE, e]


@kernel
def keep_cells(counts: NDArray[np.int32], order: NDArray[np.int64], n_cells: int, n_kept: int, seed: np.uint64) -> int:
    """Keep random cells of `counts` until they hold `n_kept` or more; empties the rest and returns what is held.

    `order` is scratch. `O(m)`, allocates nothing.
    """
    n = held = 0
    for e in range(n_cells):
        if counts[e] > 0:
            order[n] = e
            n += 1
    for i in range(n):
        at = i + uniform_below(mix64(seed + np.uint64(i)), n - i)
        e = order[at]
        order[at] = order[i]
        if held >= n_kept:
            counts[e] = 0
        held += counts[e]
    return held


@kernel
def _keep_transitions(counts: NDArray[np.int32], n_cells: int, left: int, needed: int, seed: np.uint64) -> None:
    for e in range(n_cells):
        if left == needed:
            return
        kept = 0
        for _ in range(counts[e]):
            if uniform_below(mix64(seed + np.uint64(left)), left) < needed:
                kept += 1
                needed -= 1
            left -= 1
        counts[e] = kept


@kernel
def mix_each(values: NDArray[np.uint64], salt: np.uint64) -> NDArray[np.uint64]:
    """Mix each value with a mixed `salt`: uint64[n]. `O(n)`."""
    mixed = np.empty(values.shape[0], np.uint64)
    salted = mix64(salt)
    for i in range(values.shape[0]):
        mixed[i] = mix64(values[i] + salted)
    return mixed


@kernel
def uniform_below(bits: np.uint64, n: int) -> int:
    """Integer in 0..n-1 from 64 random bits; biased by less than n / 2^53. `O(1)`, allocates nothing."""
    return int(np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0) * n)
