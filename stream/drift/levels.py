"""Clusters as a whole: the pairs that share their first cluster, or their second, judged together.

A cluster's statistic is the sum of its pairs', over all counts: users who watch several of its pairs are exchanged in
all of them at once. Small biases add up in such a sum as drift would, so here nothing is thinned, and nothing is
weighed by what it is part of. With `r` the expected ratio of traffic, the sides differ in bucket `b` and successor `s`
by ``D_bs = w_bs / sqrt(r) - sqrt(r) v_bs``, and the products of two buckets' differences count by one over the
transitions to `s` in all *other* buckets. Without drift each factor is 0 in expectation and independent of the rest,
so their sum is 0 in expectation, however users repeat themselves or come back. The regression on the squared imbalance
is taken out, as in `stream.drift.permutation`. It is a quadratic form in the signs of buckets, and the forms of the
level of `c1` sum up to the whole table's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.drift.discoveries import flag_discoveries
from stream.drift.evidence import REFERENCE, WINDOW, gather, largest_row
from stream.drift.measures import Rows, chunk_start, spread
from stream.drift.permutation import (
    ENOUGH_EXCEEDANCES,
    ROUNDING,
    Scratch,
    multipliers,
    new_scratch,
    next_stage,
    permute_form,
    weigh,
)
from stream.drift.rows import effect_of_each
from tidegate.jit import kernel

_PRIOR = 2.0  # transitions that a successor counts as having elsewhere


class Level(NamedTuple):
    """Rows by cluster.

    Attributes
    ----------
    clusters : int64[q]      in the order of their seeds
    members : int64[p]       rows, cluster by cluster, each in the order of their own seeds
    starts : int64[q + 1]    first member of each cluster
    """

    clusters: NDArray[np.int64]
    members: NDArray[np.int64]
    starts: NDArray[np.int64]


def level_of(clusters: NDArray[np.int32], order: NDArray[np.int64], cluster_seeds: NDArray[np.uint64]) -> Level:
    """Group rows by `clusters`, int32[p]: the cluster of each."""
    of_order = clusters[order]
    by_cluster = np.argsort(cluster_seeds[of_order], kind="stable")
    members, sorted_clusters = order[by_cluster], of_order[by_cluster]
    is_first = np.r_[True, sorted_clusters[1:] != sorted_clusters[:-1]] if order.size else np.zeros(0, np.bool_)
    starts = np.flatnonzero(is_first)
    return Level(sorted_clusters[starts].astype(np.int64), members, np.r_[starts, members.shape[0]])


class ClusterTests(NamedTuple):
    """Tests of a level: float64[q] z (NaN where nothing can be exchanged) and mid-p; float64[chunks, b, b] forms."""

    z: NDArray[np.float64]
    p_value: NDArray[np.float64]
    forms: NDArray[np.float64]


def measure_level(chunks: NDArray[np.int64], level: Level, rows: Rows, signs: NDArray[np.int8]) -> ClusterTests:
    """Test the clusters of some chunks, int64[n] of `N_CHUNKS`, of the level; the others are left as they come.

    `O(buckets^2 x permutations)` by cluster and `O(cells)` by row; allocates `O(buckets^2)` by chunk.
    """
    n_clusters, n_buckets = level.clusters.shape[0], signs.shape[1]
    tests = ClusterTests(np.empty(n_clusters), np.empty(n_clusters), np.zeros((chunks.shape[0], n_buckets, n_buckets)))

    def measure(at: int) -> None:
        first, last = (chunk_start(int(chunks[at]) + i, n_clusters) for i in (0, 1))
        _measure_clusters(first, last, level, rows, signs, tests.z, tests.p_value, tests.forms[at])

    spread(measure, range(chunks.shape[0]))
    return tests


@kernel
def _measure_clusters(
    first: int,
    last: int,
    level: Level,
    rows: Rows,
    signs: NDArray[np.int8],
    z: NDArray[np.float64],
    p_value: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Test clusters `first` to ``last - 1``; adds their forms to `total`."""
    members = level.members[level.starts[first] : level.starts[last]]
    scratch = new_scratch(largest_row(members, rows.window, rows.reference), 1, signs.shape[1], signs.shape[2])
    form = np.empty(total.shape)
    for cluster in range(first, last):
        form[:] = 0.0
        for at in range(level.starts[cluster], level.starts[cluster + 1]):
            row = level.members[at]
            n = gather(rows.window, rows.reference, row, rows.cluster_seeds, scratch.evidence)
            n_transitions = rows.window.totals[row] + rows.reference.totals[row]
            factors = multipliers(rows.traffic.log_ratios[row], n_transitions)
            weigh(scratch, n, scratch.evidence.counts, factors)
            add_products(scratch, n, factors, form)
        z[cluster], p_value[cluster] = judge_form(form, signs, scratch.statistics)
        total += form


@kernel
def add_products(scratch: Scratch, n_successors: int, factors: tuple[int, int], form: NDArray[np.float64]) -> None:
    """Add a row's form to `form`: products of two buckets' differences, off the diagonal, without the imbalance.

    `O(buckets^2 + cells of a successor^2)`, allocates nothing.
    """
    by_bucket = scratch.by_bucket
    covariance = _for_each_product(scratch, n_successors, factors, form, False)
    second = fourth = 0.0
    for b in range(by_bucket.shape[0]):
        square = by_bucket[b] * by_bucket[b]
        second += square
        fourth += square * square
    _for_each_product(scratch, n_successors, factors, form, True)
    if second * second - fourth <= ROUNDING * fourth:
        return
    slope = 2.0 * covariance / (second * second - fourth)
    for b in range(by_bucket.shape[0]):
        weight = slope * by_bucket[b]
        if weight != 0.0:
            for c in range(b):
                form[b, c] -= weight * by_bucket[c]
                form[c, b] -= weight * by_bucket[c]


@kernel
def _for_each_product(
    scratch: Scratch, n_successors: int, factors: tuple[int, int], form: NDArray[np.float64], adds: bool
) -> float:
    """Add the products to `form` if `adds`; returns the sum of each times that of the buckets' whole differences."""
    evidence, differences, by_bucket = scratch.evidence, scratch.differences, scratch.by_bucket
    scale = 1.0 / (float(factors[0]) * float(factors[1]))
    covariance = 0.0
    for s in range(n_successors):
        start, end = evidence.starts[s], evidence.starts[s + 1]
        total = _PRIOR
        for e in range(start, end):
            total += evidence.counts[WINDOW, e] + evidence.counts[REFERENCE, e]
        for e in range(start + 1, end):
            b = evidence.buckets[e]
            elsewhere = total - evidence.counts[WINDOW, e] - evidence.counts[REFERENCE, e]
            for f in range(start, e):
                c = evidence.buckets[f]
                weight = scale / (elsewhere - evidence.counts[WINDOW, f] - evidence.counts[REFERENCE, f])
                product = weight * (float(differences[e]) * float(differences[f]))
                covariance += product * (by_bucket[b] * by_bucket[c])
                if adds:
                    form[b, c] += product
                    form[c, b] += product
    return covariance


@kernel
def judge_form(
    form: NDArray[np.float64], signs: NDArray[np.int8], statistics: NDArray[np.float64]
) -> tuple[float, float]:
    """Judge a form: standard deviations above the mean over all masks (exact), mid-p among blocks of them and itself.

    NaN and 0.5 where nothing can be exchanged. Stops as `permutation.p_value_of` does.
    """
    observed = squares = size = 0.0
    for b in range(form.shape[0]):
        for c in range(form.shape[0]):
            size += abs(form[b, c])
            observed += form[b, c]
            squares += form[b, c] * form[b, c] if b != c else 0.0
    trace = 0.0
    for b in range(form.shape[0]):
        trace += form[b, b]
    tolerance = ROUNDING * (1.0 + size)
    deviation = np.sqrt(2.0 * squares)
    if deviation <= tolerance:
        return np.nan, 0.5
    above = equal = 0
    stage = 1
    n_blocks = signs.shape[0]
    for block in range(n_blocks):
        permute_form(form, signs[block], statistics)
        for k in range(statistics.shape[0]):
            excess = statistics[k] - observed
            above += excess > tolerance
            equal += abs(excess) <= tolerance
        if block + 1 == stage:
            if above + 0.5 * equal >= ENOUGH_EXCEEDANCES or block + 1 == n_blocks:
                break
            stage = next_stage(stage)
    n = (block + 1) * statistics.shape[0]
    return (observed - trace) / deviation, float((above + 0.5 * (equal + 1)) / (n + 1))


@dataclass(frozen=True, slots=True)
class LevelDrift:
    """Drift by cluster, in ascending order of the cluster. Overlaps weigh each pair by its transitions in the window.

    Attributes
    ----------
    clusters : int64[q]
    n_pairs, n_window, n_reference : int64[q]   compared pairs and their transitions
    jaccard : float64[q]                        at full counts
    matched, null : float64[q]                  at matched counts, as observed and with no drift
    drift : float64[q]                          ``1 - matched / null``
    z : float64[q]                              standard deviations above the permutation mean; NaN: nothing to exchange
    p_value : float64[q]                        mid-p of the exchange of users
    flagged : bool[q]                           by false discovery rate within the level
    """

    clusters: NDArray[np.int64]
    n_pairs: NDArray[np.int64]
    n_window: NDArray[np.int64]
    n_reference: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    matched: NDArray[np.float64]
    null: NDArray[np.float64]
    drift: NDArray[np.float64]
    z: NDArray[np.float64]
    p_value: NDArray[np.float64]
    flagged: NDArray[np.bool_]


def judge_level(
    level: Level,
    totals: tuple[NDArray[np.int64], NDArray[np.int64]],
    overlaps: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    tests: tuple[NDArray[np.float64], NDArray[np.float64]],
    fdr: float,
) -> LevelDrift:
    """Sum the rows of each cluster up, and flag.

    Parameters
    ----------
    totals : int64[p] of window and reference
    overlaps : float64[p] Jaccard at full counts, at matched counts, and its null
    tests : float64[q] z and p-value, in the level's order
    """
    n_window, n_reference = (_totals(level, total) for total in totals)
    jaccard, matched, null = (_sums(level, overlap * totals[0]) / n_window for overlap in overlaps)
    ascending = np.argsort(level.clusters)
    return LevelDrift(
        clusters=level.clusters[ascending],
        n_pairs=np.diff(level.starts)[ascending],
        n_window=n_window[ascending],
        n_reference=n_reference[ascending],
        jaccard=jaccard[ascending],
        matched=matched[ascending],
        null=null[ascending],
        drift=effect_of_each(matched, null)[ascending],
        z=tests[0][ascending],
        p_value=tests[1][ascending],
        flagged=flag_discoveries(tests[1], fdr)[ascending],
    )


def _totals(level: Level, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add up by cluster: int64[p] to int64[q]."""
    return np.add.reduceat(values[level.members], level.starts[:-1]) if level.clusters.size else values[:0]


def _sums(level: Level, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up by cluster, in the order of the rows' seeds: float64[p] to float64[q]."""
    return np.add.reduceat(values[level.members], level.starts[:-1]) if level.clusters.size else values[:0]
