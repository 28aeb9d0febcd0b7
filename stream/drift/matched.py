"""Jaccard and rank-biased overlap at matched counts: as observed, and as users exchanged would show them.

The busier side is thinned by the ratio of expected traffic. Then, with no drift, a user bucket might as well have its
sides swapped, and the observed table is one of many that were equally likely: the mean of a measure over them is what
it would be with no drift. Fewer transitions alone lower an overlap, and exchanged sides differ in size by chance, so
the observed table is compared with those of about its own imbalance: of `N_TABLES` tables, itself among them, in the
order of the imbalance, the block of `N_ALIKE` that it falls into. The null of Jaccard takes it in, as a permutation's
p-value does: so ``J / null`` is 1 in expectation, exactly, where sides are exchangeable, however thin they are. That of
the overlap, of which only means over rows are taken, rests on some of the exchanged tables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import REFERENCE, WINDOW, thin
from stream.drift.jaccard import expected_jaccard
from stream.drift.overlap import rank_biased_overlap
from stream.drift.permutation import N_ALIKE, Scratch
from tidegate.hashing import mix64
from tidegate.jit import kernel

_MOST_COUNTED = 2_048  # beyond this imbalances are sorted, not counted
_RBO_STEP = 4  # every fourth of the alike tables: whole rankings vary less than top-k sets
_TWO_THINNINGS_BELOW = 0.7  # where this share or less is kept, the draw of what is kept adds as much noise as users do


@kernel
def choose_alike(imbalances: NDArray[np.int32], seed: np.uint64, chosen: NDArray[np.int64]) -> None:
    """Choose the tables most like the last one, the observed, in absolute imbalance.

    Ties are ordered by chance, the observed table among them. `O(n + largest imbalance)`; allocates as much.

    Parameters
    ----------
    imbalances : int32[N_TABLES]
    chosen : int64[N_ALIKE]     written: the observed table, then the exchanged ones of its block
    """
    n, n_alike = imbalances.shape[0], chosen.shape[0]
    order = _by_size(imbalances, mix64(seed))
    at = 0
    while order[at] != n - 1:
        at += 1
    start = at // n_alike * n_alike
    chosen[0] = n - 1
    n_chosen = 1
    for i in range(start, start + n_alike):
        if i != at:
            chosen[n_chosen] = order[i]
            n_chosen += 1


@kernel
def _by_size(imbalances: NDArray[np.int32], seed: np.uint64) -> NDArray[np.int64]:
    """Order of the absolute `imbalances`; equal ones as a random walk comes by them, each once.

    The walk goes round in odd steps: it comes by all, since there are `N_TABLES`, a power of two.
    """
    n, largest = imbalances.shape[0], 0
    walk, order = np.empty(n, np.int64), np.empty(n, np.int64)
    first, step = np.int64(seed >> np.uint64(40)), np.int64((seed & np.uint64(0xFFFF)) | np.uint64(1))
    for i in range(n):
        walk[i] = (first + i * step) % n
        largest = max(largest, abs(imbalances[i]))
    if largest > _MOST_COUNTED:
        for i, at in enumerate(np.argsort(np.abs(imbalances[walk]), kind="mergesort")):
            order[i] = walk[at]
        return order
    starts = np.zeros(largest + 2, np.int64)
    for k in range(n):
        starts[abs(imbalances[k]) + 1] += 1
    for size in range(largest):
        starts[size + 1] += starts[size]
    for table in walk:
        size = abs(imbalances[table])
        order[starts[size]] = table
        starts[size] += 1
    return order


@kernel
def exchange(scratch: Scratch, n_successors: int, signs: NDArray[np.int8], seed: np.uint64) -> None:
    """Make the chosen tables of the thinned sides: totals and differences by successor. `O((N_TABLES + m) N_ALIKE)`."""
    evidence, alike = scratch.evidence, scratch.alike
    alike.by_bucket[:] = 0
    for e in range(evidence.starts[n_successors]):
        alike.by_bucket[evidence.buckets[e]] += evidence.kept[WINDOW, e] - evidence.kept[REFERENCE, e]
    alike.imbalances[:] = 0
    for b in range(alike.by_bucket.shape[0]):
        difference = alike.by_bucket[b]
        if difference != 0:
            row = signs[b]
            for k in range(alike.imbalances.shape[0]):
                alike.imbalances[k] += difference * np.int32(row[k])
    choose_alike(alike.imbalances, seed, alike.chosen)
    for b in range(alike.by_bucket.shape[0]):
        for i in range(alike.chosen.shape[0]):
            alike.signs[b, i] = signs[b, alike.chosen[i]]
    for s in range(n_successors):
        sums = alike.differences[s]
        sums[:] = 0
        total = 0
        for e in range(evidence.starts[s], evidence.starts[s + 1]):
            total += evidence.kept[WINDOW, e] + evidence.kept[REFERENCE, e]
            difference = evidence.kept[WINDOW, e] - evidence.kept[REFERENCE, e]
            if difference != 0:
                row = alike.signs[evidence.buckets[e]]
                for i in range(sums.shape[0]):
                    sums[i] += difference * np.int32(row[i])
        alike.totals[s] = total


@kernel
def matched_means(
    scratch: Scratch,
    n_successors: int,
    factors: tuple[int, int],
    event_share: float,
    signs: NDArray[np.int8],
    seed: np.uint64,
    binomials: NDArray[np.float64],
    rbo_weights: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Measure a row at matched counts, and with users exchanged. `O(N_ALIKE m)`.

    Parameters
    ----------
    factors : (int, int)              their ratio is that of the traffic, see `permutation.multipliers`
    event_share : float               see `traffic.Traffic`
    signs : int8[buckets, N_TABLES]   of the masks; the last swaps nothing
    binomials : float64[C + 1, top k + 1]
    rbo_weights : float64[depth + 1]  see `overlap.depth_weights`
    out : float64[4]                  written: Jaccard, its null, rank-biased overlap, its null
    """
    evidence, alike = scratch.evidence, scratch.alike
    busier = -1 if factors[0] == factors[1] else (WINDOW if factors[0] < factors[1] else REFERENCE)
    rate = min(factors[0], factors[1]) / max(factors[0], factors[1])
    rates = (rate ** (1.0 - event_share), rate**event_share)
    n_thinnings = 2 if rate < _TWO_THINNINGS_BELOW else 1
    jaccard = rbo = jaccards = rbos = 0.0
    for _ in range(n_thinnings):
        seed = mix64(seed)
        thin(evidence, evidence.starts[n_successors], busier, rates, seed)
        exchange(scratch, n_successors, signs, seed)
        for i in range(N_ALIKE):
            for s in range(n_successors):
                scratch.a[s] = (alike.totals[s] + alike.differences[s, i]) // 2
                scratch.b[s] = alike.totals[s] - scratch.a[s]
            of_table = expected_jaccard(scratch.a, scratch.b, n_successors, scratch.best, binomials)
            jaccard += of_table if i == 0 else 0.0
            jaccards += of_table if i > 0 else 0.0
            if i == 0:
                rbo += rank_biased_overlap(scratch.a, scratch.b, n_successors, rbo_weights)
            elif i % _RBO_STEP == 0:
                rbos += rank_biased_overlap(scratch.a, scratch.b, n_successors, rbo_weights)
    out[0] = jaccard / n_thinnings
    out[1] = (jaccards + out[0]) / (n_thinnings * (N_ALIKE - 1) + 1)
    out[2] = rbo / n_thinnings
    out[3] = rbos / (n_thinnings * (N_ALIKE // _RBO_STEP - 1))
