"""What the same traffic would show with no drift: users exchanged between window and reference.

Users are exchanged, not transitions: who repeats himself is no proof of drift, and permuting his transitions one by
one would take him for one. Permutation `k` is one mask of 64 bits, common to all rows; bit `b` swaps the transitions
of user bucket `b` between the sides.

The statistic of a row is Pearson's, of the thinned sides (`stream.drift.matched`): the sum over successors of
``(a - b)^2 / (a + b)``. Exchanged sides differ in size by chance, which raises it, and so may the observed ones: what
the squared difference of sizes ``d^2`` explains of it over all masks (its regression, in closed form) is taken out.
Then it is a quadratic form in the signs of the buckets, as is a sum over many rows (`stream.drift.levels`): a matrix of
buckets x buckets, whose permutation distribution costs next to nothing, to any depth. The likelihood ratio G has no
such form.

Differences are whole numbers, ``A a - B b`` where sides are not thinned: sums are exact, and ties are ties.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import REFERENCE, WINDOW, Evidence, new_evidence
from tidegate.jit import inlined_kernel, kernel

ENOUGH_EXCEEDANCES = 10  # then a p-value is known within a third of itself (Besag and Clifford 1991)
ROUNDING = 1e-9  # relative; statistics that differ by less are ties
N_TABLES, N_ALIKE = 512, 32  # of which the null of an overlap is made, see `stream.drift.alike`
_FINEST = 128.0  # of A and B: the ratio is kept within half a percent, and is 1 where it nearly is
_LARGEST_SUM = float(1 << 30)


class Alike(NamedTuple):
    """What `stream.drift.matched` and `stream.drift.alike` work in.

    Attributes
    ----------
    by_bucket : int32[buckets]            difference of the thinned sides
    imbalances : int32[N_TABLES]
    of_bucket : float64[buckets]          difference of what the sides would hold unthinned
    sizes : float64[N_TABLES]             twice the size of a side, unthinned
    compared : bool[N_TABLES]
    chosen : int64[N_ALIKE]               tables, the observed one first
    signs : int8[buckets, N_ALIKE]        of the chosen ones
    totals : int32[m]                     of both thinned sides, by successor
    differences : int32[m, N_ALIKE]       of the thinned sides, by successor and chosen table
    """

    by_bucket: NDArray[np.int32]
    imbalances: NDArray[np.int32]
    of_bucket: NDArray[np.float64]
    sizes: NDArray[np.float64]
    compared: NDArray[np.bool_]
    chosen: NDArray[np.int64]
    signs: NDArray[np.int8]
    totals: NDArray[np.int32]
    differences: NDArray[np.int32]


class Scratch(NamedTuple):
    """What the kernels of one thread write to, reused from row to row.

    Attributes
    ----------
    evidence : Evidence            the row at hand
    differences : int32[m]         by cell, ``A window - B reference``
    weights : float64[m]           of a successor's squared difference
    a, b : int32[m]                counts by successor
    best : int32[k]                of `expected_jaccard`
    by_bucket : float64[buckets]   differences by bucket
    sums, sizes : int32[masks]     by mask: one successor's difference, all successors'
    statistics : float64[masks]
    form : float64[buckets, buckets]
    alike : Alike
    """

    evidence: Evidence
    differences: NDArray[np.int32]
    weights: NDArray[np.float64]
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    best: NDArray[np.int32]
    by_bucket: NDArray[np.float64]
    sums: NDArray[np.int32]
    sizes: NDArray[np.int32]
    statistics: NDArray[np.float64]
    form: NDArray[np.float64]
    alike: Alike


@kernel
def new_scratch(n_cells: int, k: int, n_buckets: int, n_masks: int) -> Scratch:
    """Scratch for rows of up to `n_cells` cells, top-k sets and blocks of `n_masks` masks."""
    return Scratch(
        new_evidence(n_cells),
        np.empty(n_cells, np.int32),
        np.empty(n_cells, np.float64),
        np.empty(n_cells, np.int32),
        np.empty(n_cells, np.int32),
        np.empty(k, np.int32),
        np.empty(n_buckets, np.float64),
        np.empty(n_masks, np.int32),
        np.empty(n_masks, np.int32),
        np.empty(n_masks, np.float64),
        np.empty((n_buckets, n_buckets), np.float64),
        Alike(
            np.empty(n_buckets, np.int32),
            np.empty(N_TABLES, np.int32),
            np.empty(n_buckets, np.float64),
            np.empty(N_TABLES, np.float64),
            np.empty(N_TABLES, np.bool_),
            np.empty(N_ALIKE, np.int64),
            np.empty((n_buckets, N_ALIKE), np.int8),
            np.empty(n_cells, np.int32),
            np.empty((n_cells, N_ALIKE), np.int32),
        ),
    )


@kernel
def multipliers(log_ratio: float, n_transitions: int) -> tuple[int, int]:
    """Whole numbers `A` and `B` with ``B / A`` near the ratio of traffic, window to reference. `O(1)`."""
    root = np.exp(0.5 * log_ratio)
    finest = min(_FINEST, _LARGEST_SUM / (n_transitions * max(root, 1.0 / root)))
    return max(1, int(np.rint(finest / root))), max(1, int(np.rint(finest * root)))


@kernel
def weigh(scratch: Scratch, n_successors: int, counts: NDArray[np.int32], factors: tuple[int, int]) -> None:
    """Fill ``differences``, ``by_bucket`` and ``weights`` from int32[2, m] `counts`. `O(m)`, allocates nothing."""
    evidence, by_bucket = scratch.evidence, scratch.by_bucket
    by_bucket[:] = 0.0
    scale = 1.0 / (float(factors[0]) * float(factors[1]))
    for s in range(n_successors):
        total = 0
        for e in range(evidence.starts[s], evidence.starts[s + 1]):
            difference = factors[0] * counts[WINDOW, e] - factors[1] * counts[REFERENCE, e]
            scratch.differences[e] = difference
            by_bucket[evidence.buckets[e]] += difference
            total += counts[WINDOW, e] + counts[REFERENCE, e]
        scratch.weights[s] = scale / total if total > 0 else 0.0


@kernel
def imbalance_slope(scratch: Scratch, n_successors: int) -> float:
    """Slope of the statistic on ``d^2`` over all masks. `O(m)`, allocates nothing.

    With bucket differences `D_b` (by successor `D_bs`), signs e, ``u_s = sum e_b D_bs`` and ``d = sum e_b D_b``:
    ``Cov(u_s^2, d^2) = 2 [(sum_b D_bs D_b)^2 - sum_b D_bs^2 D_b^2]``, ``Var(d^2) = 2 [(sum_b D_b^2)^2 - sum_b D_b^4]``.
    """
    evidence, by_bucket = scratch.evidence, scratch.by_bucket
    second = fourth = 0.0
    for b in range(by_bucket.shape[0]):
        square = by_bucket[b] * by_bucket[b]
        second += square
        fourth += square * square
    if second * second - fourth <= ROUNDING * fourth:  # at most one bucket differs, and d^2 never varies
        return 0.0
    covariance = 0.0
    for s in range(n_successors):
        linear = square = 0.0
        for e in range(evidence.starts[s], evidence.starts[s + 1]):
            term = scratch.differences[e] * by_bucket[evidence.buckets[e]]
            linear += term
            square += term * term
        covariance += scratch.weights[s] * (linear * linear - square)
    return covariance / (second * second - fourth)


@kernel
def statistic(scratch: Scratch, n_successors: int, slope: float) -> tuple[float, float]:
    """Value with nothing swapped, and within what others are ties with it. `O(m)`, allocates nothing."""
    starts = scratch.evidence.starts
    raw = size = typical = 0.0
    for s in range(n_successors):
        difference = 0
        for e in range(starts[s], starts[s + 1]):
            difference += scratch.differences[e]
        raw += scratch.weights[s] * (float(difference) * float(difference))
        size += difference
    for b in range(scratch.by_bucket.shape[0]):
        typical += scratch.by_bucket[b] * scratch.by_bucket[b]
    tolerance = ROUNDING * (1.0 + raw + abs(slope) * (size * size + typical))
    return raw - slope * (size * size), tolerance


@kernel
def add_form(scratch: Scratch, n_successors: int, slope: float, form: NDArray[np.float64]) -> None:
    """Add the row's quadratic form to `form`, float64[buckets, buckets]. `O(buckets^2 + cells of a successor^2)`."""
    evidence, by_bucket, differences = scratch.evidence, scratch.by_bucket, scratch.differences
    for s in range(n_successors):
        start, end = evidence.starts[s], evidence.starts[s + 1]
        for e in range(start, end):
            weight = scratch.weights[s] * differences[e]
            if weight != 0.0:
                for f in range(start, end):
                    form[evidence.buckets[e], evidence.buckets[f]] += weight * differences[f]
    for b in range(by_bucket.shape[0]):
        weight = slope * by_bucket[b]
        if weight != 0.0:
            for c in range(by_bucket.shape[0]):
                form[b, c] -= weight * by_bucket[c]


@inlined_kernel
def is_in_one_bucket(differences: NDArray[np.int32]) -> bool:
    """Whether at most one of them is not 0. `O(n)`, allocates nothing."""
    n = 0
    for difference in differences:
        n += difference != 0
    return n <= 1


@kernel
def permute(scratch: Scratch, n_successors: int, slope: float, signs: NDArray[np.int8]) -> None:
    """Statistics of one block of masks, int8[buckets, k] `signs`, into ``statistics``. `O(m k)`, vectorised over k.

    A successor all of whose difference lies in one bucket has the same square under every mask.
    """
    evidence, sums, sizes, statistics = scratch.evidence, scratch.sums, scratch.sizes, scratch.statistics
    sizes[:] = 0
    for b in range(scratch.by_bucket.shape[0]):
        difference = np.int32(scratch.by_bucket[b])
        if difference != 0:
            row = signs[b]
            for k in range(sizes.shape[0]):
                sizes[k] += difference * np.int32(row[k])
    for k in range(sizes.shape[0]):
        statistics[k] = -slope * (np.float64(sizes[k]) * np.float64(sizes[k]))
    constant = 0.0
    for s in range(n_successors):
        start, end = evidence.starts[s], evidence.starts[s + 1]
        if is_in_one_bucket(scratch.differences[start:end]):
            for e in range(start, end):
                constant += scratch.weights[s] * (float(scratch.differences[e]) * float(scratch.differences[e]))
            continue
        sums[:] = 0
        for e in range(start, end):
            difference = scratch.differences[e]
            if difference != 0:
                row = signs[evidence.buckets[e]]
                for k in range(sums.shape[0]):
                    sums[k] += difference * np.int32(row[k])
        weight = scratch.weights[s]
        for k in range(sums.shape[0]):
            statistics[k] += weight * (np.float64(sums[k]) * np.float64(sums[k]))
    for k in range(sums.shape[0]):
        statistics[k] += constant


@kernel
def permute_form(form: NDArray[np.float64], signs: NDArray[np.int8], statistics: NDArray[np.float64]) -> None:
    """Values of a form under one block of masks, int8[buckets, k]. `O(buckets^2 k)`, vectorised.

    Allocates `O(buckets k)`: signs as floats, since bytes have no short way to products of floats.
    """
    n_buckets = form.shape[0]
    floats = signs.astype(np.float64)
    inner = np.empty(statistics.shape[0])
    statistics[:] = 0.0
    for b in range(n_buckets):
        own = floats[b]
        for k in range(inner.shape[0]):
            inner[k] = form[b, b] * own[k]  # squared below: the diagonal is the same under every mask
        in_fours = b - b % 4
        for c in range(0, in_fours, 4):  # four at a time: `inner` is read and written a quarter as often
            e0, e1 = form[b, c] + form[c, b], form[b, c + 1] + form[c + 1, b]  # every other entry stands for two
            e2, e3 = form[b, c + 2] + form[c + 2, b], form[b, c + 3] + form[c + 3, b]
            f0, f1, f2, f3 = floats[c], floats[c + 1], floats[c + 2], floats[c + 3]
            for k in range(inner.shape[0]):
                inner[k] = inner[k] + e0 * f0[k] + e1 * f1[k] + e2 * f2[k] + e3 * f3[k]
        for c in range(in_fours, b):
            entry = form[b, c] + form[c, b]
            other = floats[c]
            for k in range(inner.shape[0]):
                inner[k] += entry * other[k]
        for k in range(inner.shape[0]):
            statistics[k] += own[k] * inner[k]


@kernel
def next_stage(stage: int) -> int:
    """After how many blocks to look again: 1, 3, 10, 30, 100, ... `O(1)`."""
    return stage * 3 if stage % 3 else stage // 3 * 10


@kernel
def p_value_of(scratch: Scratch, n_successors: int, slope: float, signs: NDArray[np.int8], by_form: bool) -> float:
    """Mid-p of the row among blocks of permutations, int8[blocks, buckets, k] `signs`, and itself.

    After 1, 3, 10, 30, 100, ... blocks it stops where at least `ENOUGH_EXCEEDANCES` have been seen.

    Parameters
    ----------
    by_form : bool   whether the row has so many cells that its form is the shorter way to the same values
    """
    observed, tolerance = statistic(scratch, n_successors, slope)
    if by_form:
        scratch.form[:] = 0.0
        add_form(scratch, n_successors, slope, scratch.form)
    above = equal = 0
    stage = 1
    n_blocks = signs.shape[0]
    for block in range(n_blocks):
        if by_form:
            permute_form(scratch.form, signs[block], scratch.statistics)
        else:
            permute(scratch, n_successors, slope, signs[block])
        for k in range(scratch.statistics.shape[0]):
            excess = scratch.statistics[k] - observed
            above += excess > tolerance
            equal += abs(excess) <= tolerance
        if block + 1 == stage:
            if above + 0.5 * equal >= ENOUGH_EXCEEDANCES or block + 1 == n_blocks:
                break
            stage = next_stage(stage)
    n = (block + 1) * scratch.statistics.shape[0]
    return float((above + 0.5 * (equal + 1)) / (n + 1))
