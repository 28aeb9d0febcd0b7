"""Measuring a window's pairs in parts, by as many processes as there are: put together, they are the same bit for bit.

A part is a run of the chunks that pairs are measured in anyway (`stream.drift.permutation`). Chunks are cut from the
order of the pairs' seeds, a hash of their names: parts are of about equal cost however traffic is spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import mix_each
from stream.drift.jaccard import binomial_table
from stream.drift.matching import event_share, match_pairs
from stream.drift.options import DriftOptions
from stream.drift.permutation import MAX_JACCARD_MASKS, N_CHUNKS, PairResults, chunk_start, measure_chunks
from stream.drift.table import permutation_masks, signs_of_masks
from tidegate.counts import BucketedCounts, bucket_of_key, pair_of_key, successor_of_key, unpack_pairs
from tidegate.errors import ConfigError, RequestError


class DriftPart(msgspec.Struct, frozen=True):
    """What one part of a window's pairs shows; arrays as bytes.

    Attributes
    ----------
    n_parts : int                                 that the window was measured in
    rows : int64[q]                               which of the matched pairs these are
    results : float64[4, q]                       as `PairResults` has them
    forms : float64[chunks, buckets, buckets]     of the part's chunks
    """

    n_parts: int
    rows: bytes
    results: bytes
    forms: bytes


class MatchedPairs:
    """The pairs with enough support on both sides of a window, ready to be measured.

    Attributes
    ----------
    pairs : int64[p]     ascending
    window, reference : Side

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
            _check_keys(counts, cluster_seeds.shape[0], options.n_buckets)
        self.pairs, (self.window, self.reference) = match_pairs(window, reference, options.min_support)
        self._cluster_seeds, self._options = cluster_seeds, options
        self._seeds = _pair_seeds(self.pairs, cluster_seeds, options.seed)
        self._order = np.argsort(self._seeds)

    def measure(self, part: int, n_parts: int) -> DriftPart:
        """Measure part `part` of `n_parts`, at most `N_CHUNKS`. `O(permutations x cells)`."""
        options, n_pairs = self._options, self.pairs.shape[0]
        chunks = np.arange(part * N_CHUNKS // n_parts, (part + 1) * N_CHUNKS // n_parts)
        rows = self._order[chunk_start(int(chunks[0]), n_pairs) : chunk_start(int(chunks[-1]) + 1, n_pairs)]
        results = PairResults(*(np.empty(n_pairs) for _ in PairResults._fields))
        n_blocks = options.max_permutations // options.n_permutations
        masks = permutation_masks(options.seed, 0, n_blocks * options.n_permutations)
        signs = signs_of_masks(masks, options.n_buckets)
        forms = measure_chunks(
            chunks,
            self._order,
            self.window,
            self.reference,
            self._seeds,
            self._cluster_seeds,
            self._event_share,
            np.ascontiguousarray(signs.reshape(options.n_buckets, n_blocks, -1).swapaxes(0, 1)),
            np.ascontiguousarray(
                signs_of_masks(permutation_masks(options.seed, 0, MAX_JACCARD_MASKS), options.n_buckets).T
            ),
            binomial_table(self._cluster_seeds.shape[0], options.top_k),
            results,
        )
        return DriftPart(n_parts, rows.tobytes(), np.stack([each[rows] for each in results]).tobytes(), forms.tobytes())

    @cached_property
    def _event_share(self) -> float:
        """Of the whole window, so the same for all its parts."""
        return event_share(self.window, self.reference)

    def join(self, parts: Sequence[DriftPart]) -> tuple[PairResults, NDArray[np.float64]]:
        """Put all parts together, in their order: results by pair, and the table's form, float64[buckets, buckets].

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
        results = np.empty((len(PairResults._fields), self.pairs.shape[0]))
        n_buckets = self._options.n_buckets
        form = np.zeros((n_buckets, n_buckets))
        for part in parts:
            rows = np.frombuffer(part.rows, np.int64)
            results[:, rows] = _floats(part.results, results.shape[0], rows.shape[0])
            for of_chunk in _floats(part.forms, -1, n_buckets, n_buckets):
                form += of_chunk
        return PairResults(*results), form


def _floats(body: bytes, *shape: int) -> NDArray[np.float64]:
    return np.frombuffer(body, np.float64).reshape(shape)


def _check_keys(counts: BucketedCounts, n_clusters: int, n_buckets: int) -> None:
    if not counts.keys.size:
        return
    bucket = int(bucket_of_key(counts.keys).max())
    c1, c2 = unpack_pairs(pair_of_key(counts.keys))
    cluster = max(int(c1.max()), int(c2.max()), int(successor_of_key(counts.keys).max()))
    if bucket >= n_buckets:
        raise RequestError(
            f"user bucket {bucket} where there are {n_buckets}", "Count and measure with equal n_buckets"
        )
    if cluster >= n_clusters:
        raise RequestError(f"cluster {cluster} where there are {n_clusters} seeds", "Give one seed per cluster")


def _pair_seeds(pairs: NDArray[np.int64], cluster_seeds: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    c1, c2 = unpack_pairs(pairs)
    return mix_each(mix_each(cluster_seeds[c1], np.uint64(seed % (1 << 64))) ^ cluster_seeds[c2], np.uint64(0))
