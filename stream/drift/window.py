"""One window against its reference: every pair measured, the window judged, the report written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.drift.discoveries import flag_discoveries
from stream.drift.evidence import Side, mix_each
from stream.drift.jaccard import binomial_table
from stream.drift.permutation import MAX_JACCARD_MASKS, PairResults, measure_pairs
from stream.drift.table import MAX_BUCKETS, permutation_masks, signs_of_masks, table_shift
from tidegate.contracts import DriftReport, PairDrift
from tidegate.counts import BucketedCounts, bucket_of_key, pair_of_key, successor_of_key, unpack_pairs
from tidegate.errors import ConfigError, RequestError

MAX_FLAGGED_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class DriftOptions:
    """How drift is measured.

    Attributes
    ----------
    top_k : int              successors compared by Jaccard
    min_support : int        transitions a pair needs on both sides
    n_permutations : int     exchanges of users behind every p-value
    max_permutations : int   exchanges for pairs whose p-value is too small to tell from the former
    fdr : float              false discovery rate of the flagged pairs
    alarm_p : float          permutation p-value of the whole table at which the window alarms
    table_permutations : int exchanges behind that p-value (they cost one product of small matrices)
    n_buckets : int          user buckets, 64 at most
    seed : int

    Raises
    ------
    ConfigError
        A number is out of its range.
    """

    top_k: int = 5
    min_support: int = 20
    n_permutations: int = 200
    max_permutations: int = 20_000
    fdr: float = 0.10
    alarm_p: float = 1e-4
    table_permutations: int = 100_000
    n_buckets: int = MAX_BUCKETS
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "top_k": (1, 32),
            "min_support": (1, np.inf),
            "n_permutations": (20, np.inf),
            "max_permutations": (self.n_permutations, np.inf),
            "fdr": (0.0, 1.0),
            "alarm_p": (0.0, 1.0),
            "table_permutations": (1, np.inf),
            "n_buckets": (2, MAX_BUCKETS),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{value} is not within {low} and {high}", "Choose a value in that range", place=name)


@dataclass(frozen=True, slots=True)
class WindowDrift:
    """Drift of the pairs with enough support on both sides, in ascending order of the pair.

    Attributes
    ----------
    pairs : int64[p]                    pair keys
    n_window, n_reference : int64[p]    transitions
    jaccard : float64[p]                expected Jaccard of the top-k successors, at full counts
    null : float64[p]                   the Jaccard that the pair's traffic would show with no drift, at equal sizes
    drift : float64[p]                  ``1 - J / null``, J at the sizes of `null` (so not from `jaccard` as reported)
    p_value : float64[p]                mid-p of the exchange of users
    flagged : bool[p]                   by false discovery rate
    table_z : float or None             standard deviations of the table's sum above its permutation mean
    table_p : float                     its permutation p-value (1 where nothing can be exchanged)
    alarmed : bool                      whether the window as a whole drifts
    """

    pairs: NDArray[np.int64]
    n_window: NDArray[np.int64]
    n_reference: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    null: NDArray[np.float64]
    drift: NDArray[np.float64]
    p_value: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    table_z: float | None
    table_p: float
    alarmed: bool

    @property
    def jaccard_mean(self) -> float | None:
        """Unweighted mean over pairs; None without pairs."""
        return float(self.jaccard.mean()) if self.pairs.size else None

    @property
    def jaccard_variance(self) -> float | None:
        """Population variance over pairs; None without pairs."""
        return float(self.jaccard.var()) if self.pairs.size else None

    @property
    def null_mean(self) -> float | None:
        """Unweighted mean over pairs; None without pairs."""
        return float(self.null.mean()) if self.pairs.size else None

    @property
    def matched_mean(self) -> float | None:
        """Unweighted mean over pairs of J at the counts that the null is measured at; None without pairs."""
        return float(((1.0 - self.drift) * self.null).mean()) if self.pairs.size else None

    @property
    def drift_mean(self) -> float | None:
        """Unweighted mean over pairs; None without pairs."""
        return float(self.drift.mean()) if self.pairs.size else None

    @property
    def drift_traffic_mean(self) -> float | None:
        """Mean weighted by the pairs' transitions in the window; None without pairs."""
        return float(np.average(self.drift, weights=self.n_window)) if self.pairs.size else None


def measure_drift(
    window: BucketedCounts, reference: BucketedCounts, cluster_seeds: NDArray[np.uint64], options: DriftOptions
) -> WindowDrift:
    """Measure each pair with enough support on both sides, and the window as a whole.

    Parameters
    ----------
    window, reference : BucketedCounts
    cluster_seeds : uint64[C]           follow the clusters' names; the result does not depend on their numbering
    options : DriftOptions

    Raises
    ------
    RequestError
        A count names a user bucket or a cluster that is not there.
    """
    for counts in (window, reference):
        _check_keys(counts, cluster_seeds.shape[0], options.n_buckets)
    pairs, sides = _match_pairs(window, reference, options.min_support)
    results = PairResults(*(np.empty(pairs.shape[0]) for _ in PairResults._fields))
    n_blocks = options.max_permutations // options.n_permutations
    masks = permutation_masks(options.seed, 0, n_blocks * options.n_permutations)
    signs = signs_of_masks(masks, options.n_buckets)
    form = measure_pairs(
        sides[0],
        sides[1],
        _pair_seeds(pairs, cluster_seeds, options.seed),
        cluster_seeds,
        _event_share(*sides),
        np.ascontiguousarray(signs.reshape(options.n_buckets, n_blocks, -1).swapaxes(0, 1)),
        np.ascontiguousarray(
            signs_of_masks(permutation_masks(options.seed, 0, MAX_JACCARD_MASKS), options.n_buckets).T
        ),
        binomial_table(cluster_seeds.shape[0], options.top_k),
        results,
    )
    shift = table_shift(form, options.seed, options.table_permutations)
    return WindowDrift(
        pairs=pairs,
        n_window=sides[0].totals,
        n_reference=sides[1].totals,
        jaccard=results.jaccard,
        null=results.null,
        drift=_effect(results),
        p_value=results.p_value,
        flagged=flag_discoveries(results.p_value, options.fdr),
        table_z=shift.z,
        table_p=shift.p_value,
        alarmed=shift.p_value <= options.alarm_p,
    )


def _effect(results: PairResults) -> NDArray[np.float64]:
    """``1 - J / null``; 0 where even exchanged users share no successor, since nothing can be told from it."""
    ratio = np.ones_like(results.null)
    np.divide(results.matched, results.null, out=ratio, where=results.null > 0)
    return 1.0 - ratio


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


def _match_pairs(
    window: BucketedCounts, reference: BucketedCounts, min_support: int
) -> tuple[NDArray[np.int64], tuple[Side, Side]]:
    """Pairs with `min_support` on both sides, int64[p], and where each side's transitions of them lie."""
    sides = (_side(window), _side(reference))
    enough = [side[0][side[1].totals >= min_support] for side in sides]
    pairs = np.intersect1d(enough[0], enough[1], assume_unique=True)
    window_side, reference_side = (_select(side, np.searchsorted(known, pairs)) for known, side in sides)
    return pairs, (window_side, reference_side)


def _side(counts: BucketedCounts) -> tuple[NDArray[np.int64], Side]:
    of_key = pair_of_key(counts.keys)
    starts = np.flatnonzero(np.r_[True, of_key[1:] != of_key[:-1]]) if of_key.size else np.zeros(0, dtype=np.int64)
    totals = np.add.reduceat(counts.counts, starts) if starts.size else np.zeros(0, dtype=np.int64)
    return of_key[starts], Side(counts.keys, counts.counts, starts, np.r_[starts[1:], of_key.size], totals)


def _select(side: Side, rows: NDArray[np.int64]) -> Side:
    return side._replace(starts=side.starts[rows], ends=side.ends[rows], totals=side.totals[rows])


def _event_share(window: Side, reference: Side) -> float:
    """Share, in logarithms, of the traffic's change that is more transitions per user rather than more users.

    Clumping is the mean number of further transitions in a transition's own cell. Dropping transitions at random lowers
    it by the rate, dropping whole cells does not; which of the two makes the larger sides alike the smaller ones is
    estimated from all pairs together, since single pairs are too thin to tell.
    """
    small = np.where(window.totals <= reference.totals, window.totals, reference.totals).sum()
    large = np.where(window.totals <= reference.totals, reference.totals, window.totals).sum()
    if small == large:
        return 1.0
    crowds = [_further_in_cell(side) for side in (window, reference)]
    of_small = np.where(window.totals <= reference.totals, crowds[0], crowds[1]).sum() / small
    of_large = np.where(window.totals <= reference.totals, crowds[1], crowds[0]).sum() / large
    if of_small <= 0 or of_large <= 0:
        return 1.0
    return float(np.clip(np.log(of_small / of_large) / np.log(small / large), 0.0, 1.0))


def _further_in_cell(side: Side) -> NDArray[np.int64]:
    sums = np.r_[0, np.cumsum(side.counts * (side.counts - 1))]
    return np.asarray(sums[side.ends] - sums[side.starts], dtype=np.int64)


def _pair_seeds(pairs: NDArray[np.int64], cluster_seeds: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    c1, c2 = unpack_pairs(pairs)
    return mix_each(mix_each(cluster_seeds[c1], np.uint64(seed % (1 << 64))) ^ cluster_seeds[c2], np.uint64(0))


def to_report(
    drift: WindowDrift,
    *,
    run_id: str,
    window_start_ms: int,
    window_end_ms: int,
    pane_ms: int,
    min_support: int,
    transitions: int,
    hit_rate_next: float | None,
    hit_rate_sequence: float | None,
    coverage: float | None,
) -> DriftReport:
    """Write the report of a window; of the flagged pairs it lists the `MAX_FLAGGED_LISTED` with the most traffic."""
    return DriftReport(
        run_id=run_id,
        window_start_ms=window_start_ms,
        window_end_ms=window_end_ms,
        pane_ms=pane_ms,
        min_support=min_support,
        transitions=transitions,
        pairs=drift.pairs.shape[0],
        flagged_pairs=int(drift.flagged.sum()),
        jaccard_mean=drift.jaccard_mean,
        jaccard_variance=drift.jaccard_variance,
        jaccard_matched_mean=drift.matched_mean,
        null_mean=drift.null_mean,
        drift_mean=drift.drift_mean,
        drift_traffic_mean=drift.drift_traffic_mean,
        table_z=drift.table_z,
        alarmed=drift.alarmed,
        flagged=_heaviest_flagged(drift),
        hit_rate_next=hit_rate_next,
        hit_rate_sequence=hit_rate_sequence,
        coverage=coverage,
    )


def _heaviest_flagged(drift: WindowDrift) -> tuple[PairDrift, ...]:
    flagged = np.flatnonzero(drift.flagged)
    heaviest = flagged[np.lexsort((drift.pairs[flagged], -drift.n_window[flagged]))][:MAX_FLAGGED_LISTED]
    c1, c2 = unpack_pairs(drift.pairs)
    return tuple(
        PairDrift(
            c1=int(c1[i]),
            c2=int(c2[i]),
            n_window=int(drift.n_window[i]),
            n_reference=int(drift.n_reference[i]),
            jaccard=float(drift.jaccard[i]),
            null=float(drift.null[i]),
            drift=float(drift.drift[i]),
            p_value=float(drift.p_value[i]),
            flagged=True,
        )
        for i in heaviest
    )
