"""Which of the tables with users exchanged the observed one is held against: those like it in its sides' imbalance.

Exchanged sides differ in size by chance, and fewer transitions alone lower an overlap: so of `N_TABLES` tables, the
observed one among them, the block of `N_ALIKE` in the order of the imbalance is taken that it falls into. But none is
that is too thin to have been compared, whereas the observed one is here because it was not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import WINDOW
from stream.drift.permutation import N_TABLES, Scratch
from tidegate.hashing import mix64
from tidegate.jit import kernel

_THIN = 64  # transitions of both sides
_MOST_COUNTED = 2_048  # beyond this imbalances are sorted, not counted


@kernel
def n_tables_of(n_transitions: int) -> int:
    """How many tables a row of so many transitions, both sides', is looked for among. `O(1)`."""
    return N_TABLES if n_transitions < _THIN else N_TABLES // 4


@kernel
def find_compared(
    scratch: Scratch,
    n_cells: int,
    n_tables: int,
    signs: NDArray[np.int8],
    of_transitions: tuple[float, float],
    min_support: int,
) -> None:
    """Tell which tables have the support, on both sides, without which there is nothing to compare: ``compared``.

    Cells that thinning dropped are of their side in every table. Of the others a side holds its own with all their
    transitions, thinned or not, and of those that it got from the other side what they would have made here. `O(m +
    N_TABLES buckets)`, allocates nothing.

    Parameters
    ----------
    signs : int8[buckets, N_TABLES]
    of_transitions : (float, float)   chances by which each side's transitions were thinned
    """
    evidence, alike = scratch.evidence, scratch.alike
    compared, sizes = alike.compared[:n_tables], alike.sizes[:n_tables]
    compared[:] = True
    for side in range(2):
        rate = of_transitions[side]
        alike.of_bucket[:] = 0.0
        counted = own = total = 0.0
        for e in range(n_cells):
            mine, other = float(evidence.whole[side, e]), evidence.kept[1 - side, e] / rate
            alike.of_bucket[evidence.buckets[e]] += mine - other
            counted += evidence.counts[side, e]
            own += mine
            total += mine + other
        needed = min_support - (counted - own)
        if needed <= 0.0:
            continue
        if rate == 1.0:  # thinned by cells or not at all: the imbalance says it
            for k in range(n_tables):
                imbalance = alike.imbalances[k] if side == WINDOW else -alike.imbalances[k]
                compared[k] &= total + imbalance >= 2.0 * needed
            continue
        sizes[:] = total
        for b in range(alike.of_bucket.shape[0]):
            difference = alike.of_bucket[b]
            if difference != 0.0:
                row = signs[b]
                for k in range(n_tables):
                    sizes[k] += difference * row[k]
        for k in range(n_tables):
            compared[k] &= sizes[k] >= 2.0 * needed
    compared[0] = True  # the observed one was


@kernel
def choose_alike(
    imbalances: NDArray[np.int32], compared: NDArray[np.bool_], seed: np.uint64, chosen: NDArray[np.int64]
) -> int:
    """Choose the tables most like the first one, the observed, in absolute imbalance; returns how many there are.

    Those that would have been compared are put into blocks of `N_ALIKE` and more by their imbalance, and of the
    observed one's block that many are chosen. Ties are ordered by chance, the observed table among them. `O(n +
    largest imbalance)`; allocates as much.

    Parameters
    ----------
    imbalances : int32[n]   a power of two of tables
    compared : bool[n]   whether a table would have been compared; the observed one was
    chosen : int64[N_ALIKE]     written: the observed table, then exchanged ones of its block
    """
    n_alike, observed = chosen.shape[0], 0
    order = _by_size(imbalances, compared, mix64(seed))
    n, at = order.shape[0], 0
    while order[at] != observed:
        at += 1
    n_blocks = max(1, n // n_alike)
    block = at * n_blocks // n
    start, end = -(-block * n // n_blocks), -(-(block + 1) * n // n_blocks)
    chosen[0] = observed
    n_chosen = 1
    first = int(seed >> np.uint64(40)) % (end - start)
    for i in range(end - start):
        table = order[start + (first + i) % (end - start)]
        if table != observed and n_chosen < n_alike:
            chosen[n_chosen] = table
            n_chosen += 1
    return n_chosen


@kernel
def _by_size(imbalances: NDArray[np.int32], compared: NDArray[np.bool_], seed: np.uint64) -> NDArray[np.int64]:
    """Order of the absolute `imbalances` of compared tables; equal ones as a random walk comes by them, each once.

    The walk goes round in odd steps: it comes by all, since there is a power of two of them.
    """
    n, n_compared, largest = imbalances.shape[0], 0, 0
    walk = np.empty(n, np.int64)
    first, step = np.int64(seed >> np.uint64(40)), np.int64((seed & np.uint64(0xFFFF)) | np.uint64(1))
    for i in range(n):
        table = (first + i * step) % n
        if compared[table]:
            walk[n_compared] = table
            n_compared += 1
            largest = max(largest, abs(imbalances[table]))
    walk = walk[:n_compared]
    order = np.empty(n_compared, np.int64)
    if largest > _MOST_COUNTED:
        for i, at in enumerate(np.argsort(np.abs(imbalances[walk]), kind="mergesort")):
            order[i] = walk[at]
        return order
    starts = np.zeros(largest + 2, np.int64)
    for table in walk:
        starts[abs(imbalances[table]) + 1] += 1
    for size in range(largest):
        starts[size + 1] += starts[size]
    for table in walk:
        size = abs(imbalances[table])
        order[starts[size]] = table
        starts[size] += 1
    return order
