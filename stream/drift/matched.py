"""Jaccard and rank-biased overlap at matched counts: as observed, and as users exchanged would show them.

The side that is busier in users is thinned by users, and the one whose users make more transitions by transitions, by
the ratios that are expected of the row (`stream.drift.traffic`). Then, with no drift, a user bucket might as well have
its sides swapped, and the observed table is one of many that were equally likely: the mean of a measure over those
like it (`stream.drift.alike`) is what it would be with no drift. The null of Jaccard takes the observed one in, as a
permutation's p-value does: so ``J / null`` is 1 in expectation, exactly, where sides are exchangeable, however thin
they are. That of the overlap, of which only means over rows are taken, rests on some of the exchanged tables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.drift.alike import choose_alike, find_compared, n_tables_of
from stream.drift.evidence import REFERENCE, WINDOW, thin
from stream.drift.jaccard import expected_jaccard
from stream.drift.overlap import rank_biased_overlap
from stream.drift.permutation import Scratch
from tidegate.hashing import mix64
from tidegate.jit import kernel

_EQUAL = 0.02  # logarithms: nothing is thinned for less
_RBO_STEP = 4  # every fourth of the alike tables: whole rankings vary less than top-k sets
_TWO_THINNINGS_BELOW = 0.7  # where this share or less is kept, the draw of what is kept adds as much noise as users do


@kernel
def exchange(
    scratch: Scratch,
    n_successors: int,
    signs: NDArray[np.int8],
    of_transitions: tuple[float, float],
    min_support: int,
    seed: np.uint64,
) -> int:
    """Make the chosen tables of the thinned sides, totals and differences by successor; returns how many there are.

    `O(N_TABLES buckets + N_ALIKE m)`.

    Parameters
    ----------
    of_transitions, min_support : see `alike.find_compared`
    """
    evidence, alike = scratch.evidence, scratch.alike
    alike.by_bucket[:] = 0
    n_cells, size = evidence.starts[n_successors], 0
    for e in range(n_cells):
        size += evidence.kept[WINDOW, e] + evidence.kept[REFERENCE, e]
        alike.by_bucket[evidence.buckets[e]] += evidence.kept[WINDOW, e] - evidence.kept[REFERENCE, e]
    n_tables = n_tables_of(size)
    imbalances = alike.imbalances[:n_tables]
    imbalances[:] = 0
    for b in range(alike.by_bucket.shape[0]):
        difference = alike.by_bucket[b]
        if difference != 0:
            row = signs[b]
            for k in range(n_tables):
                imbalances[k] += difference * np.int32(row[k])
    find_compared(scratch, n_cells, n_tables, signs, of_transitions, min_support)
    n_chosen = choose_alike(imbalances, alike.compared[:n_tables], seed, alike.chosen)
    alike.chosen[n_chosen:] = alike.chosen[0]  # made all the same, but not looked at
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
    return n_chosen


@kernel
def _rates(log_ratio: float) -> tuple[float, float]:
    """Share that window and reference keep, so that the busier one is as busy as the other."""
    if abs(log_ratio) < _EQUAL:
        return 1.0, 1.0
    return np.exp(-max(log_ratio, 0.0)), np.exp(min(log_ratio, 0.0))


@kernel
def matched_means(
    scratch: Scratch,
    n_successors: int,
    log_ratio: float,
    log_event: float,
    min_support: int,
    signs: NDArray[np.int8],
    seed: np.uint64,
    binomials: NDArray[np.float64],
    rbo_weights: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Measure a row at matched counts, and with users exchanged. `O(N_ALIKE m)`.

    Parameters
    ----------
    log_ratio, log_event : float      see `traffic.Traffic`
    min_support : int                 transitions without which a side is not compared
    signs : int8[buckets, N_TABLES]   of the masks; the first swaps nothing
    binomials : float64[C + 1, top k + 1]
    rbo_weights : float64[depth + 1]  see `overlap.depth_weights`
    out : float64[4]                  written: Jaccard, its null, rank-biased overlap, its null
    """
    evidence, alike = scratch.evidence, scratch.alike
    of_cells, of_transitions = _rates(log_ratio - log_event), _rates(log_event)
    rates = (of_cells[0] * of_transitions[0], of_cells[1] * of_transitions[1])
    n_thinnings = 2 if min(rates) < _TWO_THINNINGS_BELOW else 1
    jaccard = rbo = jaccards = rbos = 0.0
    n_jaccards = n_rbos = 0
    for _ in range(n_thinnings):
        seed = mix64(seed)
        thin(evidence, evidence.starts[n_successors], of_cells, of_transitions, seed)
        n_chosen = exchange(scratch, n_successors, signs, of_transitions, min_support, seed)
        n_jaccards += n_chosen - 1
        for i in range(n_chosen):
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
                n_rbos += 1
    out[0] = jaccard / n_thinnings
    out[1] = (jaccards + out[0]) / (n_jaccards + 1)
    out[2] = rbo / n_thinnings
    out[3] = rbos / n_rbos if n_rbos > 0 else out[2]
