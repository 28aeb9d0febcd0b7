"""What the same traffic would show with no drift: users exchanged between window and reference.

Users are exchanged, not transitions: who repeats himself is no proof of drift, and permuting his transitions one by
one would take him for one. Permutation `k` is one mask of 64 bits, common to all pairs; bit `b` swaps the transitions
of user bucket `b` between the sides.

The statistic of a pair at equal sizes (the larger side thinned to the smaller) is Pearson's: the sum over successors
of ``(a - b)^2 / (a + b)``. Exchanged sides are not of equal size any more, which would raise it: what the squared
difference of sizes ``d^2`` explains of it (its regression over all masks, in closed form) is taken out again. Then
it is a quadratic form in the signs of the buckets, so that the sum over all pairs is one matrix, buckets x buckets:
the whole table's permutation distribution costs next to nothing, to any depth. The likelihood ratio G has no such
form, and its expectation falls with ``d^2``: against it the observed table, whose sides are of equal size, looks
drifted when it is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import (
    DIFFERENCE,
    REFERENCE,
    WINDOW,
    Evidence,
    Side,
    gather,
    new_evidence,
    thin,
    uniform_below,
)
from stream.drift.jaccard import expected_jaccard
from tidegate.hashing import mix64
from tidegate.jit import kernel, parallel_kernel

MAX_JACCARD_MASKS = 512
_MASKS_PER_THINNING = 8
_ENOUGH_JACCARD = 8.0  # sum of exchanged Jaccards at which their mean is known well enough
N_CHUNKS = 64  # of pairs; fixed, so that sums do not depend on who measures which of them
_ENOUGH_EXCEEDANCES = 10  # then a p-value is known within a third of itself (Besag and Clifford 1991)
_ROUNDING = 1e-9  # relative; statistics that differ by less are ties


class PairResults(NamedTuple):
    """By pair: float64[p] jaccard at full counts, null and matched Jaccard at equal sizes, mid-p value."""

    jaccard: NDArray[np.float64]
    null: NDArray[np.float64]
    matched: NDArray[np.float64]
    p_value: NDArray[np.float64]


class Scratch(NamedTuple):
    """What the kernels of one thread write to, reused from pair to pair.

    Attributes
    ----------
    evidence : Evidence        the pair at hand
    a, b : int32[m]            counts by successor
    of_side : int64[m]         the side a cell is taken from
    best : int32[k]            of `expected_jaccard`
    by_bucket : float64[buckets]   difference of the matched sides by bucket
    sums, sizes : int32[masks]     by mask: one successor's difference, all successors'
    statistics : float64[masks]
    """

    evidence: Evidence
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    of_side: NDArray[np.int64]
    best: NDArray[np.int32]
    by_bucket: NDArray[np.float64]
    sums: NDArray[np.int32]
    sizes: NDArray[np.int32]
    statistics: NDArray[np.float64]


@kernel
def new_scratch(n_cells: int, k: int, n_buckets: int, n_masks: int) -> Scratch:
    """Scratch for pairs of up to `n_cells` cells, top-k sets and blocks of `n_masks` masks."""
    return Scratch(
        new_evidence(n_cells),
        np.empty(n_cells, np.int32),
        np.empty(n_cells, np.int32),
        np.empty(n_cells, np.int64),
        np.empty(k, np.int32),
        np.empty(n_buckets, np.float64),
        np.empty(n_masks, np.int32),
        np.empty(n_masks, np.int32),
        np.empty(n_masks, np.float64),
    )


@kernel
def imbalance_slope(scratch: Scratch, n_successors: int) -> float:
    """Slope of the statistic on ``d^2`` over all masks; fills ``by_bucket``. `O(m)`, allocates nothing.

    With bucket differences `D_b` (by successor `D_bs`), signs e, ``u_s = sum e_b D_bs`` and ``d = sum e_b D_b``:
    ``Cov(u_s^2, d^2) = 2 [(sum_b D_bs D_b)^2 - sum_b D_bs^2 D_b^2]``, ``Var(d^2) = 2 [(sum_b D_b^2)^2 - sum_b D_b^4]``.
    """
    evidence, by_bucket = scratch.evidence, scratch.by_bucket
    by_bucket[:] = 0.0
    for e in range(evidence.starts[n_successors]):
        by_bucket[evidence.buckets[e]] += evidence.matched[DIFFERENCE, e]
    second = fourth = 0.0
    for b in range(by_bucket.shape[0]):
        square = by_bucket[b] * by_bucket[b]
        second += square
        fourth += square * square
    if second * second - fourth < 0.5:  # whole numbers: at most one bucket differs, and d^2 never varies
        return 0.0
    covariance = 0.0
    for s in range(n_successors):
        linear = square = total = 0.0
        for e in range(evidence.starts[s], evidence.starts[s + 1]):
            term = evidence.matched[DIFFERENCE, e] * by_bucket[evidence.buckets[e]]
            linear += term
            square += term * term
            total += evidence.matched[WINDOW, e] + evidence.matched[REFERENCE, e]
        if total > 0:
            covariance += (linear * linear - square) / total
    return covariance / (second * second - fourth)


@kernel
def add_form(scratch: Scratch, n_successors: int, slope: float, form: NDArray[np.float64]) -> float:
    """Add the pair's quadratic form to `form`, float64[buckets, buckets]; returns its value with nothing swapped."""
    evidence, by_bucket = scratch.evidence, scratch.by_bucket
    observed = 0.0
    for s in range(n_successors):
        start, end = evidence.starts[s], evidence.starts[s + 1]
        total = difference = 0
        for e in range(start, end):
            total += evidence.matched[WINDOW, e] + evidence.matched[REFERENCE, e]
            difference += evidence.matched[DIFFERENCE, e]
        if total == 0:
            continue
        observed += difference * difference / total
        for e in range(start, end):
            weight = evidence.matched[DIFFERENCE, e] / total
            if weight != 0.0:
                for f in range(start, end):
                    form[evidence.buckets[e], evidence.buckets[f]] += weight * evidence.matched[DIFFERENCE, f]
    for b in range(by_bucket.shape[0]):
        weight = slope * by_bucket[b]
        if weight != 0.0:
            for c in range(by_bucket.shape[0]):
                form[b, c] -= weight * by_bucket[c]
    return observed


@kernel
def permute(scratch: Scratch, n_successors: int, slope: float, signs: NDArray[np.int8]) -> None:
    """Statistics of one block of masks, int8[buckets, k] `signs`, into ``statistics``. `O(m k)`, vectorised over k."""
    evidence, sums, sizes, statistics = scratch.evidence, scratch.sums, scratch.sizes, scratch.statistics
    sizes[:] = 0
    statistics[:] = 0.0
    for s in range(n_successors):
        total = 0
        sums[:] = 0
        for e in range(evidence.starts[s], evidence.starts[s + 1]):
            total += evidence.matched[WINDOW, e] + evidence.matched[REFERENCE, e]
            difference = evidence.matched[DIFFERENCE, e]
            if difference != 0:
                row = signs[evidence.buckets[e]]
                for k in range(sums.shape[0]):
                    sums[k] += difference * np.int32(row[k])
        if total > 0:
            weight = 1.0 / total
            for k in range(sums.shape[0]):
                sizes[k] += sums[k]
                statistics[k] += weight * (np.float64(sums[k]) * np.float64(sums[k]))
    for k in range(sums.shape[0]):
        statistics[k] -= slope * (np.float64(sizes[k]) * np.float64(sizes[k]))


@kernel
def p_value_of(scratch: Scratch, n_successors: int, slope: float, observed: float, signs: NDArray[np.int8]) -> float:
    """Mid-p of `observed` among blocks of permutations, int8[blocks, buckets, k] `signs`, and itself.

    Statistics nearer than what the imbalance typically takes out, ``|slope| E[d^2]``, are ties: with few users the
    statistic has few values, and the observed sides, of exactly equal size, would else always lead their equals.
    After 1, 10, 100, ... blocks it stops where at least `_ENOUGH_EXCEEDANCES` have been seen.
    """
    typical = 0.0
    for b in range(scratch.by_bucket.shape[0]):
        typical += scratch.by_bucket[b] * scratch.by_bucket[b]
    tolerance = abs(slope) * typical + _ROUNDING * (1.0 + observed)
    above = equal = 0
    stage = 1
    n_blocks = signs.shape[0]
    for block in range(n_blocks):
        permute(scratch, n_successors, slope, signs[block])
        for k in range(scratch.statistics.shape[0]):
            excess = scratch.statistics[k] - observed
            above += excess > tolerance
            equal += abs(excess) <= tolerance
        if block + 1 == stage:
            if above + 0.5 * equal >= _ENOUGH_EXCEEDANCES or block + 1 == n_blocks:
                break
            stage *= 10
    n = (block + 1) * scratch.statistics.shape[0]
    return float((above + 0.5 * (equal + 1)) / (n + 1))


@kernel
def _draw_side(
    evidence: Evidence,
    n_cells: int,
    n_removed: int,
    of_side: NDArray[np.int64],
    out: NDArray[np.int32],
    seed: np.uint64,
) -> None:
    """Sum one side's cells by successor, less `n_removed` transitions of random cells (the last cell in part)."""
    order, matched, successors = evidence.order, evidence.matched, evidence.successors
    n = 0
    for e in range(n_cells):
        count = matched[of_side[e], e]
        out[successors[e]] += count
        order[n] = e
        n += count > 0
    draw = np.uint64(0)
    while n_removed > 0:
        at = uniform_below(mix64(seed + draw), n)
        draw += np.uint64(1)
        e = order[at]
        removed = min(n_removed, matched[of_side[e], e])
        out[successors[e]] -= removed
        n_removed -= removed
        n -= 1
        order[at] = order[n]


@kernel
def _matched_jaccard(
    scratch: Scratch,
    n_successors: int,
    sign: NDArray[np.int8],
    n_kept: int,
    seed: np.uint64,
    binomials: NDArray[np.float64],
) -> float:
    """Jaccard of the matched sides with the buckets of negative `sign` swapped, both drawn down to `n_kept`."""
    evidence, of_side = scratch.evidence, scratch.of_side
    n_cells = evidence.starts[n_successors]
    for drawn in range(2):
        out = scratch.a if drawn == 0 else scratch.b
        out[:n_successors] = 0
        size = 0
        for e in range(n_cells):
            of_side[e] = drawn if sign[evidence.buckets[e]] > 0 else 1 - drawn
            size += evidence.matched[of_side[e], e]
        _draw_side(evidence, n_cells, size - n_kept, of_side, out, mix64(seed + np.uint64(drawn)))
    return expected_jaccard(scratch.a, scratch.b, n_successors, scratch.best, binomials)


@kernel
def _matched_means(
    scratch: Scratch,
    n_successors: int,
    sizes: tuple[int, int],
    event_share: float,
    signs: NDArray[np.int8],
    seed: np.uint64,
    binomials: NDArray[np.float64],
) -> tuple[float, float]:
    """Mean Jaccard as observed, and with users exchanged, at the same sizes.

    Each exchange leaves ``n + d`` and ``n - d`` transitions; both the exchanged and the observed sides are drawn down
    to ``n - |d|``, for fewer transitions alone lower the Jaccard. Exchanges go on until their Jaccards add up to
    `_ENOUGH_JACCARD`: so sampled (inverse sampling), one over their mean is nearly unbiased however small the mean,
    which it is not after a fixed number.
    """
    evidence = scratch.evidence
    n_cells, n_buckets = evidence.starts[n_successors], signs.shape[1]
    unswapped = np.ones(n_buckets, np.int8)
    observed = exchanged = 0.0
    n_draws = 0
    draw = mix64(seed)
    for mask in range(signs.shape[0]):
        draw = mix64(draw)
        if mask == 0 or (mask % _MASKS_PER_THINNING == 0 and sizes[0] != sizes[1]):
            thin(evidence, n_cells, sizes, event_share, draw)
        imbalance = 0
        for e in range(n_cells):
            imbalance += evidence.matched[DIFFERENCE, e] * np.int64(signs[mask, evidence.buckets[e]])
        n_kept = min(sizes[0], sizes[1]) - abs(imbalance) // 2
        if n_kept <= 0:
            continue  # all on one side: nothing to compare
        draw = mix64(draw)
        observed += _matched_jaccard(scratch, n_successors, unswapped, n_kept, draw, binomials)
        exchanged += _matched_jaccard(scratch, n_successors, signs[mask], n_kept, mix64(~draw), binomials)
        n_draws += 1
        if exchanged >= _ENOUGH_JACCARD:
            break
    if n_draws == 0:
        return 0.0, 0.0
    return observed / n_draws, exchanged / n_draws


@kernel
def _measure_chunk(
    pairs: NDArray[np.int64],
    window: Side,
    reference: Side,
    pair_seeds: NDArray[np.uint64],
    cluster_seeds: NDArray[np.uint64],
    event_share: float,
    signs: NDArray[np.int8],
    jaccard_signs: NDArray[np.int8],
    binomials: NDArray[np.float64],
    results: PairResults,
    form: NDArray[np.float64],
) -> None:
    """Measure the pairs of indices `pairs`; adds their quadratic forms to `form`. Allocates O(largest pair)."""
    n_largest = 1
    for p in pairs:
        n_largest = max(n_largest, window.ends[p] - window.starts[p] + reference.ends[p] - reference.starts[p])
    scratch = new_scratch(n_largest, binomials.shape[1] - 1, signs.shape[1], signs.shape[2])
    evidence = scratch.evidence
    for p in pairs:
        n_successors = gather(window, reference, p, cluster_seeds, evidence)
        for s in range(n_successors):
            scratch.a[s] = scratch.b[s] = 0
            for e in range(evidence.starts[s], evidence.starts[s + 1]):
                scratch.a[s] += evidence.counts[WINDOW, e]
                scratch.b[s] += evidence.counts[REFERENCE, e]
        results.jaccard[p] = expected_jaccard(scratch.a, scratch.b, n_successors, scratch.best, binomials)
        sizes = (window.totals[p], reference.totals[p])
        results.matched[p], results.null[p] = _matched_means(
            scratch, n_successors, sizes, event_share, jaccard_signs, pair_seeds[p], binomials
        )
        thin(evidence, evidence.starts[n_successors], sizes, event_share, mix64(pair_seeds[p]))
        slope = imbalance_slope(scratch, n_successors)
        observed = add_form(scratch, n_successors, slope, form)
        results.p_value[p] = p_value_of(scratch, n_successors, slope, observed, signs)


@kernel
def chunk_start(chunk: int, n_pairs: int) -> int:
    """Where a chunk begins in the order of the pairs' seeds; that of `N_CHUNKS` is the end. `O(1)`."""
    return chunk * n_pairs // N_CHUNKS


@parallel_kernel
def measure_chunks(
    chunks: NDArray[np.int64],
    order: NDArray[np.int64],
    window: Side,
    reference: Side,
    pair_seeds: NDArray[np.uint64],
    cluster_seeds: NDArray[np.uint64],
    event_share: float,
    signs: NDArray[np.int8],
    jaccard_signs: NDArray[np.int8],
    binomials: NDArray[np.float64],
    results: PairResults,
) -> NDArray[np.float64]:
    """Measure the pairs of some chunks into `results`; returns the chunks' forms, float64[chunks, buckets, buckets].

    The form of the whole table is the sum of all `N_CHUNKS` of them, in their order. Parallel over chunks, which are
    cut from the order of the pairs' seeds: the result is the same bit for bit with any number of threads, whoever
    measures which chunks, and with any numbering of the clusters. `O(permutations x cells)`; allocates O(threads x
    largest pair).

    Parameters
    ----------
    chunks : int64[n]                 of `N_CHUNKS`, ascending
    order : int64[p]                  pairs in the order of their seeds
    window, reference : Side          rows of the same pairs
    pair_seeds : uint64[p]
    cluster_seeds : uint64[C]
    event_share : float               see `evidence.thin`
    signs : int8[blocks, buckets, k]  of the masks, by block
    jaccard_signs : int8[n, buckets]  of the masks of the Jaccard null, at most
    binomials : float64[C + 1, top k + 1]
    results : PairResults             float64[p] each, written where a chunk has the pair
    """
    n_buckets = signs.shape[1]
    forms = np.zeros((chunks.shape[0], n_buckets, n_buckets))
    for at in numba.prange(chunks.shape[0]):
        _measure_chunk(
            order[chunk_start(chunks[at], order.shape[0]) : chunk_start(chunks[at] + 1, order.shape[0])],
            window,
            reference,
            pair_seeds,
            cluster_seeds,
            event_share,
            signs,
            jaccard_signs,
            binomials,
            results,
            forms[at],
        )
    return forms
