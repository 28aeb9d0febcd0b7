"""One window against its reference: every pair measured, clusters and the window judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.drift.backoff import BackoffDrift
from stream.drift.discoveries import flag_discoveries
from stream.drift.levels import Level, LevelDrift, judge_level
from stream.drift.options import DriftOptions
from stream.drift.parts import DriftPart, Joined, MatchedPairs
from stream.drift.rows import MeasuredRows, effect_of_each
from stream.drift.table import table_shift
from tidegate.counts import BucketedCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDrift(MeasuredRows):
    """Drift of the pairs with enough support on both sides, of their clusters, and of what stands in for the others.

    Attributes
    ----------
    by_c1, by_c2 : LevelDrift    pairs by their first and by their second cluster
    backoff : BackoffDrift       rows of `c2` that stand in for thin pairs
    table_z : float or None      standard deviations of the table's sum above its permutation mean
    table_p : float              its permutation p-value (1 where nothing can be exchanged)
    alarmed : bool               whether the window as a whole drifts
    """

    by_c1: LevelDrift
    by_c2: LevelDrift
    backoff: BackoffDrift
    table_z: float | None
    table_p: float
    alarmed: bool

    @property
    def pairs(self) -> NDArray[np.int64]:
        """Pair keys: int64[p]."""
        return self.keys


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
    matched = MatchedPairs(window, reference, cluster_seeds, options)
    return judge_window(matched, [matched.measure(0, 1)], options)


def judge_window(matched: MatchedPairs, parts: Sequence[DriftPart], options: DriftOptions) -> WindowDrift:
    """Judge the window as a whole, from all parts of its pairs in their order."""
    joined = matched.join(parts)
    shift = table_shift(joined.form, options.seed, options.table_permutations)
    pairs, totals = joined.pairs, (matched.window.totals, matched.reference.totals)

    def by_cluster(level: Level, tests: NDArray[np.float64]) -> LevelDrift:
        return judge_level(level, totals, (pairs.jaccard, pairs.matched, pairs.null), (tests[0], tests[1]), options.fdr)

    return WindowDrift(
        keys=matched.pairs,
        n_window=totals[0],
        n_reference=totals[1],
        **pairs._asdict(),
        drift=effect_of_each(pairs.matched, pairs.null),
        flagged=flag_discoveries(pairs.p_value, options.fdr),
        by_c1=by_cluster(matched.by_c1, joined.by_c1),
        by_c2=by_cluster(matched.by_c2, joined.by_c2),
        backoff=_judge_backoff(matched, joined, options),
        table_z=shift.z,
        table_p=shift.p_value,
        alarmed=shift.p_value <= options.alarm_p,
    )


def _judge_backoff(matched: MatchedPairs, joined: Joined, options: DriftOptions) -> BackoffDrift:
    rows, thin = joined.backoff, matched.thin
    at = np.searchsorted(thin.clusters, matched.backoff)
    return BackoffDrift(
        keys=matched.backoff,
        n_window=matched.backoff_sides[0].totals,
        n_reference=matched.backoff_sides[1].totals,
        **rows._asdict(),
        drift=effect_of_each(rows.matched, rows.null),
        flagged=flag_discoveries(rows.p_value, options.fdr),
        n_thin_pairs=thin.n_pairs[at],
        n_thin_window=thin.n_window[at],
    )
