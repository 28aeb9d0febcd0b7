"""Measuring a window in parts, by as many processes as there are: put together, they are the same bit for bit.

A part is a run of the chunks that rows and clusters are measured in anyway (`stream.drift.measures`). Chunks are cut
from the order of seeds, which are hashes of names: parts are of about equal cost however traffic is spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.drift.backoff import pool_successors, thin_pairs
from stream.drift.evidence import Side, mix_each
from stream.drift.jaccard import binomial_table
from stream.drift.levels import Level, level_of, measure_level
from stream.drift.matching import check_keys, join_sides, match_sides, side_of
from stream.drift.measures import N_CHUNKS, Draws, Results, Rows, chunk_start, measure_chunks
from stream.drift.options import DriftOptions
from stream.drift.overlap import depth_weights
from stream.drift.permutation import N_TABLES
from stream.drift.table import permutation_masks, signs_of_masks
from stream.drift.traffic import Traffic, traffic_of
from tidegate.counts import BucketedCounts, unpack_pairs
from tidegate.errors import ConfigError

_FIRST_ALIKE = 1 << 40  # masks of nulls, none of those of p-values


class MeasuredPart(msgspec.Struct, frozen=True):
    """Some rows or clusters of a window, and what they show; arrays as bytes.

    Attributes
    ----------
    rows : int64[q]            which of all these are
    results : float64[n, q]    `Results` of rows; z and p-value of clusters
    """

    rows: bytes
    results: bytes


class DriftPart(msgspec.Struct, frozen=True):
    """What one part of a window shows.

    Attributes
    ----------
    n_parts : int                                 that the window was measured in
    pairs, backoff, by_c1, by_c2 : MeasuredPart
    forms : float64[chunks, buckets, buckets]     of the part's chunks of clusters `c1`, as bytes
    """

    n_parts: int
    pairs: MeasuredPart
    backoff: MeasuredPart
    by_c1: MeasuredPart
    by_c2: MeasuredPart
    forms: bytes


class Joined(NamedTuple):
    """All parts of a window together.

    Attributes
    ----------
    pairs, backoff : Results
    by_c1, by_c2 : float64[2, q]              z and p-value, in the order of the level
    form : float64[buckets, buckets]          of the whole table
    """

    pairs: Results
    backoff: Results
    by_c1: NDArray[np.float64]
    by_c2: NDArray[np.float64]
    form: NDArray[np.float64]


class MatchedPairs:
    """The pairs with enough support on both sides of a window, and what stands in for the others, to be measured.

    Attributes
    ----------
    pairs : int64[p]                 ascending
    window, reference : Side
    by_c1, by_c2 : Level             the pairs by cluster
    thin : ThinPairs                 those without enough support
    backoff : int64[q]               clusters `c2` whose rows stand in for them, with enough support; ascending
    backoff_sides : (Side, Side)     of window and reference

    Raises
    ------
    RequestError
        A count names a user bucket or a cluster that is not there.
    """

    def __init__(
        self,
        window: BucketedCounts,
        reference: BucketedCounts,
        cluster_seeds: NDArray[np.uint64],
        options: DriftOptions,
    ) -> None:
        for counts in (window, reference):
            check_keys(counts, cluster_seeds.shape[0], options.n_buckets)
        self._cluster_seeds, self._options = cluster_seeds, options
        sides = (side_of(window), side_of(reference))
        self.pairs, (self.window, self.reference) = match_sides(*sides, options.min_support)
        c1, c2 = unpack_pairs(self.pairs)
        self._rows = self._rows_of(sides, self.pairs, (self.window, self.reference), self._seeds_of_pairs)
        self.by_c1 = level_of(c1, self._rows.order, cluster_seeds)
        self.by_c2 = level_of(c2, self._rows.order, cluster_seeds)
        self.thin = thin_pairs(*sides, self.pairs)
        pooled = tuple(side_of(pool_successors(side, self.thin.clusters, cluster_seeds.shape[0])) for side in sides)
        self.backoff, self.backoff_sides = match_sides(pooled[0], pooled[1], options.min_support)
        self._backoff_rows = self._rows_of(
            (pooled[0], pooled[1]), self.backoff, self.backoff_sides, self._seeds_of_clusters
        )

    def _seeds_of_pairs(self, pairs: NDArray[np.int64]) -> NDArray[np.uint64]:
        c1, c2 = unpack_pairs(pairs)
        salted = mix_each(self._cluster_seeds[c1], np.uint64(self._options.seed % (1 << 64)))
        return mix_each(salted ^ self._cluster_seeds[c2], np.uint64(0))

    def _seeds_of_clusters(self, clusters: NDArray[np.int64]) -> NDArray[np.uint64]:
        salted = mix_each(self._cluster_seeds[clusters], np.uint64(~self._options.seed % (1 << 64)))
        return mix_each(salted, np.uint64(0))

    def _rows_of(
        self,
        sides: tuple[tuple[NDArray[np.int64], Side], tuple[NDArray[np.int64], Side]],
        rows: NDArray[np.int64],
        matched: tuple[Side, Side],
        seeds_of: Callable[[NDArray[np.int64]], NDArray[np.uint64]],
    ) -> Rows:
        """Rows to be measured, with their traffic, which is told from all that there are of either side."""
        known, joined = join_sides(*sides)
        traffic = traffic_of(*joined, np.argsort(seeds_of(known)), self._options.n_buckets)
        seeds = seeds_of(rows)
        at = np.searchsorted(known, rows)
        return Rows(np.argsort(seeds), *matched, seeds, self._cluster_seeds, Traffic(*(each[at] for each in traffic)))

    @cached_property
    def _draws(self) -> Draws:
        options = self._options
        n_blocks = options.max_permutations // options.n_permutations
        signs = signs_of_masks(permutation_masks(options.seed, 0, n_blocks * options.n_permutations), options.n_buckets)
        alike = permutation_masks(options.seed, _FIRST_ALIKE, N_TABLES)
        alike[0] = 0  # nothing swapped: as observed
        return Draws(
            np.ascontiguousarray(signs.reshape(options.n_buckets, n_blocks, -1).swapaxes(0, 1)),
            signs_of_masks(alike, options.n_buckets),
            binomial_table(self._cluster_seeds.shape[0], options.top_k),
            depth_weights(),
            options.min_support,
        )

    def measure(self, part: int, n_parts: int) -> DriftPart:
        """Measure part `part` of `n_parts`, at most `N_CHUNKS`. `O(permutations x cells)`."""
        chunks = np.arange(part * N_CHUNKS // n_parts, (part + 1) * N_CHUNKS // n_parts)
        by_c1, forms = self._measure_level(chunks, self.by_c1)
        by_c2, _ = self._measure_level(chunks, self.by_c2)
        return DriftPart(
            n_parts,
            pairs=self._measure_rows(chunks, self._rows),
            backoff=self._measure_rows(chunks, self._backoff_rows),
            by_c1=by_c1,
            by_c2=by_c2,
            forms=forms.tobytes(),
        )

    def _measure_rows(self, chunks: NDArray[np.int64], rows: Rows) -> MeasuredPart:
        n_rows = rows.order.shape[0]
        results = Results(*(np.empty(n_rows) for _ in Results._fields))
        measure_chunks(chunks, rows, self._draws, results)
        measured = rows.order[_span(chunks, n_rows)]
        return MeasuredPart(measured.tobytes(), np.stack([each[measured] for each in results]).tobytes())

    def _measure_level(self, chunks: NDArray[np.int64], level: Level) -> tuple[MeasuredPart, NDArray[np.float64]]:
        tests = measure_level(chunks, level, self._rows, self._draws.signs)
        n_clusters = level.clusters.shape[0]
        measured = np.arange(n_clusters)[_span(chunks, n_clusters)]
        results = np.stack([tests.z[measured], tests.p_value[measured]])
        return MeasuredPart(measured.tobytes(), results.tobytes()), tests.forms

    def form(self) -> NDArray[np.float64]:
        """Sum up the whole table's quadratic form alone, float64[buckets, buckets]: all that its alarm rests on."""
        return np.asarray(self._measure_level(np.arange(N_CHUNKS), self.by_c1)[1].sum(axis=0))

    def join(self, parts: Sequence[DriftPart]) -> Joined:
        """Put all parts together, in their order.

        Raises
        ------
        ConfigError
            If they are not the parts of one whole.
        """
        n_parts = {part.n_parts for part in parts}
        if n_parts != {len(parts)}:
            raise ConfigError(
                f"the window was measured in {' and in '.join(map(str, sorted(n_parts)))} parts, not in {len(parts)}",
                "Give all evaluators the same --drift-parts; the window is measured anew once they agree",
                place="--drift-parts",
            )
        n_buckets, n_results = self._options.n_buckets, len(Results._fields)
        form = np.zeros((n_buckets, n_buckets))
        for part in parts:
            for of_chunk in _floats(part.forms, -1, n_buckets, n_buckets):
                form += of_chunk
        return Joined(
            Results(*_joined([part.pairs for part in parts], n_results, self.pairs.shape[0])),
            Results(*_joined([part.backoff for part in parts], n_results, self.backoff.shape[0])),
            _joined([part.by_c1 for part in parts], 2, self.by_c1.clusters.shape[0]),
            _joined([part.by_c2 for part in parts], 2, self.by_c2.clusters.shape[0]),
            form,
        )


def _span(chunks: NDArray[np.int64], n_rows: int) -> slice:
    return slice(chunk_start(int(chunks[0]), n_rows), chunk_start(int(chunks[-1]) + 1, n_rows))


def _joined(parts: Sequence[MeasuredPart], n_results: int, n_rows: int) -> NDArray[np.float64]:
    results = np.empty((n_results, n_rows))
    for part in parts:
        rows = np.frombuffer(part.rows, np.int64)
        results[:, rows] = _floats(part.results, n_results, rows.shape[0])
    return results


def _floats(body: bytes, *shape: int) -> NDArray[np.float64]:
    return np.frombuffer(body, np.float64).reshape(shape)
