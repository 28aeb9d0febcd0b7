"""The newest pane alone against the reference: the urgent look at a window, which sees an abrupt shift first.

A window of `w` panes that holds one pane after a shift is ``1 / w`` different, and what it shows grows with the square
of that. The newest pane is wholly different, though there is less of it: its statistic stands `w` times as far out.

The sides are of unequal size by design, so nothing is thinned. Side differences by bucket are ``D = a - l r``, `l`
being the ratio of the pair's totals, and two buckets' differences are weighed by the successor's transitions in *all
other* buckets. So each bucket's difference is independent of the others' and of the weight, with mean 0 if there is no
drift, however differently users repeat themselves in a pane and in a window, and the sum over all pairs of buckets has
mean 0, too. Its distribution is that of swapped signs, a quadratic form as in `stream.drift.permutation`; for that, the
weights count what a user repeats as one (Kish's design effect), or they would tell a side by how it clumps.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import REFERENCE, WINDOW, Side, gather, mix_each, new_evidence
from stream.drift.matching import match_pairs
from stream.drift.options import DriftOptions
from stream.drift.report import heaviest_flagged
from stream.drift.table import table_shift
from stream.drift.window import measure_drift
from tidegate.contracts import FrontDrift
from tidegate.counts import BucketedCounts, unpack_pairs
from tidegate.jit import kernel, parallel_kernel

_BUCKET_BITS = 8
_SEED = 0xF207
_FIRST_LOOK, _LOOKS_AGAIN_P = 10_000, 0.01  # permutations for all, and the p-value from which all of them are made
_PRIOR = 2.0  # transitions that a successor counts as having elsewhere, so that rare ones weigh no more than one


def measure_front(
    pane: BucketedCounts,
    reference: BucketedCounts,
    cluster_seeds: NDArray[np.uint64],
    options: DriftOptions,
    window_panes: int,
) -> FrontDrift | None:
    """Hold the newest pane against the window's reference; None where the window is that pane, or no pair compares.

    Pairs are tested only where the pane as a whole alarms, which is rarely: the rest is cheap, `O(t)` for `t` counts.

    Parameters
    ----------
    pane, reference : BucketedCounts
    cluster_seeds : uint64[C]       follow the clusters' names; the result does not depend on their numbering
    options : DriftOptions          its support is that of a whole window; a pane needs its share of it
    window_panes : int
    """
    if window_panes == 1:
        return None
    options = replace(options, min_support=-(-options.min_support // window_panes))
    pairs, sides = match_pairs(pane, reference, options.min_support)
    if not pairs.size:
        return None
    form = _form(pairs, sides, cluster_seeds, options)
    shift = table_shift(form, options.seed ^ _SEED, min(_FIRST_LOOK, options.table_permutations))
    if shift.p_value <= _LOOKS_AGAIN_P:
        shift = table_shift(form, options.seed ^ _SEED, options.table_permutations)
    is_alarmed = shift.p_value <= options.front_p
    drift = measure_drift(pane, reference, cluster_seeds, options) if is_alarmed else None
    return FrontDrift(
        transitions=pane.total,
        pairs=pairs.shape[0],
        table_z=shift.z,
        table_p=shift.p_value,
        alarmed=is_alarmed,
        flagged_pairs=int(drift.flagged.sum()) if drift else 0,
        flagged=heaviest_flagged(drift) if drift else (),
    )


def _form(
    pairs: NDArray[np.int64], sides: tuple[Side, Side], cluster_seeds: NDArray[np.uint64], options: DriftOptions
) -> NDArray[np.float64]:
    """Sum the pairs' forms in an order that follows names: float64[buckets, buckets]."""
    c1, c2 = unpack_pairs(pairs)
    order = np.argsort(mix_each(mix_each(cluster_seeds[c1], np.uint64(0)) ^ cluster_seeds[c2], np.uint64(0)))
    clumping = np.array([clumping_of(side, options.n_buckets) for side in sides])
    return np.asarray(front_forms(order, *sides, clumping, cluster_seeds, options.n_buckets).sum(axis=0))


def clumping_of(side: Side, n_buckets: int) -> float:
    """Mean number of transitions by the user and to the successor of a transition, 1 where nobody repeats himself.

    Users who share a bucket by chance are taken out: of a successor's transitions a share ``1 / buckets`` would.
    """
    lengths = side.ends - side.starts
    cells = np.repeat(side.starts - np.r_[0, np.cumsum(lengths)[:-1]], lengths) + np.arange(lengths.sum())
    counts = side.counts[cells].astype(np.float64)
    triples = side.keys[cells] >> _BUCKET_BITS
    totals = np.add.reduceat(counts, np.flatnonzero(np.r_[True, triples[1:] != triples[:-1]]))
    by_chance = (np.square(totals).sum() - totals.sum()) / n_buckets
    n = float(totals.sum()) * (1.0 - 1.0 / n_buckets)
    return max(1.0, 1.0 + float((counts * (counts - 1.0)).sum() - by_chance) / n)


@parallel_kernel
def front_forms(
    order: NDArray[np.int64],
    pane: Side,
    reference: Side,
    clumping: NDArray[np.float64],
    cluster_seeds: NDArray[np.uint64],
    n_buckets: int,
) -> NDArray[np.float64]:
    """Quadratic forms of the pairs' differences, by chunk of pairs: float64[64, buckets, buckets], diagonals 0.

    Chunks are fixed, so that sums do not depend on the number of threads. `O(cells x buckets)` at most; allocates
    O(threads x largest pair).

    Parameters
    ----------
    order : int64[p]         pairs, in the order in which they are summed
    pane, reference : Side   rows of the same pairs
    clumping : float64[2]    of the two sides
    cluster_seeds : uint64[C]
    n_buckets : int
    """
    n_chunks = 64
    forms = np.zeros((n_chunks, n_buckets, n_buckets))
    for chunk in numba.prange(n_chunks):
        start, end = chunk * order.shape[0] // n_chunks, (chunk + 1) * order.shape[0] // n_chunks
        _add_forms(order[start:end], pane, reference, clumping, cluster_seeds, forms[chunk])
    return forms


@kernel
def _add_forms(
    rows: NDArray[np.int64],
    pane: Side,
    reference: Side,
    clumping: NDArray[np.float64],
    cluster_seeds: NDArray[np.uint64],
    form: NDArray[np.float64],
) -> None:
    n_largest = 1
    for row in rows:
        n_largest = max(n_largest, pane.ends[row] - pane.starts[row] + reference.ends[row] - reference.starts[row])
    evidence = new_evidence(n_largest)
    differences, weights, by_bucket = np.empty(n_largest), np.empty(n_largest), np.empty(form.shape[0])
    of_pair = np.empty_like(form)
    for row in rows:
        n_successors = gather(pane, reference, row, cluster_seeds, evidence)
        ratio = pane.totals[row] / reference.totals[row]
        by_bucket[:] = 0.0
        for e in range(evidence.starts[n_successors]):
            a, r = evidence.counts[WINDOW, e], evidence.counts[REFERENCE, e]
            differences[e] = a - ratio * r
            weights[e] = a / clumping[WINDOW] + r / clumping[REFERENCE]
            by_bucket[evidence.buckets[e]] += differences[e]
        of_pair[:] = 0.0
        for s in range(n_successors):
            _add_successor(evidence.starts[s], evidence.starts[s + 1], evidence.buckets, weights, differences, of_pair)
        _take_out_imbalance(by_bucket, of_pair)
        for b in range(form.shape[0]):
            for c in range(b):
                value = of_pair[b, c] / ratio  # on the scale of a chi-square, as with sides of equal size
                form[b, c] += value
                form[c, b] += value


@kernel
def _add_successor(
    start: int,
    end: int,
    buckets: NDArray[np.int64],
    weights: NDArray[np.float64],
    differences: NDArray[np.float64],
    form: NDArray[np.float64],
) -> None:
    """Add the products of one successor's differences in two buckets, below the diagonal. `O(cells^2)`."""
    total = _PRIOR
    for e in range(start, end):
        total += weights[e]
    for e in range(start, end):
        elsewhere = total - weights[e]
        for f in range(start, e):  # cells of a successor ascend by bucket
            form[buckets[e], buckets[f]] += differences[e] * differences[f] / (elsewhere - weights[f])


@kernel
def _take_out_imbalance(by_bucket: NDArray[np.float64], form: NDArray[np.float64]) -> None:
    """Take out what the sides' imbalance explains of the form over all swaps: they are of equal size as observed only.

    Its regression on ``d^2``, whose form is the product of the buckets' sums of differences.
    """
    covariance = variance = 0.0
    for b in range(form.shape[0]):
        for c in range(b):
            product = by_bucket[b] * by_bucket[c]
            covariance += form[b, c] * product
            variance += product * product
    if variance > 0.0:
        slope = covariance / variance
        for b in range(form.shape[0]):
            for c in range(b):
                form[b, c] -= slope * by_bucket[b] * by_bucket[c]
