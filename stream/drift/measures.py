"""All rows measured, in parallel: the same bits with any number of threads, whoever measures which of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import REFERENCE, WINDOW, Side, gather, largest_row
from stream.drift.jaccard import expected_jaccard
from stream.drift.matched import matched_means
from stream.drift.overlap import rank_biased_overlap
from stream.drift.permutation import imbalance_slope, new_scratch, p_value_of, weigh
from stream.drift.traffic import Traffic
from tidegate.hashing import mix64
from tidegate.jit import kernel

N_CHUNKS = 64  # of rows; fixed, so that sums do not depend on who measures which of them
_MANY_CELLS = 2_048  # from here on a form of 64 x 64 is the shorter way


class Results(NamedTuple):
    """By row, float64[p] each.

    Attributes
    ----------
    jaccard, rbo : at full counts
    matched, null : Jaccard at matched counts, as observed and with users exchanged
    rbo_matched, rbo_null : the same of rank-biased overlap
    p_value : mid-p of the exchange of users
    """

    jaccard: NDArray[np.float64]
    rbo: NDArray[np.float64]
    matched: NDArray[np.float64]
    null: NDArray[np.float64]
    rbo_matched: NDArray[np.float64]
    rbo_null: NDArray[np.float64]
    p_value: NDArray[np.float64]


class Rows(NamedTuple):
    """Rows that are compared: pairs, or clusters of the backoff.

    Attributes
    ----------
    order : int64[p]           rows in the order of their seeds
    window, reference : Side
    seeds : uint64[p]
    cluster_seeds : uint64[C]
    traffic : Traffic
    """

    order: NDArray[np.int64]
    window: Side
    reference: Side
    seeds: NDArray[np.uint64]
    cluster_seeds: NDArray[np.uint64]
    traffic: Traffic


class Draws(NamedTuple):
    """What all rows are exchanged by.

    Attributes
    ----------
    signs : int8[blocks, buckets, k]        of the masks of p-values, by block
    alike_signs : int8[buckets, N_TABLES]   of the masks of nulls; the first swaps nothing
    binomials : float64[C + 1, top k + 1]
    rbo_weights : float64[depth + 1]
    min_support : int                       transitions that both sides of a row have
    """

    signs: NDArray[np.int8]
    alike_signs: NDArray[np.int8]
    binomials: NDArray[np.float64]
    rbo_weights: NDArray[np.float64]
    min_support: int


@kernel
def _measure_chunk(chunk: NDArray[np.int64], rows: Rows, draws: Draws, results: Results) -> None:
    """Measure the rows of indices `chunk`. Allocates O(largest row)."""
    n_cells = largest_row(chunk, rows.window, rows.reference)
    scratch = new_scratch(n_cells, draws.binomials.shape[1] - 1, draws.signs.shape[1], draws.signs.shape[2])
    evidence = scratch.evidence
    matched = np.empty(4)
    for row in chunk:
        n = gather(rows.window, rows.reference, row, rows.cluster_seeds, evidence)
        for s in range(n):
            scratch.a[s] = scratch.b[s] = 0
            for e in range(evidence.starts[s], evidence.starts[s + 1]):
                scratch.a[s] += evidence.counts[WINDOW, e]
                scratch.b[s] += evidence.counts[REFERENCE, e]
        results.jaccard[row] = expected_jaccard(scratch.a, scratch.b, n, scratch.best, draws.binomials)
        results.rbo[row] = rank_biased_overlap(scratch.a, scratch.b, n, draws.rbo_weights)
        seed = mix64(rows.seeds[row])
        matched_means(
            scratch,
            n,
            rows.traffic.log_ratios[row],
            rows.traffic.log_events[row],
            draws.min_support,
            draws.alike_signs,
            seed,
            draws.binomials,
            draws.rbo_weights,
            matched,
        )
        results.matched[row], results.null[row] = matched[0], matched[1]
        results.rbo_matched[row], results.rbo_null[row] = matched[2], matched[3]
        weigh(scratch, n, evidence.kept, (1, 1))
        slope = imbalance_slope(scratch, n)
        results.p_value[row] = p_value_of(scratch, n, slope, draws.signs, evidence.starts[n] > _MANY_CELLS)


@kernel
def chunk_start(chunk: int, n_rows: int) -> int:
    """Where a chunk begins in an order of rows; that of `N_CHUNKS` is the end. `O(1)`."""
    return chunk * n_rows // N_CHUNKS


def measure_chunks(chunks: NDArray[np.int64], rows: Rows, draws: Draws, results: Results) -> None:
    """Measure the rows of some chunks, int64[n] of `N_CHUNKS`, into `results`, where a chunk has the row.

    Chunks are cut from the order of the rows' seeds, so they are of about equal cost however traffic is spread.
    `O(permutations x cells)`; allocates O(threads x largest row).
    """
    n_rows = rows.order.shape[0]

    def measure(chunk: int) -> None:
        _measure_chunk(rows.order[chunk_start(chunk, n_rows) : chunk_start(chunk + 1, n_rows)], rows, draws, results)

    spread(measure, chunks.tolist())


def spread(work: Callable[[int], None], chunks: Sequence[int]) -> None:
    """Do `work` for each chunk on as many threads as kernels may have: they let go of the interpreter."""
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for _ in pool.map(work, chunks):
            pass
